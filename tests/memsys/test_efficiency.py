"""Is the table of efficiencies what the reference gives now, whole, and read as it was written?"""

from __future__ import annotations

import pytest

from memsys import tabulate
from memsys.efficiency import efficiency, provenance, share_at, table
from memsys.standard import parts

AGAIN = "efficiency.csv is older than the code: run python -m memsys.tabulate"
KEYS = list(tabulate.keys(parts()))
HBM2 = "hbm2/ramulator_8gb_2000"


def test_every_part_map_stream_and_depth_is_in_it_once():
    assert [(r.part, r.mapping, r.pattern, r.block, r.reads, r.depth) for r in table()] == KEYS, AGAIN


@pytest.mark.parametrize("index", range(0, len(KEYS), 53))
def test_a_row_is_what_the_reference_gives(index):
    assert table()[index] == tabulate.measured(*KEYS[index]), AGAIN


def test_the_file_is_written_as_it_is_read():
    text = (tabulate.FILE).read_text()
    again = tabulate.written(table())
    assert [line for line in text.splitlines() if line[0] != "#"] == [line for line in again.splitlines() if line[0] != "#"]
    assert set(provenance()) == {"made by", "date", "code and parts", "seed", "streams"}


@pytest.mark.parametrize("row", table()[::29], ids=lambda r: f"{r.part} {r.mapping} {r.pattern} {r.block} {r.reads} {r.depth}")
def test_shares_are_shares(row):
    assert 0 < row.share <= 1
    assert 0 <= row.hits < 1
    assert row.latency > 0


def test_a_stream_is_looked_up():
    row = efficiency(HBM2, "MOP4CLXOR", "sequential")
    assert (row.reads, row.depth) == (1.0, 32)
    assert (
        row.share
        > efficiency(HBM2, "MOP4CLXOR", "random", block=256).share
        > efficiency(HBM2, "MOP4CLXOR", "random", block=64).share
    )


def test_between_hit_rates_it_is_interpolated():
    few, more = (efficiency(HBM2, "RoBaRaCoCh", "random", block=block) for block in (256, 1024))
    middle = share_at(HBM2, "RoBaRaCoCh", (few.hits + more.hits) / 2)
    assert min(few.share, more.share) <= middle <= max(few.share, more.share)
    assert share_at(HBM2, "RoBaRaCoCh", few.hits) == few.share
    assert share_at(HBM2, "RoBaRaCoCh", 0) == efficiency(HBM2, "RoBaRaCoCh", "random", block=64).share


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"part": "hbm2/ramulator_8gb_200"},
            r"efficiency: .*part 'hbm2/ramulator_8gb_200'.*did you mean 'hbm2/ramulator_8gb_2000'",
        ),
        ({"mapping": "MOP4CLXR"}, r"did you mean 'MOP4CLXOR'"),
        ({"depth": 31}, r"efficiency: .*depth '31'"),
        ({"pattern": "randm"}, r"wanted one of the patterns sequential, strided, random 64, .*, got randm$"),
        ({"pattern": "random", "block": 100}, r"random 4096, got random 100$"),
    ],
)
def test_what_is_not_tabulated_is_refused_with_what_is(wanted, message):
    with pytest.raises(ValueError, match=message):
        efficiency(**{"part": HBM2, "mapping": "MOP4CLXOR", "pattern": "random", **wanted})
    with pytest.raises(ValueError, match="hits: wanted a share from 0 to 1, got 2"):
        share_at(HBM2, "MOP4CLXOR", 2)
