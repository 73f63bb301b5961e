"""The cells of the LUT tensor core for INT8 activations: exact entries (or rounded ones), INT32 accumulators of two halves.

Stage 2 adds to or subtracts from the low bits of an accumulator, as many as an entry has. Stage 3 steps its high bits up or down
by the carry, so that no carry crosses INT32 in one cycle.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from accel.base.half_table import entries
from accel.lut_tensor_core.stages import Plane, follow
from accel.lut_tensor_core.timing import INTEGER_BITS, finish


class IntegerCells:
    """Tables, sums and accumulators; ``high_row`` says which rows write an accumulator's last bits in this cycle."""

    def __init__(self, m: Module, unit, plane: Plane):
        self.m, self.unit, self.plane = m, unit, plane
        self.high_row, self.first_high = (Signal(width) for width in (unit.rows, 1))
        follow(m, self.high_row, plane.fire_row, finish(unit.table))
        follow(m, self.first_high, plane.first, finish(unit.table))

    @property
    def _low_bits(self) -> int:
        """Bits of a table register but for its sign: what stage 2 adds."""
        return self.unit.entry_bits + self.unit.weight_bits - 2

    def table(self, r: int, payload, load: Value, shift: Value) -> list[Signal]:
        """Table registers of row ``r``: loaded for plane 0, doubled for each further plane."""
        table = [
            Signal(signed(self._low_bits + 1), name=f"table_{r}_{i}", reset_less=True) for i in range(entries(self.unit.group))
        ]
        for i, entry in enumerate(table):
            with self.m.If(load):
                self.m.d.sync += entry.eq(payload[i].as_signed())
            with self.m.Elif(shift):
                self.m.d.sync += entry.eq(entry << 1)
        return table

    def total(self, r: int, table: list[Signal]) -> Value:
        """The sum of the activations of row ``r``, as the drain buffer takes it."""
        total = Signal(INTEGER_BITS, name=f"sum_{r}", reset_less=True)
        with self.m.If(self.plane.sum_row[r]):
            self.m.d.sync += total.eq(Mux(self.plane.first_group, 0, total) + table[0])
        return total

    def cell(self, r: int, c: int, fire: Value, high: Value, entry: Value, negate: Value) -> Value:
        """The accumulator of row ``r`` and column ``c``, as the drain buffer takes it."""
        low = self._low_half(f"{r}_{c}", fire, entry, negate)
        following = self._high_half(f"{r}_{c}", high, low)
        return Cat(low[: self._low_bits], following)

    def _low_half(self, name: str, enable: Value, entry: Value, negate: Value) -> Signal:
        """Stage 2 of one cell: low + entry or low - entry by one adder, whose carry-in completes the two's complement.

        Returns a register: the sum, its carry, and the sign of what was added. high + carry - sign is left to stage 3.
        """
        low = Signal(self._low_bits + 2, name=f"low_{name}", reset_less=True)
        added = Signal(self._low_bits + 1, name=f"added_{name}")
        self.m.d.comb += added.eq(entry ^ negate.replicate(len(added)))
        with self.m.If(enable):
            following = Cat(1, Mux(self.plane.first, 0, low[: self._low_bits])) + Cat(negate, added[:-1])
            self.m.d.sync += low.eq(Cat(following[1:], added[-1]))
        return low

    def _high_half(self, name: str, enable: Value, low: Signal) -> Signal:
        """Stage 3 of one cell: the high bits step up, down or not at all. Returns what the register will hold."""
        high = Signal(INTEGER_BITS - self._low_bits, name=f"high_{name}", reset_less=True)
        following = Signal.like(high, name=f"high_following_{name}")
        carry, sign = low[-2], low[-1]
        step = Cat(carry ^ sign, sign & ~carry).as_signed()  # carry - sign
        self.m.d.comb += following.eq(Mux(self.first_high, 0, high) + step)
        with self.m.If(enable):
            self.m.d.sync += high.eq(following)
        return following
