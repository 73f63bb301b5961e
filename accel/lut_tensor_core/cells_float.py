"""The cells of the LUT tensor core for FP16 activations: one floating-point adder each, in the accumulator's format.

FP16 tables (`HalfTableCells`): the table registers hold the accumulator's format (an FP16 entry is exact in FP32) and double from
plane to plane, as numbers. Stage 2 looks up and flips the sign bit; stage 3 adds. So every plane is a floating-point addition.

INT8 tables (`CodeTableCells`): stage 2 adds the planes of a group as integers. Stage 3 makes a floating-point number of a group's
sum and the table's exponent, stage 4 adds it. So every group is a floating-point addition, and there is no multiplier.

The sum of a row's activations is added in the cycle in which the group's last plane is added to the accumulators.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from accel.base.fp import Add, Convert
from accel.base.fp_round import Number, Pipeline
from accel.base.fp_round import finish as rounded
from accel.base.half_table import CODE_BITS, NOT_FINITE, entries
from accel.lut_tensor_core.stages import Plane, follow
from accel.lut_tensor_core.timing import finish
from workloads.formats import FORMATS, Format

FP16 = FORMATS["fp16"]
EXPONENT_BITS = FP16.fields.exponent


class _FloatCells:
    """Accumulators of one floating-point adder each; ``high_row`` says which rows write theirs in this cycle."""

    def __init__(self, m: Module, unit, plane: Plane):
        self.m, self.unit, self.plane = m, unit, plane
        self.format: Format = FORMATS[unit.accumulator]
        self.depth = finish(unit.table)
        self.ends_row = Signal(unit.rows, name="ends_row")  # the last plane of a group fires
        m.d.comb += self.ends_row.eq(Mux(plane.fire & plane.last_plane, plane.row_used, 0))
        self.group_row = Signal(unit.rows, name="group_row")
        self.group_ahead = follow(m, self.group_row, self.ends_row, self.depth)

    def _accumulate(self, name: str, enable: Value, addend: Value) -> Value:
        """An accumulator that adds ``addend`` while ``enable``. Returns the sum.

        After a segment it is back at +0, as it was after reset: clearing it in front of the adder would put the wires of that
        decision to all cells on the longest path.
        """
        accumulator = Signal(self.format.bits, name=name)
        self.m.submodules[f"add_{name}"] = adder = Add(self.format)
        self.m.d.comb += [adder.a.eq(accumulator), adder.b.eq(addend)]
        with self.m.If(enable):
            self.m.d.sync += accumulator.eq(Mux(self.plane.last_high, 0, adder.result))
        return adder.result


class HalfTableCells(_FloatCells):
    """FP16 tables: what is looked up is added, plane by plane."""

    def __init__(self, m: Module, unit, plane: Plane):
        super().__init__(m, unit, plane)
        self.high_row = Signal(unit.rows, name="high_row")
        follow(m, self.high_row, plane.fire_row, self.depth)

    @property
    def _spare(self) -> int:
        """Low bits of the accumulator's format in which an FP16 number, and its doubles, are zero."""
        return self.format.fields.mantissa - FP16.fields.mantissa

    def table(self, r: int, payload, load: Value, shift: Value) -> list[Signal]:
        """Table registers of row ``r``: converted for plane 0, doubled for each further plane."""
        m, table = self.m, []
        for i in range(entries(self.unit.group)):
            entry = Signal(self.format.bits - self._spare, name=f"table_{r}_{i}", reset_less=True)
            loaded = payload[i]
            if self._spare:
                m.submodules[f"convert_{r}_{i}"] = convert = Convert(FP16, self.format)
                m.d.comb += convert.a.eq(loaded)
                loaded = convert.result[self._spare :]
            with m.If(load):
                m.d.sync += entry.eq(loaded)
            with m.Elif(shift):
                m.d.sync += entry.eq(_doubled(entry, FP16.fields.mantissa))
            table.append(entry)
        return table

    def total(self, r: int, table: list[Signal]) -> Value:
        """The sum of the activations of row ``r``, as the drain buffer takes it."""
        addend = self._addend(f"sum_addend_{r}", self.plane.sum_row[r], table[0])
        return self._accumulate(f"sum_{r}", self.group_row[r], addend)

    def cell(self, r: int, c: int, fire: Value, high: Value, entry: Value, negate: Value) -> Value:
        """The accumulator of row ``r`` and column ``c``, as the drain buffer takes it."""
        found = Signal(self.format.bits - self._spare, name=f"found_{r}_{c}")
        self.m.d.comb += found.eq(entry)
        addend = self._addend(f"addend_{r}_{c}", fire, Cat(found[:-1], found[-1] ^ negate))
        return self._accumulate(f"accumulator_{r}_{c}", high, addend)

    def _addend(self, name: str, enable: Value, value: Value) -> Value:
        """``value`` of stage 2 in stage 3, in the accumulator's format."""
        addend = Signal(self.format.bits - self._spare, name=name, reset_less=True)
        with self.m.If(enable):
            self.m.d.sync += addend.eq(value)
        return Cat(Const(0, self._spare), addend)


class CodeTableCells(_FloatCells):
    """INT8 tables: the planes of a group are added as integers, the groups as floating-point numbers."""

    def __init__(self, m: Module, unit, plane: Plane):
        super().__init__(m, unit, plane)
        self.high_row = self.group_row
        rows = range(unit.rows)
        self.exponent = [Signal(EXPONENT_BITS, name=f"exponent_{r}", reset_less=True) for r in rows]
        self.group_exponent = [Signal(EXPONENT_BITS, name=f"group_exponent_{r}", reset_less=True) for r in rows]

    @property
    def _entry_bits(self) -> int:
        """Bits of a table register: a code times 2^(W - 1)."""
        return CODE_BITS + self.unit.weight_bits - 1

    def table(self, r: int, payload, load: Value, shift: Value) -> list[Signal]:
        """Table registers of row ``r``: loaded for plane 0, doubled for each further plane; the exponent stays."""
        m, count = self.m, entries(self.unit.group)
        table = [Signal(signed(self._entry_bits), name=f"table_{r}_{i}", reset_less=True) for i in range(count)]
        for i, entry in enumerate(table):
            with m.If(load):
                m.d.sync += entry.eq(payload[i].as_signed())
            with m.Elif(shift):
                m.d.sync += entry.eq(entry << 1)
        with m.If(load):
            m.d.sync += self.exponent[r].eq(payload[count])
        with m.If(self.ends_row[r]):
            m.d.sync += self.group_exponent[r].eq(self.exponent[r])  # the next table may be loaded in this cycle
        return table

    def total(self, r: int, table: list[Signal]) -> Value:
        """The sum of the activations of row ``r``, as the drain buffer takes it."""
        code = Signal(signed(CODE_BITS), name=f"sum_code_{r}", reset_less=True)
        with self.m.If(self.plane.sum_row[r]):
            self.m.d.sync += code.eq(table[0])
        addend = self._scaled(f"sum_addend_{r}", r, self.group_ahead[r], code)
        return self._accumulate(f"sum_{r}", self.group_row[r], addend)

    def cell(self, r: int, c: int, fire: Value, high: Value, entry: Value, negate: Value) -> Value:
        """The accumulator of row ``r`` and column ``c``, as the drain buffer takes it."""
        m, name = self.m, f"{r}_{c}"
        partial = Signal(signed(self._entry_bits + 1), name=f"partial_{name}", reset_less=True)
        added = Signal(signed(self._entry_bits), name=f"added_{name}")
        m.d.comb += added.eq(entry ^ negate.replicate(self._entry_bits))
        with m.If(fire):  # partial + entry, or partial - entry: the carry-in completes the two's complement
            before = Cat(1, Mux(self.plane.first_plane, 0, partial)).as_signed()
            m.d.sync += partial.eq((before + Cat(negate, added).as_signed()) >> 1)
        addend = self._scaled(f"addend_{name}", r, self.group_ahead[r], partial)
        return self._accumulate(f"accumulator_{name}", high, addend)

    def _scaled(self, name: str, r: int, enable: Value, value: Signal) -> Value:
        """Stage 3: value 2^(e - 21) of the group that has ended in row ``r``, rounded to the accumulator's format."""
        exponent, m = self.group_exponent[r], self.m
        width = len(value) - 1  # |value| needs no more: codes lie in -127 .. 127
        magnitude = Signal(width, name=f"{name}_magnitude")
        m.d.comb += magnitude.eq(Mux(value[-1], -value, value))
        offset = width - 1 - (FP16.fields.bias + 6)  # the highest bit of the magnitude weighs 2^(exponent + offset)
        number = Number(
            sign=value[-1],
            exponent=exponent,
            significand=magnitude,
            inf=Const(0, 1),
            nan=exponent == NOT_FINITE,
            offset=offset,
            lowest=1 + offset,
            highest=NOT_FINITE - 1 + offset,
        )
        bits = rounded(m, Pipeline(m, Const(0, 1), ()), number, self.format, zeros=width - 1)
        addend = Signal(self.format.bits, name=name, reset_less=True)
        with m.If(enable):
            m.d.sync += addend.eq(bits)
        return addend


def _doubled(entry: Signal, mantissa: int) -> Value:
    """Twice the number in ``entry``: a subnormal shifts into the exponent field, what has the highest exponent becomes infinite,
    zeros, infinities and NaNs stay."""
    field, sign = entry[mantissa:-1], entry[-1]
    top = (1 << len(field)) - 1
    raised = Cat(entry[:mantissa] & ~(field == top - 1).replicate(mantissa), (field + 1)[: len(field)])
    magnitude = Mux(field == 0, Cat(0, entry[:-2]), Mux(field == top, entry[:-1], raised))
    return Cat(magnitude, sign)
