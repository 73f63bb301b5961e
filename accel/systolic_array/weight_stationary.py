"""The weight-stationary array: weights stay in a grid of cells, activations move right, partial sums move down.

Cell (r, c) holds the weight of reduction step r and column c, for all m rows of activations of a tile. Activations enter skewed
at the left, element r of a row r hops after its element 0; partial sums (or zeros) enter skewed at the top, take up one product
per row of the grid, and leave it below, where shift registers undo the skew. The weights of the next tile move down through a
second register of each cell meanwhile, and take their place one by one as the first activations of their tile come by.

    words in    activations   rows x operand_bits         one per row of activations
                weights       columns x operand_bits      one per reduction step in use and tile, last step first
                partial       columns x 32                one per row of activations, if accumulating
    words out   results       columns x 32                one per row of activations

Flow control: where operands or weights are missing nothing enters and the grid goes on; where the output buffer is full and a
word is below the grid, ``advance`` is low and all of it stands still. ``advance`` comes from registers alone, and no `ready` of
an input depends on the `ready` of an output or on a `valid`.

Timing in cycles (`tile_latency`, `tile_interval`), for m rows of activations, k reduction steps in use, P the PE's
``multiply_depth`` and H its ``hop`` (the cycles that a partial sum takes per row):

    first tile    k + m + H rows + columns + P + 3          further tiles    max(m, H (k - 1) + 1)
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones, event_layout
from accel.systolic_array.cell import PASSING_CONTROL, WeightStationaryCell
from accel.systolic_array.edges import OutputBuffer, WordRegister, skew, tokens
from accel.systolic_array.pe import PassingPe
from accel.systolic_array.run import open_run, send_results
from accel.systolic_array.timing import config_layout

TOKEN = data.StructLayout({"step": 1, "first": 1, "ends": 1})
"""What travels with a row of activations: there is one, it is the tile's first, the run's last."""


class WeightStationary(wiring.Component):
    """The array of ``rows`` x ``columns`` PEs of the kind ``pe``.

    Events, each in elements: ``mac`` (sums of PEs with a product) and ``padding`` (sums that pass rows out of use),
    ``activation_load``, ``weight_load`` and ``partial_load`` (into the word registers), ``activation_skew``, ``weight_skew``,
    ``partial_skew`` and ``deskew`` (into a skew register), ``weight_shift`` (from cell to cell), ``weight_swap`` (into use),
    ``output`` (into the buffer). Columns out of use stand still.
    """

    def __init__(self, rows: int, columns: int, pe: PassingPe):
        self.rows, self.columns, self.pe = rows, columns, pe
        operands, sums = (data.ArrayLayout(bits, columns) for bits in (pe.operand_bits, 32))
        triangle = columns * (columns - 1) // 2
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(rows, columns))),
                "activations": In(stream.Signature(data.ArrayLayout(pe.operand_bits, rows))),
                "weights": In(stream.Signature(operands)),
                "partial": In(stream.Signature(sums)),
                "results": Out(stream.Signature(sums)),
                "events": Out(
                    event_layout(
                        mac=rows * columns,
                        padding=rows * columns,
                        activation_load=rows,
                        activation_skew=pe.hop * (rows * (rows - 1) // 2),
                        weight_load=columns,
                        weight_skew=triangle,
                        weight_shift=rows * columns,
                        weight_swap=rows * columns,
                        partial_load=columns,
                        partial_skew=triangle + columns * (1 + pe.multiply_depth),
                        deskew=triangle,
                        output=columns,
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run = self._run(m)
        self._issue(m, run)
        self._move_weights(m, run)
        self._grid(m, run)
        self._output(m, run)
        return m

    def _run(self, m):
        """What is in use in the run that is open, and what the methods below drive."""
        return open_run(
            m,
            self.config,
            self.rows,
            self.columns,
            fire=Signal(name="fire"),  # a row of activations enters
            first=Signal(name="first"),  # it is the first of its tile
            last_of_run=Signal(name="last_of_run"),
            push=Signal(name="push"),  # weights move down by one row
            ready=Signal(name="weights_ready"),  # the next tile's weights are all in the second registers
            advance=Signal(name="advance"),
        )

    def _issue(self, m, run):
        """When a row of activations enters. Counters run down to zero; that they are there is a register, as everything waits."""
        new = self.config.payload
        steps, step, tile = Signal.like(new.steps), Signal.like(new.steps), Signal.like(new.segments)
        running, one_step, last, last_tile = Signal(), Signal(), Signal(), Signal()
        m.d.comb += run.last_of_run.eq(last & last_tile)
        with m.If(run.opens):
            m.d.sync += [
                running.eq(1),
                Cat(steps, step).eq(Cat(new.steps, new.steps)),
                tile.eq(new.segments),
                Cat(one_step, last).eq((new.steps == 0).replicate(2)),
                run.first.eq(1),
                last_tile.eq(new.segments == 0),
            ]
        with m.If(run.fire):
            m.d.sync += [step.eq(step - 1), last.eq(step == 1), run.first.eq(last)]
            with m.If(last):
                m.d.sync += [step.eq(steps), last.eq(one_step), tile.eq(tile - 1), last_tile.eq(tile == 1)]
            with m.If(run.last_of_run):
                m.d.sync += running.eq(0)
        run.activations = WordRegister(m, self.activations, self.rows, self.pe.operand_bits, "activation")
        run.partial = WordRegister(m, self.partial, self.columns, 32, "partial")
        use = {"used": run.fire, "last": run.last_of_run}
        m.d.comb += [
            self.events.activation_load.eq(run.activations.connect(wanted=running, lanes_used=run.rows, **use)),
            self.events.partial_load.eq(run.partial.connect(wanted=running & run.accumulate, lanes_used=run.columns, **use)),
            run.fire.eq(run.advance & run.activations.full & (run.partial.full | ~run.accumulate) & (run.ready | ~run.first)),
        ]

    def _move_weights(self, m, run):
        """When weights move down. They may as soon as the first row of activations has put those before them into use."""
        new = self.config.payload
        tile, last_tile, wanted = Signal.like(new.segments), Signal(), Signal()
        filled = Signal(self.rows)  # rows that hold weights of the tile that moves in
        complete, swap = Signal(), Signal()
        run.weights = WordRegister(m, self.weights, self.columns, self.pe.operand_bits, "weight")
        following = Cat(1, filled[:-1])
        m.d.comb += [
            complete.eq(following == run.rows),
            swap.eq(run.fire & run.first),
            run.push.eq(run.advance & run.weights.full & self._may_follow(m, run, swap)),
        ]
        with m.If(swap):
            m.d.sync += run.ready.eq(0)
        with m.If(run.push):
            m.d.sync += filled.eq(following)
            with m.If(complete):
                m.d.sync += [filled.eq(0), run.ready.eq(1), tile.eq(tile - 1), last_tile.eq(tile == 1)]
                with m.If(last_tile):
                    m.d.sync += wanted.eq(0)
        with m.If(run.opens):
            m.d.sync += [wanted.eq(1), tile.eq(new.segments), last_tile.eq(new.segments == 0)]
        loads = run.weights.connect(wanted=wanted, used=run.push, last=complete & last_tile, lanes_used=run.columns)
        m.d.comb += self.events.weight_load.eq(loads)
        run.loads = Cat(run.push, filled[:-1] & run.push.replicate(self.rows - 1))

    def _may_follow(self, m, run, swap):
        """Whether the second registers of the weights are free: the first activations reach a row only `hop` cycles after the row
        above, but weights fill one row per cycle, and must not overtake them."""
        if self.pe.hop == 1:
            return ~run.ready | swap
        slower = self.pe.hop - 1
        pause, left = Signal(range(self.rows * slower)), Signal(range(self.rows * slower))
        paused = Signal()
        with m.If(run.opens):
            m.d.sync += [pause.eq((self.config.payload.rows - 1) * slower), paused.eq(0)]
        with m.If(run.advance):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += paused.eq(0)
            with m.If(swap):
                m.d.sync += [left.eq(pause - 1), paused.eq(pause > 1)]
        return (~run.ready & ~paused) | (swap & (pause == 0))

    def _grid(self, m, run):
        """The skewed edges and the cells."""
        hop, depth = self.pe.hop, self.pe.multiply_depth
        run.below = hop * self.rows + 1 + depth  # stage of the token that is with the first column below the grid
        entering = Signal(TOKEN, name="token_0")
        m.d.comb += entering.eq(Cat(run.fire, run.first, run.last_of_run))
        run.tokens = tokens(m, entering, [Const(1)] * (run.below + self.columns), run.advance, name="token")
        run.moves = [token.step & run.advance for token in run.tokens]
        pushed = Signal(data.StructLayout({"step": 1}), name="pushed_0")
        m.d.comb += pushed.step.eq(run.push)
        pushes = [t.step & run.advance for t in tokens(m, pushed, run.columns, run.advance, name="pushed")]
        activations, events = skew(m, run.activations.lanes, run.rows, run.moves, hops=hop, name="activation")
        m.d.comb += self.events.activation_skew.eq(events)
        weights, events = skew(m, run.weights.lanes, run.columns, pushes, name="weight")
        m.d.comb += self.events.weight_skew.eq(events)
        accumulating = run.columns & run.accumulate.replicate(self.columns)
        partial, events = skew(m, run.partial.lanes, accumulating, run.moves, first=1 + depth, name="partial")
        m.d.comb += self.events.partial_skew.eq(events)
        above = [lane & run.accumulate.replicate(32) for lane in partial]
        cells = []
        for r in range(self.rows):
            control, activation = Signal(PASSING_CONTROL, name=f"control_{r}"), activations[r]
            token = run.tokens[r * hop]
            m.d.comb += control.eq(Cat(token.step, token.first, run.loads[r]))
            for c in range(self.columns):
                cell = WeightStationaryCell(self.pe)
                m.submodules[f"cell_{r}_{c}"] = cell
                m.d.comb += [
                    cell.advance.eq(run.advance),
                    cell.used.eq(run.columns[c]),
                    cell.row_used.eq(run.rows[r]),
                    cell.control.eq(control),
                    cell.activation.eq(activation),
                    cell.weight.eq(weights[c]),
                    cell.partial.eq(above[c]),
                ]
                control, activation, weights[c], above[c] = cell.control_right, cell.activation_right, cell.weight_below, cell.sum
                cells.append(cell)
        run.sums = above
        for event in ("mac", "padding", "weight_shift", "weight_swap"):
            m.d.comb += self.events[event].eq(count_ones(Cat(getattr(cell, event) for cell in cells)))

    def _output(self, m, run):
        """Shift registers that undo the skew of the columns, and the end of the run."""
        words = []
        for c, lane in enumerate(run.sums):
            for stage in range(c, self.columns - 1):
                register = Signal(32, name=f"deskew_{c}_{stage}", reset_less=True)
                load = run.moves[run.below + stage] & run.columns[c]
                with m.If(load):
                    m.d.sync += register.eq(lane)
                lane = register
            words.append(lane)
        stages = range(self.columns - 1)
        loads = [Mux(run.moves[run.below + stage], count_ones(run.columns[: stage + 1]), 0) for stage in stages]
        out = run.tokens[run.below + self.columns - 1]
        m.submodules.buffer = buffer = OutputBuffer(data.StructLayout({"ends": 1, "sums": self.results.payload.shape()}))
        leaves = out.step & buffer.room
        m.d.comb += [
            run.advance.eq(~out.step | buffer.room),
            buffer.push.eq(leaves),
            buffer.word.eq(Cat(out.ends, *words)),
        ]
        send_results(m, run, buffer, self.results)
        m.d.comb += [
            self.events.deskew.eq(sum(loads)),
            self.events.output.eq(Mux(leaves, count_ones(run.columns), 0)),
        ]
