"""Errors of the tool chain around a unit."""


class ToolError(RuntimeError):
    """A foreign tool (Yosys, an HDL simulator, OpenSTA) failed, is missing, or took too long."""
