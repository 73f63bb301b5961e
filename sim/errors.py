"""Errors that a user can act on. Each class has its exit code; the command prints the message and no traceback."""

from __future__ import annotations


class RtloomError(Exception):
    """Base of all handled errors; ``lines`` are printed one per line."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class CheckFailed(RtloomError):
    """A verification or an invariant did not hold."""

    exit_code = 1


class BadInput(RtloomError):
    """A file, an option or a name that the user gave is wrong."""

    exit_code = 2


class Infeasible(RtloomError):
    """What was asked cannot run on this system: the model does not fit, no request is served."""

    exit_code = 3


class StorageError(RtloomError):
    """A result could not be written, or a file not read."""

    exit_code = 4


class ToolFailed(RtloomError):
    """A foreign tool (Yosys, OpenSTA, an HDL simulator) is missing, failed, or took too long."""

    exit_code = 4
