"""Does DRAMsim3's way of choosing commands keep the rules of time, serve every read, and differ from ours where it should?"""

from __future__ import annotations

import numpy as np
import pytest

from memsys.address_map import Location
from memsys.monitor import unserved, violations
from memsys.part import Command
from memsys.reference.bank_queues import run_reads
from memsys.reference.controller import Requests
from memsys.standard import load_part

DDR4 = load_part("ddr4/dramsim3_8gb_x8_3200")  # two ranks


def reads(bank, row, column):
    places = [np.asarray(values, dtype=np.int64) for values in (bank, row, column)]
    return Requests(Location(np.zeros_like(places[0]), *places), np.zeros(places[0].size, np.bool_))


@pytest.mark.parametrize("seed", range(6))
def test_it_is_lawful_and_serves_all(seed):
    rng = np.random.default_rng(seed)
    size, banks = 6000, rng.integers(1, 33)
    requests = reads(rng.integers(0, banks, size), rng.integers(0, 3, size), rng.integers(0, 128, size))
    done = run_reads(DDR4, requests, transactions=int(rng.integers(1, 33)), commands=int(rng.integers(1, 9)), traced=True)
    [commands] = done.trace
    assert violations(DDR4, commands) == []
    assert [line for line in unserved(requests, commands) if "before request" not in line] == []
    for rank in range(2):
        for command in Command:
            count = sum(i.command is command and i.bank // 16 == rank for i in commands)
            assert done.counts[0, rank, command] == count
    assert done.cycles == done.done.max()


def test_ranks_are_refreshed_in_turn():
    size = 6000
    requests = reads(np.arange(size) % 32, np.arange(size) // 32, np.zeros(size))
    refreshes = [i for i in run_reads(DDR4, requests, traced=True).trace[0] if i.command is Command.REFAB]
    assert len(refreshes) > 3
    assert [i.bank // 16 for i in refreshes] == [n % 2 for n in range(len(refreshes))]
    for number, issued in enumerate(refreshes):
        late = issued.cycle - (number + 1) * (DDR4.timing.trefi // 2)
        assert 0 <= late < 2 * DDR4.timing.trc


def test_a_row_is_not_closed_while_reads_of_it_follow_each_other():
    """tRTP after each read outlasts tCCD_L, so that the next read comes before a precharge may."""
    requests = reads([0] * 8, [1, 2, 1, 1, 1, 1, 1, 1], [0, 0, 1, 2, 3, 4, 5, 6])
    order = [i.request for i in run_reads(DDR4, requests, traced=True).trace[0] if i.command is Command.RD]
    assert order == [0, 2, 3, 4, 5, 6, 7, 1]


def test_what_it_cannot_serve_is_refused():
    requests = reads([0], [0], [0])
    with pytest.raises(ValueError, match="wanted reads of one channel with one command bus"):
        run_reads(DDR4, Requests(requests.location, np.array([True])))
    with pytest.raises(ValueError, match="wanted reads of one channel with one command bus"):
        run_reads(load_part("hbm2/dramsim3_8gb_2000"), requests)
