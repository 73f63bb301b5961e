"""Do the joules of page operations follow from currents and times, and does wear follow from what is written?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsys.nand_energy import bytes_written, energy, erase_counts, figures, joules_per_s, tokens_written, years
from memsys.nand_ops.operations import Kind, Operations, Place, run, striped
from memsys.nand_part import load_nand, nands

READ, PROGRAM, ERASE = Kind


def test_a_page_of_simplessd_takes_the_published_joules():
    """3.3 V x 25 mA x 52.5 us = 4.3 uJ for 16 KiB, 33 pJ per bit (derived from its sample configuration)."""
    part = load_nand("simplessd")
    joules = figures(part)["page_read"].joules
    assert joules == pytest.approx(3.3 * 25e-3 * 52.5e-6)
    assert joules / (8 * part.page_bytes) == pytest.approx(33e-12, rel=0.01)
    assert figures(part)["block_erase"].joules == pytest.approx(3.3 * 25e-3 * 3.5e-3)
    assert joules_per_s(part) == pytest.approx(64 * 3.3 * 10e-6)


@pytest.mark.parametrize("name", nands())
def test_array_and_channel_together_lie_in_the_ballpark(name):
    """75 to 450 pJ per bit with I/O (uncited); the two parts that are sensed in 25 and 30 us are below."""
    part = load_nand(name)
    known = figures(part)
    per_bit = (known["page_read"].joules / part.page_bytes + known["channel_byte"].joules) / 8
    assert 55e-12 < per_bit < 450e-12
    assert all(figure.joules > 0 and figure.source for figure in known.values())


def test_the_account_of_a_run_counts_pages_bytes_and_time():
    part = load_nand("mqsim")
    kinds = np.array([READ, READ, PROGRAM, ERASE])
    done = run(part, Operations(kinds, striped(np.arange(4), part)))
    account, known = energy(done), figures(part)
    assert {event: count for event, (count, _, _) in account.rows.items()} == {
        "page_read": 2,
        "page_program": 1,
        "block_erase": 1,
        "channel_byte": 3 * 8192,
        "standby": done.elapsed_ps * 64,
    }
    assert account.joules == pytest.approx(sum(count * known[event].joules for event, (count, _, _) in account.rows.items()))


def test_erases_are_counted_by_block():
    part = load_nand("mqsim")
    kinds = np.array([ERASE, ERASE, READ, ERASE])
    place = Place(
        *(np.array(column) for column in ([7, 7, 7, 0], [3, 3, 3, 0], [1, 1, 1, 0], [0, 0, 0, 1], [5, 5, 5, 9], [0, 1, 2, 3]))
    )
    counts = erase_counts(part, Operations(kinds, place))
    assert counts.shape == (8, 4, 2, 2, 2048)
    assert (counts.sum(), counts[7, 3, 1, 0, 5], counts[0, 0, 0, 1, 9]) == (3, 2, 1)


def test_endurance_of_instattention_is_its_capacity_in_binary_prefixes_by_a_rounded_token():
    """Published: 4 drives, 3000 P/E cycles, 0.78 MB of KV per token, 32,263,877 K tokens.

    Exactly that comes out of 4 drives of 2 TiB, a token of 0.78 MiB, and a write amplification of 1. A token of OPT-13B takes
    819,200 B (0.78125 MiB), and the copy of K half as much again.
    """
    part = load_nand("instattention")
    assert part.capacity == 2 << 40
    assert tokens_written(part, 78 << 20, drives=400) // 1000 == 32_263_876  # 0.78 MiB, in whole bytes of a hundred tokens
    assert round(4 * part.capacity * 3000 / (0.78 * 2**20) / 1000) == 32_263_877
    assert tokens_written(part, 819_200, drives=4) == 32_212_254_720
    assert tokens_written(part, 819_200 * 3 // 2, drives=4) == 21_474_836_480


@given(st.floats(1, 100), st.floats(1e3, 1e12))
def test_more_write_amplification_wears_sooner(amplification, rate):
    part = load_nand("mqsim")
    assert bytes_written(part, amplification) <= bytes_written(part) == part.capacity * 10_000
    assert years(part, rate, amplification) == pytest.approx(
        part.capacity * 1e4 / amplification / rate / (365.25 * 86400), rel=1e-9
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda part: bytes_written(part, 0.5), "write_amplification: wanted 1 or more, got 0.5"),
        (lambda part: bytes_written(part, float("nan")), "write_amplification: wanted 1 or more, got nan"),
        (lambda part: tokens_written(part, 0), "token_bytes: wanted 1 or more, got 0"),
        (lambda part: tokens_written(part, 1, drives=0), "drives: wanted 1 or more, got 0"),
        (lambda part: years(part, 0), "bytes_per_s: wanted a rate above zero, got 0"),
    ],
)
def test_figures_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(load_nand("mqsim"))
