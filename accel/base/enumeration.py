"""The enumeration of a signal's values: Amaranth's, which mypy, as Amaranth states no types, is to take for Python's own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enum import Enum
else:
    from amaranth.lib.enum import Enum

__all__ = ["Enum"]
