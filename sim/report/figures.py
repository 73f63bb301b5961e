"""Numbers as a reader wants them: four significant digits, thousands apart, a unit that fits the size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

MISSING = "–"
MINUS = "−"
_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
)
_SCALED = {"J", "W"}
SLOW_MS = 10_000.0  # beyond, seconds are easier to read
MANY = 1e6  # from here on, counts are easier to read in millions, and columns stay narrow
_COUNTED = ("pages", "tokens", "values")


def figure(value: Any, digits: int = 4) -> str:
    """A number with ``digits`` significant digits and no exponent between 1e-4 and 1e15; integers in full."""
    if value is None:
        return MISSING
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if not value or not math.isfinite(value):
        return "0" if not value else str(value)
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-4 <= abs(rounded) < 1e15:
        return f"{rounded:.{digits - 1}e}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace("-", MINUS)


def scale(unit: str, values: Iterable[float | None]) -> tuple[float, str]:
    """The factor and the unit in which the largest of ``values`` (in ``unit``) reads best; one for all, to compare them."""
    largest = max((abs(v) for v in values if v), default=0.0)
    if unit == "ms" and largest >= SLOW_MS:
        return 1e-3, "s"
    if unit in _COUNTED and largest >= MANY:
        return 1e-6, f"million {unit}"
    if unit in _SCALED and largest:
        size, prefix = next(((s, p) for s, p in _PREFIXES if largest >= s), _PREFIXES[-1])
        return 1 / size, f"{prefix}{unit}"
    return 1.0, unit


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """One value with its unit, scaled: "168.8 pJ"."""
    if value is None:
        return MISSING
    factor, unit = scale(unit, [value])
    return f"{figure(value * factor, digits)} {unit}".rstrip()


def percent(share: float | None) -> str:
    """A share of one as percent: "61.2 %", and "<0.1 %" for what is little but not nothing."""
    if share is None:
        return MISSING
    if not share:
        return "0 %"
    return "<0.1 %" if 0 < share < 0.0005 else f"{share * 100:.1f} %"


def beside(value: float, largest: float, digits: int = 4) -> str:
    """``value`` with as many decimals as ``largest`` has at ``digits`` significant digits, so that a column of parts lines up."""
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest > 0 else 0
    least = 10.0**-decimals
    return f"<{least:.{decimals}f}" if 0 < value < least / 2 else f"{value:,.{decimals}f}"


def change(value: float, base: float) -> str:
    """How far ``value`` lies from ``base``: signed percent, "12.3x" from ten times up, "=" where nothing of it would show."""
    if not base:
        return "=" if value == base else MISSING
    if value >= 10 * base:
        return times(value / base)
    share = 100 * (value / base - 1)
    if abs(share) < 0.05:
        return "="
    text = f"{abs(share):.1f}" if abs(share) < 100 else f"{abs(share):,.0f}"
    return f"{'+' if share > 0 else MINUS}{text} %"


def times(ratio: float) -> str:
    """A ratio of at least one: "1.45x", "12.3x", "140x"."""
    return f"{figure(float(ratio), 3)}x"


def joined(names: Iterable[str], most: int = 8) -> str:
    """Names in a sentence: "A, B and C"; beyond ``most`` only how many more there are."""
    names = list(names)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
