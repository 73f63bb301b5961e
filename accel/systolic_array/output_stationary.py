"""The output-stationary skeleton: a grid of cells around any processing element (PE), its edges and its drain.

Cell (r, c) sums over the k steps of a *segment*, for row r of the activations and column c of the weights. Activations move one
cell to the right per cycle, weights one cell down; both enter skewed, so that step i meets in cell (r, c) at cycle i + r + c.
When the last step of a segment has passed the last cell, the sums (which each cell has copied beside its PE) move down, a row per
cycle, and leave below the grid: the last row first, one word of all columns each. Meanwhile the next segment is summed.

    words in    activations   rows x activation_bits      one per step
                weights       columns x weight_bits       one per step
                partial       columns x result_bits       one per row in use and segment, last row first, if accumulating
    words out   results       [row sum,] columns x result_bits      one per row in use and segment, last row first

Flow control: where operands are missing no step is issued and the grid goes on; where the output buffer is full and a word is
below the grid, ``advance`` is low and all of it stands still. ``advance`` comes from registers alone, and no `ready` of an input
depends on the `ready` of an output or on a `valid`. A segment's last step waits until the sums before it will have made way.

Timing in cycles (`segment_latency`, `segment_interval`), for k steps, m rows and n columns in use (one more with row sums), D the
PE's ``delay``, and a ``spacing`` of 1:

    first segment     k + m + n + rows + D + 2                  further segments   max(k, m + n - 1)
    accumulating      k + 2 m + n + rows + D + 1                                   k + 2 m + n + rows + D - 1

A PE is described by an `accel.systolic_array.pe.Pe`: widths, ``delay``, ``spacing``, and a component with the ports

    activation, weight   In    operands, from registers of the cell
    step                 In    they are to be summed in this cycle
    first                In    the segment's first step: the sum starts from ``start``, not from the sum so far
    start                In    zero, or the partial sum; it holds until ``result`` has been copied
    advance              In    enables every register of the PE
    result               Out   with ``step`` ``delay`` cycles ago: the sum including that step

All PEs are the same module: nothing in a PE may depend on where it lies.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones, event_layout
from accel.systolic_array.cell import CONTROL, OutputStationaryCell
from accel.systolic_array.edges import OutputBuffer, WordRegister, skew, tokens
from accel.systolic_array.pe import Pe
from accel.systolic_array.run import open_run, send_results
from accel.systolic_array.timing import config_layout, segment_events, segment_interval, segment_latency

__all__ = ["OutputStationary", "config_layout", "segment_events", "segment_interval", "segment_latency"]


class OutputStationary(wiring.Component):
    """The array of ``rows`` x ``columns`` PEs of the kind ``pe``.

    With ``row_sum``, a kind of PE that needs no weight (it gets zeros), an additional column at the left sums something over the
    activations alone; its sums are the lowest field of the result words, and there is no stream of partial sums.

    Events, each in elements: ``mac`` (steps of PEs), ``row_sum`` (those of the left column), ``activation_load`` and
    ``weight_load`` (into the word registers), ``skew`` (of either, into a skew register), ``partial_load`` (into the uppermost
    drain registers), ``drain`` (other writes of drain registers: sums copied and moved down), ``output`` (into the buffer). PEs
    outside of a tile stand still, so there is no padding to be counted.
    """

    def __init__(self, rows: int, columns: int, pe: Pe, *, row_sum: Pe | None = None):
        self.rows, self.columns, self.pe, self.row_sum = rows, columns, pe, row_sum
        self.wide = columns + bool(row_sum)
        sums = {"row_sum": row_sum.result_bits} if row_sum else {}
        sums["columns"] = data.ArrayLayout(pe.result_bits, columns)
        partial = {} if row_sum else {"partial": In(stream.Signature(data.ArrayLayout(pe.result_bits, columns)))}
        most = {"mac": rows * columns, "activation_load": rows, "weight_load": columns, "drain": rows * self.wide}
        most |= {"skew": rows * (rows - 1) // 2 + self.wide * (self.wide - 1) // 2, "output": self.wide}
        most |= {"row_sum": rows} if row_sum else {"partial_load": columns}
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(rows, columns))),
                "activations": In(stream.Signature(data.ArrayLayout(pe.activation_bits, rows))),
                "weights": In(stream.Signature(data.ArrayLayout(pe.weight_bits, columns))),
                **partial,
                "results": Out(stream.Signature(data.StructLayout(sums))),
                "events": Out(event_layout(**most)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run = self._run(m)
        self._issue(m, run)
        self._drain(m, run)
        self._grid(m, run)
        return m

    def _run(self, m):
        """What is in use in the run that is open, and what the methods below drive."""
        return open_run(
            m,
            self.config,
            self.rows,
            self.columns,
            accumulates=self.row_sum is None,
            running=Signal(name="running"),  # steps of the run are still to come
            fire=Signal(name="fire"),  # a step enters
            first=Signal(name="first"),
            last=Signal(name="last"),
            advance=Signal(name="advance"),
            loaded=Signal(name="loaded"),  # partial sums are in place
            sums_ready=Signal(name="sums_ready"),  # a segment's last step is in the last cell
        )

    def _issue(self, m, run):
        """Which step enters when. Counters run down to zero; that they are there is a register, as everything waits for it."""
        new = self.config.payload
        steps, step, segment = Signal.like(new.steps), Signal.like(new.steps), Signal.like(new.segments)
        one_step, last_segment, first, last = Signal(), Signal(), run.first, run.last
        travel, travelled = Signal(range(self.rows + self.wide)), Signal(range(self.rows + self.wide))
        travelling, there = Signal(), Signal()
        run.last_of_run = last & last_segment
        with m.If(run.opens):
            m.d.sync += [
                run.running.eq(1),
                Cat(steps, step).eq(Cat(new.steps, new.steps)),
                segment.eq(new.segments),
                Cat(one_step, last).eq((new.steps == 0).replicate(2)),
                first.eq(1),
                last_segment.eq(new.segments == 0),
                travel.eq(new.rows + new.columns + (self.wide - self.columns) - 2),
            ]
        with m.If(run.fire):
            m.d.sync += [step.eq(step - 1), last.eq(step == 1), first.eq(last)]
            with m.If(last):
                m.d.sync += [step.eq(steps), last.eq(one_step), segment.eq(segment - 1), last_segment.eq(segment == 1)]
            with m.If(run.last_of_run):
                m.d.sync += run.running.eq(0)

        # `travelled` counts from a segment's last step until it is in the last cell: then the sums may move, and the next last
        # step may enter, as it overwrites drain registers no earlier than they are left.
        m.d.comb += run.sums_ready.eq(travelling & there)
        with m.If(run.advance):
            m.d.sync += [travelled.eq(travelled - 1), there.eq(travelled == 1)]
            with m.If(run.sums_ready):
                m.d.sync += travelling.eq(0)
            with m.If(run.fire & last):
                m.d.sync += [travelling.eq(1), travelled.eq(travel), there.eq(travel == 0)]

        run.activations = WordRegister(m, self.activations, self.rows, self.pe.activation_bits, "activation")
        run.weights = WordRegister(m, self.weights, self.columns, self.pe.weight_bits, "weight")
        kwargs = {"wanted": run.running, "used": run.fire, "last": run.last_of_run}
        m.d.comb += [
            self.events.activation_load.eq(run.activations.connect(lanes_used=run.rows, **kwargs)),
            self.events.weight_load.eq(run.weights.connect(lanes_used=run.columns, **kwargs)),
            run.fire.eq(
                run.advance
                & run.activations.full
                & run.weights.full
                & ~(last & travelling & ~there)
                & ~(first & run.accumulate & ~run.loaded)
                & self._spaced(m, run)
            ),
        ]

    def _spaced(self, m, run):
        """Whether the PEs can take another step: a register, high ``spacing`` cycles after the step before."""
        if self.pe.spacing == 1:
            return Const(1)
        spaced, wait = Signal(init=1), Signal(range(self.pe.spacing))
        with m.If(run.advance):
            m.d.sync += [wait.eq(wait - 1), spaced.eq(spaced | (wait == 1))]
            with m.If(run.fire):
                m.d.sync += [wait.eq(self.pe.spacing - 1), spaced.eq(0)]
        return spaced

    def _drain(self, m, run):
        """Which rows of drain registers hold something on its way down, and what of it leaves."""
        full = Signal(self.rows)
        bottom, alone = full[-1], ~full[:-1].any()
        push_partial, preloading, run_ends = Signal(), Signal(), Signal()
        starts = Cat(run.sums_ready, run.sums_ready & ~run.running)
        for stage in range(self.pe.delay):
            later = Signal(2, name=f"starts_{stage}")
            with m.If(run.advance):
                m.d.sync += later.eq(starts)
            starts = later
        with m.If(run.advance):
            m.d.sync += full.eq((full << 1) | Mux(starts[0], run.rows, 0))
            with m.If(starts[1]):
                m.d.sync += run_ends.eq(1)
            with m.If(bottom & alone):
                m.d.sync += preloading.eq(run.accumulate & run.running)
        with m.If(run.opens):
            m.d.sync += [run_ends.eq(0), run.loaded.eq(0)]
        with m.If(run.fire & run.first):
            m.d.sync += run.loaded.eq(0)

        if self.row_sum is None:
            m.d.comb += [
                self.partial.ready.eq(preloading),
                push_partial.eq(self.partial.valid & preloading),
                self.events.partial_load.eq(Mux(push_partial, count_ones(run.columns), 0)),
            ]
            with m.If(run.opens):
                m.d.sync += preloading.eq(self.config.payload.accumulate)
            with m.If(preloading):
                m.d.sync += full.eq(full)
                with m.If(push_partial):
                    m.d.sync += full.eq(Cat(1, full[:-1]))
                    with m.If(Cat(1, full[:-1]) == run.rows):
                        m.d.sync += [full.eq(0), preloading.eq(0), run.loaded.eq(1)]

        m.submodules.buffer = buffer = OutputBuffer(data.StructLayout({"ends": 1, "sums": self.results.payload.shape()}))
        run.output = buffer.word.sums
        run.shifts = Cat(push_partial, full[:-1] & (~preloading | push_partial).replicate(self.rows - 1))
        leaves = bottom & buffer.room
        m.d.comb += [
            run.advance.eq(~bottom | buffer.room),
            buffer.push.eq(leaves),
            buffer.word.ends.eq(run_ends & alone),
            self.events.output.eq(Mux(leaves, count_ones(run.columns) + (self.wide - self.columns), 0)),
        ]
        send_results(m, run, buffer, self.results)

    def _grid(self, m, run):
        """The skewed edges and the cells."""
        left = self.wide - self.columns
        token = Signal(CONTROL, name="control_0")
        m.d.comb += token.eq(Cat(run.fire, run.first, run.last))
        used = [Const(1)] * left + list(run.columns)
        controls = tokens(m, token, run.rows, run.advance, name="control")
        across = tokens(m, token, used, run.advance, name="control_column")
        activations, activation_moves = skew(m, run.activations.lanes, run.rows, _moves(controls, run), name="activation")
        weights, weight_moves = skew(m, run.weights.lanes, run.columns, _moves(across, run), first=left, name="weight")
        if left:
            weights.insert(0, Const(0))
        above = [Const(0)] * left + ([Const(0)] * self.columns if left else list(self.partial.payload))
        macs: list[Value] = []
        sums: list[Value] = []
        drains: list[Value] = []
        kinds = [self.row_sum, *[self.pe] * self.columns] if self.row_sum else [self.pe] * self.columns
        for r in range(self.rows):
            control, activation = controls[r], activations[r]
            for c, kind in enumerate(kinds):
                cell = OutputStationaryCell(kind)
                m.submodules[f"cell_{r}_{c}"] = cell
                m.d.comb += [
                    cell.advance.eq(run.advance),
                    cell.used.eq(used[c]),
                    cell.control.eq(control),
                    cell.activation.eq(activation),
                    cell.weight.eq(weights[c]),
                    cell.accumulate.eq(run.accumulate),
                    cell.shift.eq(run.shifts[r]),
                    cell.above.eq(above[c]),
                ]
                control, activation = cell.control_right, cell.activation_right
                weights[c], above[c] = cell.weight_below, cell.below
                (sums if c < left else macs).append(cell.mac)
                drains.append(cell.drain)
        m.d.comb += [
            run.output.eq(Cat(*above)),
            self.events.mac.eq(count_ones(Cat(*macs))),
            self.events.drain.eq(count_ones(Cat(*drains)) - Mux(run.shifts[0], count_ones(run.columns), 0)),
            self.events.skew.eq(activation_moves + weight_moves),
        ]
        if left:
            m.d.comb += self.events.row_sum.eq(count_ones(Cat(*sums)))


def _moves(tokens, run):
    """The cycles in which the skew registers of each stage load."""
    return [token.step & run.advance for token in tokens]
