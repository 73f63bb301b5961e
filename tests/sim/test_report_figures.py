"""Are numbers rounded and scaled as a reader expects?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.report.figures import beside, change, figure, joined, percent, quantity, scale, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.0, "0"),
        (1234567, "1,234,567"),
        (-5, "−5"),
        (1.0, "1.000"),
        (9.9996, "10.00"),
        (1162.7861, "1,163"),
        (123456.7, "123,500"),
        (0.00123456, "0.001235"),
        (1.23456e-7, "1.235e−07"),
        (-0.5, "−0.5000"),
    ],
)
def test_figures_have_four_significant_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


@given(st.floats(min_value=1e-4, max_value=1e14))
def test_a_figure_is_within_half_of_its_last_digit(value: float) -> None:
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.688e-10, "J", "169 pJ"),
        (2.5e6, "J", "2.50 MJ"),
        (80.0, "W", "80.0 W"),
        (9999.0, "ms", "9,999 ms"),
        (12_000.0, "ms", "12.0 s"),
    ],
)
def test_units_fit_the_size(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit, 4 if "9,999" in text else 3) == text


def test_one_unit_serves_all_values_of_a_row() -> None:
    assert scale("ms", [5.0, None, 20_000.0]) == (1e-3, "s")
    assert scale("tokens/s", [1e9]) == (1.0, "tokens/s")
    assert scale("pages", [12, None, 999_999]) == (1.0, "pages")
    assert scale("pages", [12, 2.001e10]) == (1e-6, "million pages")
    assert scale("J", [None, 0.0]) == (1.0, "J")


@pytest.mark.parametrize(
    ("value", "base", "text"),
    [
        (1.0, 1.0, "="),
        (1.0004, 1.0, "="),
        (1.5, 1.0, "+50.0 %"),
        (0.25, 1.0, "−75.0 %"),
        (3.5, 1.0, "+250 %"),
        (12.0, 1.0, "12.0x"),
        (0.0, 0.0, "="),
        (1.0, 0.0, "–"),
    ],
)
def test_changes_are_against_the_base(value: float, base: float, text: str) -> None:
    assert change(value, base) == text


def test_shares_ratios_and_parts() -> None:
    assert [percent(v) for v in (None, 0.0, 0.0001, 0.0713, 1.0)] == ["–", "0 %", "<0.1 %", "7.1 %", "100.0 %"]
    assert [times(v) for v in (1.2345, 12.3, 140.4)] == ["1.23x", "12.3x", "140x"]
    assert [beside(v, 1.609) for v in (1.609, 0.0795, 0.0001)] == ["1.609", "0.080", "<0.001"]
    assert beside(0.0, 0.0) == "0"


def test_names_are_joined_as_in_a_sentence() -> None:
    assert [joined(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert joined(map(str, range(10)), most=4) == "0, 1, 2 and 7 more"
