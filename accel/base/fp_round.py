"""What all floating-point parts have in common: unpack, shift, normalise, round, pack; and registers between them.

Inside a part a number is (-1)^sign significand 2^exponent, the significand's highest bit weighing one. It may start with zeros:
those of a subnormal are removed once, after the operation, and only as far as the result is not itself subnormal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from workloads.formats import Format


def precision(fmt: Format) -> int:
    """Bits of a significand, the leading one included."""
    return fmt.fields.mantissa + 1


def lowest_exponent(fmt: Format) -> int:
    """The exponent of the smallest normal number and of all subnormals."""
    return 1 - fmt.fields.bias


@dataclass(frozen=True)
class Number:
    """A number inside a part; where ``nan`` or ``inf`` is set, the significand means nothing."""

    sign: Value
    exponent: Value
    """The exponent less ``offset``, which is known when the part is built, as are the ``lowest`` and ``highest`` exponents."""
    significand: Value
    inf: Value
    nan: Value
    offset: int
    lowest: int
    highest: int
    zero: Value | None = None


class Pipeline:
    """Cuts through a part, of which those in ``cuts`` hold registers that move while ``enable`` is 1."""

    def __init__(self, m: Module, enable: Value, cuts: tuple[str, ...]):
        self.m, self.enable, self.cuts = m, enable, cuts

    def __call__(self, cut: str, **values: Value) -> SimpleNamespace:
        """``values`` behind the cut ``cut``: everything that is used behind it must pass through it."""
        held = {name: Signal(Value.cast(v).shape(), name=f"{cut}_{name}", reset_less=True) for name, v in values.items()}
        moves = [signal.eq(values[name]) for name, signal in held.items()]
        if cut in self.cuts:
            with self.m.If(self.enable):
                self.m.d.sync += moves
        else:
            self.m.d.comb += moves
        return SimpleNamespace(**held)

    def number(self, cut: str, number: Number) -> Number:
        """``number`` behind the cut, without what only the operation itself asks for."""
        names = ("sign", "exponent", "significand", "inf", "nan")
        return replace(number, zero=None, **vars(self(cut, **{name: getattr(number, name) for name in names})))


def wire(m: Module, value: Value, name: str) -> Signal:
    """``value`` as a signal. An expression that is used more than once must be one, else Amaranth writes it out every time."""
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal


def unpack(m: Module, bits: Value, fmt: Format) -> Number:
    """The number that ``bits`` are in ``fmt``."""
    fields = fmt.fields
    mantissa, exponent = bits[: fields.mantissa], bits[fields.mantissa : -1]
    normal, fraction, top = (
        wire(m, value, name)
        for value, name in ((exponent.any(), "normal"), (mantissa.any(), "fraction"), (exponent.all(), "top"))
    )
    return Number(
        sign=bits[-1],
        exponent=Cat(exponent[0] | ~normal, exponent[1:]),
        significand=Cat(mantissa, normal),
        inf=top & ~fraction if fields.infinities else Const(0, 1),
        nan=top & fraction if fields.infinities else top & mantissa.all(),
        zero=~(normal | fraction),
        offset=-fields.bias,
        lowest=1 - fields.bias,
        highest=(fields.highest >> fields.mantissa) - fields.bias,
    )


def shift_right(m: Module, word: Value, amount: Value) -> Value:
    """``word`` shifted right, and below its lowest bit one more that says whether a one has left it (the sticky bit)."""
    steps = len(word).bit_length()
    beyond = wire(m, amount[steps:].any(), "beyond") if len(amount) > steps else Const(0, 1)
    sticky = []
    for step in reversed(range(min(steps, len(amount)))):
        move, by = wire(m, amount[step] | beyond, "move"), min(1 << step, len(word))
        sticky.append(move & word[:by].any())
        word = wire(m, Mux(move, Cat(word[by:], Const(0, by)), word), "right")
    return Cat(Cat(*sticky).any(), word)


def shift_left(m: Module, word: Value, most: int, limit: Value | None = None) -> tuple[Value, Value]:
    """``word`` without its leading zeros, as far as they are not more than ``most`` or ``limit``, and how many have gone."""
    steps = most.bit_length()
    top = word[::-1][: most + 1]  # the highest bit first
    if limit is not None:  # a one where the limit is, so that counting ends there
        top = top | (Const(1, most + 1) << limit[:steps])[: most + 1] & ~limit[steps:].any().replicate(most + 1)
    count = leading_zeros(m, top, steps)
    for step in reversed(range(steps)):
        by = min(1 << step, len(word))
        word = wire(m, Mux(count[step], Cat(Const(0, by), word[:-by]), word), "left")
    return word, count


def leading_zeros(m: Module, bits: Value, steps: int) -> Value:
    """How many of ``bits``, lowest first, are zero before the first one; less than 2^``steps``.

    A tree: of two neighbours the first one counts, unless it is all zeros; then it is the second one's count, and the size more.
    """
    clear = wire(m, Cat(~bits, Const(0, (1 << steps) - len(bits))), "clear")
    count: list[Value] = []
    for _ in range(steps):
        first = wire(m, clear[::2], "first")
        count = [wire(m, first & bit[1::2] | ~first & bit[::2], "count") for bit in count] + [first]
        clear = wire(m, first & clear[1::2], "clear")
    return Cat(*count)


def increment(m: Module, word: Value, by: Value) -> Value:
    """``word`` + ``by``, which is one bit: where all bits below are ones, found in a tree, the carry turns a bit around."""
    ones = word
    step = 1
    while step < len(word):
        ones = wire(m, Cat(ones[:step], ones[step:] & ones[:-step]), "ones")
        step *= 2
    return word ^ (Cat(Const(1, 1), ones[:-1]) & by.replicate(len(word)))


def leading_one(m: Module, number: Number) -> Number:
    """``number`` without leading zeros, unless it is zero."""
    most = len(number.significand) - 1
    significand, count = shift_left(m, number.significand, most)
    exponent = wire(m, number.exponent - count, "exponent")
    return replace(number, significand=significand, exponent=exponent, lowest=number.lowest - most)


def finish(m: Module, pipe: Pipeline, number: Number, fmt: Format, *, zeros: int) -> Value:
    """The bits of ``number`` in ``fmt``, rounded; it starts with at most ``zeros`` zeros that may have to go.

    Behind the cut ``normal`` it is only rounded: the carry runs on into the exponent, and that of the highest gives infinity.
    """
    bits, lowest = precision(fmt), lowest_exponent(fmt)
    room = Signal(range(min(0, number.lowest - lowest), max(1, number.highest - lowest) + 1), name="room")
    m.d.comb += room.eq(number.exponent + (number.offset - lowest))  # how far the exponent may fall until it is the lowest
    word, limit = number.significand, room
    if len(word) < bits + 1:
        word = Cat(Const(0, bits + 1 - len(word)), word)
    if room.shape().signed:
        limit = wire(m, room[:-1] & ~room[-1].replicate(len(room) - 1), "limit")
    field = limit + 1
    if zeros:
        word, count = shift_left(m, word, zeros, limit)
        field = field - count
    sticky = word[: -bits - 1].any()
    word = word[-bits - 1 :]
    if room.shape().signed:
        deficit = Mux(room[-1], -room, 0)[: (lowest - number.lowest).bit_length()]
        shifted = shift_right(m, word, deficit)
        sticky, word = sticky | shifted[0], shifted[1:]
    width = max(1, number.highest - lowest + 1).bit_length()
    normal = pipe(
        "normal",
        significand=word,  # its lowest bit is the one below the result's
        sticky=sticky,
        field=field[:width] & word[-1].replicate(width),  # without a leading one it is subnormal, or zero
        sign=number.sign,
        inf=number.inf,
        nan=number.nan,
    )
    up = normal.significand[0] & (normal.sticky | normal.significand[1])
    fields = fmt.fields
    below = wire(m, Cat(normal.significand[1:-1], normal.field, Const(0, max(0, fields.exponent - width))), "below")
    over = (below > fields.highest) | ((below == fields.highest) & up)  # known sooner than the sum
    rounded = increment(m, below, up)[: fmt.bits - 1]
    # What is too large becomes infinity, whose pattern follows that of the highest number.
    beyond = fields.highest + 1 if fields.infinities else fields.highest
    magnitude = Mux(normal.nan, fields.nan, Mux(normal.inf | over, beyond, rounded))
    return Cat(magnitude[: fmt.bits - 1], normal.sign & ~normal.nan)
