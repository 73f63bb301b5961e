"""Are dimensioned values exact, and wrong ones refused with a message that says what was wanted?"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base.quantity import UNITS, Bytes, Hertz, Joules, MBytesPerSecond, Picoseconds, parse
from accel.base.spec import Spec


class Sample(Spec):
    clock: Hertz = 1
    size: Bytes = 1
    bandwidth: MBytesPerSecond = 1
    delay: Picoseconds = 0
    energy: Joules = 0.0


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("1.41 GHz", "frequency", 1_410_000_000),
        ("80 GB", "capacity", 80 * 10**9),
        ("80 GiB", "capacity", 80 * 2**30),
        ("2039 GB/s", "bandwidth", 2039 * 10**9),
        ("1.5 us", "time", 1_500_000),
        ("0.56 pJ", "energy", Fraction(56, 10**14)),
        ("826 mm2", "area", 826 * 10**6),
        ("2e3 MHz", "frequency", 2 * 10**9),
    ],
)
def test_exact(text, dimension, value):
    assert parse(text, dimension) == value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clock", 1410000000, "wanted a frequency with its unit, such as '1.41 GHz', got the bare value 1410000000"),
        ("clock", "1.41", "got '1.41'"),
        ("clock", "3 GB", "'GB' is a unit of capacity"),
        ("clock", "1.41 Ghz", "unknown unit 'Ghz'"),
        ("clock", "0 Hz", "above zero"),
        ("clock", "0.5 Hz", "whole number"),
        ("size", "-1 GB", "got '-1 GB'"),
        ("bandwidth", "1 B/s", "whole number"),
        ("delay", "0.1 ps", "whole number"),
        ("energy", "1e-400 J", "got '1e-400 J'"),
    ],
)
def test_refused(field, value, message):
    with pytest.raises(ValidationError) as error:
        Sample(**{field: value})
    assert message in str(error.value)


@given(st.sampled_from(sorted(UNITS)), st.text(max_size=30))
def test_any_text_parses_or_is_refused_as_a_value(dimension, text):
    try:
        value, said = parse(text, dimension), ""
    except ValueError as error:
        value, said = None, str(error)
    assert f"wanted a {dimension}" in said if value is None else value >= 0


@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_dumped_text_reads_back(clock, size):
    sample = Sample(clock=f"{clock} Hz", size=f"{size} B")
    assert Sample.model_validate_json(sample.model_dump_json()) == sample


@given(st.floats(1e-30, 1e12))
def test_what_is_written_is_read_again(joules):
    """Also 0.00039600000000000003, of 20 decimals."""
    assert Sample(energy=f"{joules!r} J").energy == joules
