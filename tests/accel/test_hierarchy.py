"""Are equal modules mapped once and composed into a netlist that still is the RTL; can small arrays speak for large ones?"""

import random

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from accel.base.compose import BRANCHES, buffer_boundaries, flatten, kinds, parts
from accel.base.hierarchy import deduplicate
from accel.base.liberty import read_liberty
from accel.base.netlist import Netlist
from accel.base.operands import bits, operands, statistics
from accel.base.rtl import elaborate
from accel.base.scaling import array_sizes, extents, extrapolate, shrunk
from accel.base.stimuli import draw_workloads, templates
from accel.base.synthesis import synthesize
from accel.base.unit import RtlUnit, rtl_units
from accel.table_precompute import TablePrecomputeUnit
from workloads.formats import FORMATS
from workloads.ops import POINTWISE_OPERANDS, Linear, Pointwise, TablePrecompute

WIDTH = 6


class Pe(wiring.Component):
    """total += a * w while en, and w moves on while load; both operands leave for the neighbours."""

    def __init__(self, width):
        self.width = width
        super().__init__(
            {"a": In(signed(width)), "w": In(signed(width)), "load": In(1), "en": In(1)}
            | {"a_out": Out(signed(width)), "w_out": Out(signed(width)), "total": Out(signed(16))}
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.load):
            m.d.sync += self.w_out.eq(self.w)
        with m.If(self.en):
            m.d.sync += [self.a_out.eq(self.a), self.total.eq(self.total + self.a * self.w_out)]
        return m


class Grid(wiring.Component):
    """size x size PEs: activations move right, weights down."""

    def __init__(self, size, widths=None):
        self.size, self.widths = size, widths or [WIDTH] * size
        edge = sum(self.widths)
        super().__init__({"a": In(edge), "w": In(WIDTH * size), "load": In(1), "en": In(1), "o": Out(16 * size * size)})

    def elaborate(self, platform):
        m = Module()
        grid = [[Pe(self.widths[row]) for _ in range(self.size)] for row in range(self.size)]
        start = 0
        for row in range(self.size):
            for column in range(self.size):
                pe = m.submodules[f"pe_{row}_{column}"] = grid[row][column]
                a = self.a[start : start + self.widths[row]] if column == 0 else grid[row][column - 1].a_out
                w = self.w[WIDTH * column : WIDTH * column + WIDTH] if row == 0 else grid[row - 1][column].w_out
                place = 16 * (row * self.size + column)
                m.d.comb += [pe.a.eq(a), pe.w.eq(w), pe.load.eq(self.load), pe.en.eq(self.en)]
                m.d.comb += self.o[place : place + 16].eq(pe.total)
            start += self.widths[row]
        return m


def _text(grid):
    return rtlil.convert(grid, name="top", emit_src=False)


@pytest.fixture(scope="module")
def composed(asap7):
    return synthesize(_text(Grid(4)), asap7, period_ps=709)


def test_equal_modules_are_one_wherever_they_lie():
    design = deduplicate(_text(Grid(5)), "top")
    counts = {name: n for name, n in design.counts().items() if name != design.top}
    # Inside, in the last column (its activation leads nowhere), in the last row (its weight does), and in the corner.
    assert sorted(counts.values()) == [1, 4, 4, 16]
    assert [counts[name] for name in design.repeated()].count(1) == 0
    assert design.text.count("module ") == 5
    assert deduplicate(design.text, "top").text == design.text


def test_modules_that_differ_are_kept_apart():
    design = deduplicate(_text(Grid(4, widths=[WIDTH, WIDTH, WIDTH + 1, WIDTH])), "top")
    same = deduplicate(_text(Grid(4)), "top")
    assert len(design.children) > len(same.children)
    assert sum(n for name, n in design.counts().items() if name != design.top) == 16


def test_a_module_inside_of_a_repeated_one_has_no_boundary_of_its_own():
    class Pair(wiring.Component):
        def __init__(self):
            super().__init__({"a": In(signed(8)), "o": Out(signed(16))})

        def elaborate(self, platform):
            m = Module()
            m.submodules.one, m.submodules.two = one, two = Pe(8), Pe(8)
            m.d.comb += [one.a.eq(self.a), one.w.eq(self.a), one.load.eq(1), one.en.eq(1)]
            m.d.comb += [two.a.eq(one.a_out), two.w.eq(one.w_out), two.load.eq(1), two.en.eq(1), self.o.eq(two.total)]
            return m

    class Pairs(wiring.Component):
        def __init__(self):
            super().__init__({"a": In(8), "o": Out(48)})

        def elaborate(self, platform):
            m = Module()
            for n in range(3):
                pair = m.submodules[f"pair_{n}"] = Pair()
                m.d.comb += [pair.a.eq(self.a), self.o[16 * n : 16 * n + 16].eq(pair.o)]
            return m

    design = deduplicate(_text(Pairs()), "top")
    assert [design.counts()[name] for name in design.repeated()] == [3]


def test_the_composed_netlist_is_the_rtl(composed):
    rng = random.Random(2)
    rows = [
        {"a": rng.randrange(1 << 4 * WIDTH), "w": rng.randrange(1 << 4 * WIDTH), "load": t < 6, "en": rng.randrange(2)}
        for t in range(60)
    ]
    (outputs,), _ = composed.netlist.run([[{k: int(v) for k, v in row.items()} for row in rows]])
    half = 1 << (WIDTH - 1)
    number = [(v ^ half) - half for v in range(2 * half)]
    a, w, total = (np.zeros((4, 4), int) for _ in range(3))
    for row, seen in zip(rows, outputs, strict=True):
        assert seen["o"] == sum((int(v) & 0xFFFF) << 16 * n for n, v in enumerate(total.ravel()))
        left = np.array([number[row["a"] >> WIDTH * r & 2 * half - 1] for r in range(4)])
        above = np.array([number[row["w"] >> WIDTH * c & 2 * half - 1] for c in range(4)])
        if row["en"]:
            moved = np.concatenate([left[:, None], a[:, :-1]], axis=1)
            a, total = moved, total + moved * w
        if row["load"]:
            w = np.concatenate([above[None], w[:-1]])


def test_area_by_hierarchy_adds_up_and_is_close_to_a_flat_synthesis(composed, asap7):
    assert len(composed.parts) == 4
    assert sorted(p.count for p in composed.parts) == [1, 3, 3, 9]
    assert composed.area_um2 == pytest.approx(composed.netlist.area)
    assert composed.sequential_um2 == pytest.approx(
        sum(i.cell.area for i in (*composed.netlist.flipflops, *composed.netlist.gates))
    )
    assert composed.cells == len(composed.netlist.instances) == sum(composed.kinds.values())
    flat = synthesize(_text(Grid(4)), asap7, period_ps=709, flat=True)
    assert len(flat.parts) == 1
    assert composed.area_um2 == pytest.approx(flat.area_um2, rel=0.12)


TOY = """
library (toy) { nom_voltage : 1; capacitive_load_unit (1, ff);
  cell (INV) { area : 2; pin (A) { direction : input; } pin (Y) { direction : output; function : "!A"; } }
  cell (BUF) { area : 1; pin (A) { direction : input; } pin (Y) { direction : output; function : "A"; } }
}
"""


def _ports(**ports):
    return {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()}


def test_outputs_that_share_a_net_pass_through_or_are_constant_stay_what_they_were():
    inner = {
        "ports": _ports(
            a=("input", [2]), same=("output", [3]), again=("output", [3]), through=("output", [2]), one=("output", ["1"])
        ),
        "cells": {"i": {"type": "INV", "connections": {"A": [2], "Y": [3]}}},
    }
    names = {"same": [3], "again": [4], "through": [5], "one": [6]}
    top = {
        "ports": _ports(a=("input", [2]), o=("output", [3, 4, 5, 6, 7])),
        "cells": {
            "x": {"type": "inner", "connections": {"a": [2], **names}},
            "y": {"type": "inner", "connections": {"a": [4], "same": [7], "again": [], "through": [8], "one": [9]}},
        },
    }
    design = {"modules": {"top": top, "inner": inner}}
    netlist = Netlist(flatten(design, "top"), "top", read_liberty({"toy": TOY}))
    (outputs,), _ = netlist.run([[{"a": 0}, {"a": 1}]])
    assert [o["o"] for o in outputs] == [0b01011, 0b11100]
    assert {p.module: (p.count, p.cells) for p in parts(design, "top", read_liberty({"toy": TOY}))} == {
        "inner": (2, 1),
        "top": (1, 0),
    }


@given(st.integers(1, 200))
def test_a_net_into_many_instances_gets_a_tree_of_buffers(count):
    library = read_liberty({"toy": TOY})
    inner = {
        "ports": _ports(a=("input", [2]), y=("output", [3])),
        "cells": {"i": {"type": "INV", "connections": {"A": [2], "Y": [3]}}},
    }
    cells = {f"x{n}": {"type": "inner", "connections": {"a": [2], "y": [3 + n]}} for n in range(count)}
    top = {"ports": _ports(a=("input", [2]), o=("output", list(range(3, 3 + count)))), "cells": cells}
    design = {"modules": {"top": top, "inner": inner}}
    buffer_boundaries(design, library.cells["BUF"])
    netlist = Netlist(flatten(design, "top"), "top", library)
    loads = [i.nets["A"] for i in netlist.instances]
    assert max(loads.count(net) for net in loads) <= BRANCHES
    (outputs,), _ = netlist.run([[{"a": 0}, {"a": 1}]])
    assert [o["o"] for o in outputs] == [(1 << count) - 1, 0]
    assert kinds(design, "top")["INV"] == count


class _Scaled(RtlUnit):
    """Only its extents matter."""

    rows: int = 32
    columns: int = 16

    def limits(self, op): ...
    def tile_cost(self, tile): ...
    def component(self): ...
    def encode_config(self, tile, n): ...
    def encode(self, tile, *arrays): ...
    def output_words(self, tile): ...
    def decode(self, tile, words): ...
    @classmethod
    def examples(cls): ...
    @classmethod
    def draw(cls, rng): ...


def _rows(unit, truth, rng):
    counts = [{name: int(rng.integers(1, 500)) for name in truth} for _ in range(20)]
    return unit, counts, [sum(n * truth[name](unit.rows, unit.columns) for name, n in row.items()) for row in counts]


def test_joules_of_a_large_array_follow_from_small_ones():
    truth = {"cycle": lambda r, c: 5 + r * c, "mac": lambda r, c: 200.0, "word": lambda r, c: 3 + 2 * c}
    rng = np.random.default_rng(0)
    arrays = [_rows(unit, truth, rng) for unit in array_sizes(_Scaled())]
    assert [tuple(extents(unit).values()) for unit, *_ in arrays] == [(2, 2), (2, 8), (8, 2), (4, 4), (8, 8)]
    found = extrapolate(_Scaled(), arrays[:-1], arrays[-1])
    assert found.joules == pytest.approx({name: f(32, 16) for name, f in truth.items()}, rel=1e-3)
    assert found.held_out < 1e-3


def test_joules_that_do_not_scale_are_refused():
    rng = np.random.default_rng(0)
    arrays = [_rows(unit, {"mac": lambda r, c: float(2 ** (r + c))}, rng) for unit in array_sizes(_Scaled())]
    with pytest.raises(ValueError, match=r"cannot be told from smaller arrays.*predicted to \d+%, wanted 25%"):
        extrapolate(_Scaled(), arrays[:-1], arrays[-1])


def test_a_unit_without_an_extent_cannot_be_shrunk():
    assert shrunk(_Scaled()).columns == 4
    assert TablePrecomputeUnit(rows=1) == shrunk(TablePrecomputeUnit(rows=1))

    class Fixed(_Scaled):
        rows: str = "a"
        columns: str = "b"

    with pytest.raises(ValueError, match="none of the parameters rows, columns, lanes to shrink"):
        array_sizes(Fixed())


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp16", "bf16", "fp32"])
def test_float_operands_are_the_nearest_patterns(name):
    from kernels_ref.floats import encode

    values = np.random.default_rng(0).normal(0, 1, 500)
    assert (bits(values, FORMATS[name]) == encode(values, FORMATS[name])).all()


def _ops():
    yield Linear(
        m=3, n=4, k=8, weights=FORMATS["uint4"].grouped(4), activations=FORMATS["fp16"], dequantized=True, accumulate=True
    )
    yield Linear(m=3, n=4, k=8, weights=FORMATS["fp8_e4m3"], activations=FORMATS["bf16"], accumulate=True)
    yield TablePrecompute(m=3, k=8, activations=FORMATS["fp16"])
    for function in POINTWISE_OPERANDS:
        yield Pointwise(function=function, rows=3, row=8, head_dim=4)
        yield Pointwise(function=function, rows=3, row=8, head_dim=4, activations=FORMATS["int32"])


def test_every_op_gets_operands_in_range_and_words_for_them():
    for op in _ops():
        arrays = operands(op, np.random.default_rng(0))
        assert len(statistics(op)) == len({(o.name, o.format) for o in op.operands()})
        for operand, array in zip(op.operands(), arrays, strict=True):
            fmt = operand.format
            assert array.shape == op.shape(operand)
            assert array.dtype == np.int64
            if fmt.kind == "float":
                assert ((array & (fmt.fields.sign - 1)) <= fmt.fields.highest).all()
                assert operand.name != "scale" or (array < fmt.fields.sign).all(), "scales are positive"
            else:
                assert ((array >= fmt.lowest) & (array <= fmt.highest)).all()


@pytest.mark.parametrize("kind", rtl_units())
def test_every_unit_has_workloads_whose_tiles_it_takes(kind):
    unit = shrunk(rtl_units()[kind](), 2)
    workloads = draw_workloads(unit, np.random.default_rng(0), most=12)
    assert len(workloads) == 12
    tiles = [tile for w in workloads for tile, _ in w.runs]
    for tile in tiles:
        unit.check(tile)
        assert all(getattr(tile, name) <= most for name, most in unit.limits(tile).items())
    assert len(templates(unit, np.random.default_rng(0))) >= 1
    assert {len(invocations) for w in workloads for _, invocations in w.runs} == {1, 2, 3}


def test_a_unit_of_one_module_is_not_composed(asap7):
    done = synthesize(elaborate(TablePrecomputeUnit(rows=1, group=2))[1], asap7, period_ps=709)
    assert [p.count for p in done.parts] == [1]
