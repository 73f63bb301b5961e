"""Foreign tools behind a verb: what is missing or failed is said in a line, not in a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

from sim.errors import ToolFailed


@contextmanager
def tools(verb: str) -> Iterator[None]:
    """Turn failures of Yosys, OpenSTA, simulators and missing extras into errors with a message."""
    from accel.base.errors import ToolError

    try:
        yield
    except ToolError as error:
        raise ToolFailed(str(error)) from None
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        name = error.name or str(error)
        raise ToolFailed(f"'rtloom {verb}' needs {name}, which is not installed: pip install 'rtloom[rtl]'") from None
