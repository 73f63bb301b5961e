"""Do the commands of a PIM channel cost what NeuPIMs' rules say, at any clock, and does the account add up?"""

import numpy as np
import pytest

from memsys.part import Command, Part
from memsys.standard import load_part
from pim.energy import RULES, energy, figures
from pim.price import PimPrice
from pim.schedule import play
from pim.tiles import attend, layout_on, logits

HBM2 = load_part("hbm2/neupims_8gb_2000")
WIDE = load_part("hbm2/dramsim3_8gb_2000")  # the same currents, a page of 2 KiB and one rank
DDR4 = load_part("ddr4/dramsim3_8gb_x8_3200")  # tCK 0.63 ns, eight chips per rank, two ranks of 4 x 4 banks, a page of 8 KiB


def pj(part):
    return {event: figure.joules * 1e12 for event, figure in figures(part).items()}


def changed(part, **tables):
    data = part.model_dump(by_alias=True)
    for name, values in tables.items():
        data[name] = data[name] | values if isinstance(values, dict) else values
    return Part.from_data(data)


def test_events_of_hbm2_are_those_of_the_published_rules():
    """IDD0 65, IDD3N 55, IDD2N 40, IDD4R 390, IDD5AB 250 mA at 1.2 V: ACT 828 pJ and RD 804 pJ."""
    assert pj(HBM2) == pytest.approx(
        {
            "grouped_act": 4 * 828,
            "comp": 3216,
            "gwrite": 12864,
            "read_result": 804,  # 16 bit of 32 banks are the 512 bits of a burst
            "activate": 828,
            "refresh": 60840,
            "active": 66,
            "pim_active": 66,
            "read_result_io": 512 * 0.8,
        }
    )


def test_a_page_of_twice_the_bursts_and_half_the_banks_cost_so():
    of = pj(WIDE)
    assert (of["gwrite"], of["read_result"], of["comp"]) == pytest.approx((2 * 12864, 402, 3216))


def test_away_from_1_ns_cycles_are_multiplied_by_the_clock():
    read, act = 1.2 * (168 - 52) * 4 * 0.63 * 8, 1.2 * (57 * 74 - 52 * 52 - 37 * 22) * 0.63 * 8
    of = pj(DDR4)
    assert (of["comp"], of["grouped_act"]) == pytest.approx((4 * read, 4 * act))
    assert of["gwrite"] == pytest.approx(8192 / 64 * read)
    assert of["read_result"] == pytest.approx(16 * 32 * 8 / 512 * read)
    assert of["pim_active"] == pytest.approx(1.2 * 52 * 0.63 * 8)


@pytest.mark.parametrize("ns", [0.5, 2])
def test_a_clock_of_another_period_at_equal_cycles_scales_every_event_but_the_pins(ns):
    other = pj(changed(HBM2, timing={"tck": f"{ns} ns"}, speed=f"{round(2000 / ns)} MT/s"))
    of = pj(HBM2)
    assert other.pop("read_result_io") == pytest.approx(of.pop("read_result_io"))
    assert other == pytest.approx({event: ns * joules for event, joules in of.items()})


@pytest.mark.parametrize(("given", "wanted"), [("datasheet", "published"), ("published", "published"), ("assumed", "assumed")])
def test_a_figure_is_as_trusted_as_the_least_of_its_parts(given, wanted):
    table = HBM2.model_dump(by_alias=True)["currents"][0] | {"class": given}
    of = figures(changed(HBM2, currents=[table]))
    for event in ("grouped_act", "comp", "gwrite", "read_result", "pim_active"):
        assert of[event].source_class == wanted
        assert of[event].source.startswith(f"{RULES}; ")
        assert of[event].source.endswith(table["source"])
    assert of["activate"].source_class == given


def test_a_part_without_currents_or_that_is_no_pim_channel_has_none():
    with pytest.raises(ValueError, match="wanted supply currents"):
        figures(changed(HBM2, currents=[]))
    with pytest.raises(ValueError, match="wanted channels with one data bus"):
        figures(load_part("hbm2/ramulator_8gb_2000"))


@pytest.mark.parametrize("dual", [True, False])
def test_the_account_of_a_request_is_its_events_by_hand(dual):
    """Logits of 1024 tokens of 8 heads of 128: 2 rows of keys, each 32 tiles of 4 GEMV(8)."""
    cost = PimPrice(HBM2, layout_on(HBM2, 8, 128), dual).logits(1024)
    account = energy(HBM2, cost, cost.latency, dual=dual, refreshes=3)
    counts = {row.event: row.count for row in account.rows}
    standby = 2 * cost.latency
    wanted = {
        "gwrite": 2,
        "grouped_act": 64 * 8,
        "comp": 64 * 4 * 8,
        "read_result": 64 * 4,
        "read_result_io": 64 * 4,
        "refresh": 3,
    }
    assert counts == wanted | {"active": standby} | ({"pim_active": standby} if dual else {"activate": 2})
    of = pj(HBM2)
    total = sum(count * of[event] for event, count in counts.items())
    assert account.joules * 1e12 == pytest.approx(total)
    assert account.background * 1e12 == pytest.approx((1 + dual) * standby * 66)
    assert account.of("comp") * 1e12 == pytest.approx(64 * 4 * 8 * 3216)


@pytest.mark.parametrize("operations", [logits, attend])
@pytest.mark.parametrize("dual", [True, False])
def test_activations_of_the_vectors_row_are_those_of_the_schedule(operations, dual):
    """But for the one of a run with two row buffers, in which it stays open."""
    layout = layout_on(HBM2, 8, 128)
    cost = getattr(PimPrice(HBM2, layout, dual), operations.__name__)(1100)
    commands = play(HBM2, operations(layout, 1100), dual=dual, refresh=False).commands
    assert cost.events["activate"] == sum(c.command is Command.ACT for c in commands) - dual


def test_counts_that_are_none_are_refused():
    price = PimPrice(HBM2, layout_on(HBM2, 8, 128))
    with pytest.raises(ValueError, match="cycles: wanted whole numbers from 0 on, got -1"):
        energy(HBM2, price.logits(64), -1)
    with pytest.raises(ValueError, match=r"refreshes: wanted whole numbers from 0 on, got 1\.5"):
        energy(HBM2, price.logits(64), 100, refreshes=1.5)
    with pytest.raises(ValueError, match="wanted the cost of one context, got an array"):
        energy(HBM2, price.logits(np.array([64, 65])), 100)
