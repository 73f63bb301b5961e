"""The engine in Amaranth: one sequence of phases over lanes, filters, a dot product, argtopk and a scalar pipe.

    query, argtopk of channels, |q|_1, 1 / tau                                     sparse attention alone, up to alpha
    directives of channel pages; these pages, into approximate scores
    argtopk of tokens, softmax of all scores, alpha
    directives of token pages; pages of keys, into scores of what is selected, side by side
    softmax of these; pages of values, into sums; the output

A page comes on the stream of its flash channel when its turn has come: pages are taken in order, so that sums have one order.
"""

from __future__ import annotations

import math
import struct

from amaranth.hdl import Array, C, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add, Convert, Multiply
from accel.base.streams import event_layout
from accel.vector_unit.special import Function
from pim.pim_bank.dot_product import DotProduct
from pim.storage_attention.lane import Lane
from pim.storage_attention.page_filter import PageFilter
from pim.storage_attention.pages import MAGNITUDE, PageLayout
from pim.storage_attention.rank import Rank, number, ordered
from pim.storage_attention.scalar_pipe import ScalarPipe
from pim.storage_attention.timing import (
    DOT,
    GAIN_STEPS,
    KERNEL,
    OUTPUT_ADD,
    OUTPUT_MULTIPLY,
    SCALAR,
    SHARE_STEPS,
    TEMPERATURE_STEPS,
)
from workloads.formats import FORMATS

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
RUN_BITS = 32
ONE_HALF, ONE = 0x3C00, 0x3F800000
"""1 in FP16 and in FP32."""
EVENTS = (
    "query_word",
    "rank_word",
    "norm_word",
    "channel_page_read",
    "channel_page_skipped",
    "key_page_read",
    "value_page_read",
    "token_page_skipped",
    "word_dropped",
    "channel_word",
    "key_word",
    "value_word",
    "exponential",
    "output",
)
assert DOT.accumulate == 2  # a word, and a cycle for the command that reads a sum


def bits32(value: float) -> Const:
    """``value`` rounded to FP32."""
    return C(int.from_bytes(struct.pack("<f", value), "little"), 32)


def config_layout(head_dim: int, max_tokens: int) -> data.StructLayout:
    """A run: its invocations less one, the last token, the first recent one, how many are selected, and whether all are."""
    return data.StructLayout(
        {
            "invocations": RUN_BITS,
            "last_token": range(max_tokens),
            "recent": range(max_tokens + 1),
            "channels": range(head_dim + 1),
            "selected": range(max_tokens + 1),
            "dense": 1,
        }
    )


def log2(size: int) -> int:
    return size.bit_length() - 1


class EngineRtl(wiring.Component):
    """The streams of `pim.storage_attention`."""

    def __init__(self, layout: PageLayout, lanes: int, flash_channels: int, max_tokens: int):
        self.layout, self.lanes, self.flash_channels, self.max_tokens = layout, lanes, flash_channels, max_tokens
        self.vector_words = layout.head_dim // lanes
        self.score_words = max_tokens // lanes
        word = stream.Signature(data.ArrayLayout(16, lanes))
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(layout.head_dim, max_tokens))),
                "query": In(word),
                "mean": In(stream.Signature(16)),
                **{f"pages_{i}": In(word) for i in range(flash_channels)},
                "directives": Out(stream.Signature(1)),
                "out": Out(stream.Signature(16)),
                "events": Out(event_layout(**dict.fromkeys(EVENTS, 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._registers()
        self._parts(m)
        self._marks(m)
        self._pages(m)
        self._kernel(m)
        self._dot_product(m)
        self._scalars(m)
        self._output(m)
        self._phases(m)
        self._events(m)
        return m

    def _registers(self):
        tokens, layout = self.max_tokens, self.layout
        self.left, self.dense = Signal(RUN_BITS), Signal()
        self.last_token, self.recent = Signal(range(tokens)), Signal(range(tokens + 1))
        self.channels, self.selected = Signal(range(layout.head_dim + 1)), Signal(range(tokens + 1))
        most = max(tokens + 1, layout.head_dim + 1, DOT.stages(self.lanes), KERNEL)
        self.n, self.count = Signal(range(most)), Signal(range(most))  # what is sent on its way, and what has come of it
        self.group, self.range = Signal(range(layout.groups)), Signal(range(max(tokens // layout.range_tokens, 2)))
        self.page, self.turn = Signal(range(max(tokens // layout.page_tokens, 2))), Signal(range(self.flash_channels))
        self.phase = {name: Signal(name=f"in_{name}") for name in PHASES}
        self.to_values = Signal()  # the kernel adds to sums of values
        self.fresh = Signal()  # nothing has been added to this range, or to the sums
        self.soon = Signal()  # the dot product takes no word in this cycle
        self.highest = Signal(32)  # a key
        self.q1, self.qi1, self.factor, self.alpha, self.rest, self.gain = (
            Signal(32, name=name) for name in ("q1", "qi1", "factor", "alpha", "rest", "gain")
        )
        self.total, self.share = Signal(32), Signal(32)
        self.go = Signal(init=1)

    def _parts(self, m):
        self.lane = [Lane(self.score_words, self.vector_words) for _ in range(self.lanes)]
        for i, lane in enumerate(self.lane):
            m.submodules[f"lane_{i}"] = lane
        m.submodules.rank = self.rank = Rank(self.lanes, max(self.score_words, self.vector_words))
        m.submodules.dot_product = self.dot = DotProduct(FP16, self.lanes)
        m.submodules.scalars = self.pipe = ScalarPipe()
        m.submodules.query = queries = Memory(shape=16 * self.lanes, depth=self.vector_words, init=[])
        self.query_word, write = queries.read_port(domain="comb"), queries.write_port()
        m.d.comb += [
            write.en.eq(self.query.valid & self.query.ready),
            write.addr.eq(self.n),
            write.data.eq(self.query.payload),
        ]
        self.query_elements = [self.query_word.data[16 * i : 16 * (i + 1)] for i in range(self.lanes)]

    def _marks(self, m):
        """argtopk, and what it marks: channels in registers, tokens in a memory of a word per page."""
        rank, shift, phase, layout = self.rank, log2(self.lanes), self.phase, self.layout
        tokens = Signal(name="ranks_tokens")  # in the next argtopk
        with m.If(self.config.valid & self.config.ready):
            m.d.sync += tokens.eq(0)
        with m.If(rank.done):
            m.d.sync += tokens.eq(~tokens)
        m.d.comb += [
            rank.run.eq(phase["rank_channels"] | phase["rank_tokens"]),
            rank.tokens.eq(tokens),
            rank.count.eq(Mux(tokens, self.selected, self.channels)),
            rank.last_word.eq(Mux(tokens, self.last_token[shift:], self.vector_words - 1)),
            rank.last_lane.eq(Mux(tokens, self.last_token[:shift], self.lanes - 1)),
            rank.recent.eq(self.recent),
        ]
        for i, lane in enumerate(self.lane):
            m.d.comb += rank.numbers[i].eq(Mux(tokens, lane.score, self.query_elements[i] & MAGNITUDE))
        marked = [Signal(self.lanes, name=f"channels_{w}") for w in range(self.vector_words)]
        for w, word in enumerate(marked):
            with m.If(rank.mark & ~tokens & (rank.mark_address == w)):
                m.d.sync += word.eq(rank.marks)
        self.marked, every, size = Array(marked), Cat(*marked), layout.page_channels
        self.group_mask = Array(every[size * g : size * (g + 1)] for g in range(layout.groups))[self.group]

        parts = layout.page_tokens // self.lanes
        pages = self.max_tokens // layout.page_tokens
        m.submodules.marks = marks = Memory(shape=layout.page_tokens, depth=pages, init=[])
        write, found = marks.write_port(granularity=self.lanes), marks.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(rank.mark_address[log2(parts) :]),
            write.data.eq(rank.marks.replicate(parts)),
            found.addr.eq(Mux(phase["alpha"], self.count[log2(layout.page_tokens) :], self.page)),
        ]
        for i in range(parts):
            m.d.comb += write.en[i].eq(rank.mark & tokens & ((rank.mark_address & (parts - 1)) == i))
        self.is_selected = found.data.bit_select(self.count[: log2(layout.page_tokens)], 1)
        last_row = self.last_token[: log2(layout.page_tokens)]
        self.last_page = self.page == self.last_token[log2(layout.page_tokens) :]
        self.token_mask = Signal(layout.page_tokens)
        for i in range(layout.page_tokens):
            m.d.comb += self.token_mask[i].eq((self.dense | found.data[i]) & (~self.last_page | (i <= last_row)))
        last_range = self.range == self.last_token[log2(layout.range_tokens) :]
        self.last_channel_page = last_range & (self.group == layout.groups - 1)
        self.last_index = Mux(
            last_range, self.last_token[shift : log2(layout.range_tokens)], layout.range_tokens // self.lanes - 1
        )

    def _pages(self, m):
        """A filter per flash channel; the words of the one whose turn it is."""
        layout, phase = self.layout, self.phase
        words = layout.page_bytes // (2 * self.lanes)
        filters = []
        self.load, by_channel = Signal(name="load_page"), phase["look_channels"]
        for i in range(self.flash_channels):
            page = PageFilter(words, 16 * self.lanes, layout.page_tokens, layout.page_channels)
            m.submodules[f"filter_{i}"] = page
            source = getattr(self, f"pages_{i}")
            m.d.comb += [
                page.page.valid.eq(source.valid),
                page.page.payload.eq(source.payload),
                source.ready.eq(page.page.ready),
                page.load.eq(self.load & (self.turn == i)),
                page.mask.eq(Mux(by_channel, self.group_mask, self.token_mask)),
                page.limit.eq(Mux(by_channel, self.last_index, words - 1)),
                page.by_channel.eq(by_channel),
                page.room.eq(~self.soon | ~phase["stream_keys"]),
            ]
            filters.append(page)
        names = ("take", "keep", "chosen", "row", "index", "row_ends", "ends")
        for name in names:
            port = Signal.like(getattr(filters[0], name), name=f"page_{name}")
            m.d.comb += port.eq(Array(getattr(each, name) for each in filters)[self.turn])
            setattr(self, f"page_{name}", port)
        self.page_word = Signal(16 * self.lanes)
        m.d.comb += self.page_word.eq(Array(each.page.payload for each in filters)[self.turn])
        self.kept = Signal()
        m.d.comb += self.kept.eq(self.page_take & self.page_keep)
        with m.If(phase["look_channels"] & (self.group == 0) | phase["gain"]):
            m.d.sync += self.fresh.eq(1)
        with m.If(self.page_take & self.page_chosen & self.page_row_ends):
            m.d.sync += self.fresh.eq(0)

    def _kernel(self, m):
        """The value-type GEMV: a word of a page, and the scalar that it is multiplied by, through the lanes."""
        layout, phase, shift = self.layout, self.phase, log2(self.lanes)
        to_scores = phase["look_channels"] | phase["stream_channels"] | phase["drain_channels"]
        enters = Signal()
        m.d.comb += [
            self.to_values.eq(phase["look_values"] | phase["stream_values"] | phase["drain_values"]),
            enters.eq(self.kept & (phase["stream_channels"] | phase["stream_values"])),
        ]
        self.enters = enters
        channel = Cat(self.page_row[: log2(layout.page_channels)], self.group)
        range_index = Cat(self.page_index[: log2(layout.range_tokens // self.lanes)], self.range)
        address = Mux(self.to_values, self.page_index, range_index)
        valid, word = Signal(5, name="kernel_valid"), Signal(data.ArrayLayout(16, self.lanes), reset_less=True)
        fresh = [Signal(name=f"fresh_{i}", reset_less=True) for i in range(1, 4)]
        addresses = [Signal(range(max(self.score_words, self.vector_words)), name=f"address_{i}") for i in range(1, 6)]
        m.d.sync += valid.eq(Cat(enters, valid))
        for row, first in ((fresh, self.fresh), (addresses, address)):
            for register, source in zip(row, [first, *row], strict=False):
                m.d.sync += register.eq(source)
        with m.If(enters):
            m.d.sync += word.eq(self.page_word)

        # One memory word is looked at in a cycle: of the query, and of scores or sums.
        scan = Signal(data.ArrayLayout(32, self.lanes), reset_less=True)
        query = Signal(data.ArrayLayout(16, self.lanes), reset_less=True)
        position, output = Signal.like(self.n), phase["output"]
        m.d.comb += position.eq(Mux(phase["stream_values"], self.count, self.n))
        self.scan_lane = Signal(shift, reset_less=True)
        with m.If(self.go):
            with m.If(phase["alpha"] | phase["softmax"] | output | (phase["stream_values"] & enters)):
                m.d.sync += scan.eq(Cat(Mux(output, lane.sum, lane.score) for lane in self.lane))
            m.d.sync += self.scan_lane.eq(Mux(phase["stream_channels"], channel[:shift], position[:shift]))
        with m.If(enters & phase["stream_channels"]):
            m.d.sync += query.eq(self.query_word.data)
        self.scanned = Signal(32)
        m.d.comb += self.scanned.eq(scan[self.scan_lane])
        scalar = Signal(16)
        m.d.comb += scalar.eq(Mux(self.to_values, self.scanned[:16], query[self.scan_lane]))
        m.d.comb += self.query_word.addr.eq(
            Mux(
                phase["stream_channels"],
                channel[shift:],
                Mux(phase["stream_keys"], self.page_index, Mux(phase["norm"], self.n, self.rank.address)),
            )
        )
        score_address = Mux(to_scores, addresses[2], Mux(phase["rank_tokens"], self.rank.address, position[shift:]))
        put = Signal(self.lanes)
        self.put, self.put_word = Signal(), Signal(32)
        m.d.comb += put.eq(self.put << self.count[:shift])
        for i, lane in enumerate(self.lane):
            m.d.comb += [
                lane.load.eq(valid[0]),
                lane.element.eq(word[i]),
                lane.scalar.eq(scalar),
                lane.add.eq(valid[2]),
                lane.fresh.eq(fresh[2]),
                lane.store.eq(valid[4]),
                lane.values.eq(self.to_values),
                lane.store_address.eq(addresses[4]),
                lane.score_address.eq(score_address),
                lane.sum_address.eq(Mux(output, position[shift:], addresses[2])),
                lane.put.eq(put[i]),
                lane.put_address.eq(self.count[shift:]),
                lane.put_word.eq(self.put_word),
            ]

    def _dot_product(self, m):
        """The dot-type GEMV: words of keys by the query; and before, the magnitudes of the query by ones."""
        phase, dot = self.phase, self.dot
        self.norm_part = Signal()  # the selected channels alone
        last = Signal(name="last_of_dot")
        norm = phase["norm"] & ~self.soon & (self.n < self.vector_words)
        read, first = Signal(name="read_dot"), Signal(name="first_of_dot", init=1)
        self.norm_word, self.key_word = Signal(), Signal()
        m.d.comb += [
            self.norm_word.eq(norm),
            self.key_word.eq(self.kept & phase["stream_keys"]),
            last.eq(Mux(phase["norm"], self.n == self.vector_words - 1, self.page_row_ends)),
            dot.advance.eq(1),
            dot.comp.eq(self.norm_word | self.key_word),
            dot.first.eq(first),
            dot.read.eq(read),
            dot.lanes.eq(self.lanes),
        ]
        m.d.sync += [self.soon.eq(dot.comp), read.eq(dot.comp & last)]
        with m.If(dot.comp):
            m.d.sync += first.eq(last)
        mask = self.marked[self.n[: max(log2(self.vector_words), 1)]] | (~self.norm_part).replicate(self.lanes)
        page = data.ArrayLayout(16, self.lanes)(self.page_word)
        for i in range(self.lanes):
            magnitude = Mux(mask[i], self.query_elements[i] & MAGNITUDE, 0)
            m.d.comb += [
                dot.row[i].eq(Mux(phase["norm"], magnitude, page[i])),
                dot.vector[i].eq(Mux(phase["norm"], ONE_HALF, self.query_elements[i])),
            ]

    def _scalars(self, m):
        """The softmaxes, and the scalars around them: what enters the scalar pipe, and what becomes of its results."""
        phase, pipe = self.phase, self.pipe
        self.sent = Signal()  # an element has been looked at, and enters the pipe now
        self.step, self.issued = Signal(range(4)), Signal()
        x, minus_highest = Signal(32), Signal(32)
        steps = phase["temperature"] | phase["share"] | phase["gain"]
        softmax = phase["alpha"] | phase["softmax"]
        m.d.comb += [
            minus_highest.eq(number(self.highest) ^ (1 << 31)),
            pipe.go.eq(self.go),
            pipe.valid.eq(self.sent | (steps & ~self.issued)),
            pipe.a.eq(self.scanned),
            pipe.n.eq(Mux(softmax, minus_highest, 0)),
        ]
        with m.If(softmax):
            m.d.comb += [pipe.function.eq(Function.EXPONENTIAL), pipe.b.eq(Mux(phase["alpha"], self.factor, self.scale))]
        with m.Elif(phase["output"]):
            m.d.comb += pipe.b.eq(self.gain)
        with m.Else():
            self._step_operands(m, x)
        with m.If(steps & ~self.issued):
            m.d.sync += self.issued.eq(1)
        self.stepped = Signal()  # a step is over
        m.d.comb += self.stepped.eq(steps & pipe.done)
        with m.If(self.stepped):
            m.d.sync += [x.eq(pipe.y), self.issued.eq(0), self.step.eq(self.step + 1)]

        term, valid, chosen, last = Signal(32, reset_less=True), Signal(), Signal(), Signal()
        m.submodules.to_half, m.submodules.from_half = to_half, from_half = Convert(FP32, FP16), Convert(FP16, FP32)
        m.submodules.add_total, m.submodules.add_share = add_total, add_share = Add(FP32), Add(FP32)
        weight = Signal(name="weight_done")
        m.d.comb += [
            weight.eq(softmax & pipe.done),
            to_half.a.eq(pipe.y),
            from_half.a.eq(to_half.result),
            add_total.a.eq(self.total),
            add_total.b.eq(term),
            add_share.a.eq(self.share),
            add_share.b.eq(term),
            self.put.eq((self.dot.ends & ~phase["norm"]) | (phase["softmax"] & pipe.done)),
            self.put_word.eq(Mux(phase["softmax"], to_half.result, self.dot.result)),
        ]
        m.d.sync += valid.eq(weight)
        self.last_element = Signal.like(self.n)
        m.d.comb += self.last_element.eq(Mux(phase["alpha"], self.last_token, self.selected - 1))
        with m.If(weight):
            m.d.sync += [
                term.eq(Mux(phase["softmax"], from_half.result, pipe.y)),
                chosen.eq(phase["alpha"] & self.is_selected),
                last.eq(self.count == self.last_element),
            ]
        with m.If(valid):
            m.d.sync += self.total.eq(add_total.result)
            with m.If(chosen):
                m.d.sync += self.share.eq(add_share.result)
        with m.If(phase["drain_channels"] | phase["drain_keys"]):
            m.d.sync += [self.total.eq(0), self.share.eq(0)]
        self.weighed = Signal()  # the last weight is added
        m.d.comb += self.weighed.eq(valid & last)
        score = ordered(self.dot.result)
        with m.If(self.dot.ends & ~phase["norm"] & (score > self.highest)):
            m.d.sync += self.highest.eq(score)
        with m.If(self.rank.tokens & self.rank.better & (self.rank.best > self.highest)):
            m.d.sync += self.highest.eq(self.rank.best)
        with m.If(phase["drain_channels"] | phase["direct_tokens"]):
            m.d.sync += self.highest.eq(0)

    @property
    def scale(self):
        """log2 e / sqrt(head_dim)."""
        return bits32(math.log2(math.e) / math.sqrt(self.layout.head_dim))

    def _step_operands(self, m, x):
        """Each step in turn: 1 / tau, then alpha and 1 - alpha, then what the sums are multiplied by."""
        phase, pipe = self.phase, self.pipe
        m.d.comb += [pipe.function.eq(Function.BYPASS), pipe.a.eq(x), pipe.b.eq(ONE)]
        with m.Switch(Cat(self.step, phase["temperature"], phase["share"])):
            with m.Case("0100"):
                m.d.comb += [pipe.a.eq(self.q1), pipe.function.eq(Function.RECIPROCAL)]
            with m.Case("0101"):
                m.d.comb += pipe.b.eq(self.qi1)
            with m.Case("0110"):
                m.d.comb += [pipe.b.eq(bits32(self.layout.head_dim)), pipe.function.eq(Function.ROOT)]
            with m.Case("0111"):
                m.d.comb += pipe.b.eq(bits32(math.log2(math.e)))
            with m.Case("1000", "0000"):
                m.d.comb += [pipe.a.eq(self.total), pipe.function.eq(Function.RECIPROCAL)]
            with m.Case("1001"):
                m.d.comb += pipe.b.eq(self.share)
            with m.Case("1010"):
                m.d.comb += [pipe.a.eq(ONE), pipe.n.eq(self.alpha ^ (1 << 31))]
            with m.Case("0001"):
                m.d.comb += pipe.b.eq(self.alpha)

    def _output(self, m):
        """out = sum * gain + mean * (1 - alpha), one element per cycle, in FP16."""
        phase, pipe, go = self.phase, self.pipe, self.go
        head_dim = self.layout.head_dim
        more = Signal(name="more_output")
        issue = Signal(name="issue_output")
        m.d.comb += [
            more.eq(phase["output"] & (self.n != head_dim)),
            issue.eq(more & go & (self.dense | self.mean.valid)),
            self.mean.ready.eq(more & go & ~self.dense),
        ]
        self.issue_output = issue
        mean = Mux(self.dense, 0, self.mean.payload)
        for i in range(SCALAR - OUTPUT_MULTIPLY):
            register = Signal(16, name=f"mean_{i}", reset_less=True)
            with m.If(go):
                m.d.sync += register.eq(mean)
            mean = register
        m.submodules.multiply_mean = multiply = Multiply(FP16, FP32, FP32, OUTPUT_MULTIPLY)
        m.submodules.add_mean = add = Add(FP32, OUTPUT_ADD)
        m.submodules.to_output = convert = Convert(FP32, FP16)
        product, total, result = (
            Signal(bits, name=name, reset_less=True) for name, bits in (("mean_part", 32), ("output_sum", 32), ("result", 16))
        )
        passed = Signal(OUTPUT_ADD + 2, name="output_passed")
        m.d.comb += [
            multiply.enable.eq(go),
            multiply.a.eq(mean),
            multiply.b.eq(self.rest),
            add.enable.eq(go),
            add.a.eq(pipe.y),
            add.b.eq(product),
            convert.a.eq(total),
            self.out.valid.eq(passed[-1]),
            self.out.payload.eq(result),
            go.eq(~passed[-1] | self.out.ready),
        ]
        with m.If(go):
            m.d.sync += [product.eq(multiply.result), total.eq(add.result), result.eq(convert.result)]
            m.d.sync += passed.eq(Cat(phase["output"] & pipe.done, passed))

    def _phases(self, m):
        """What comes after what. ``n``, ``count`` and the counters of pages are zero where a phase begins."""
        layout, phase = self.layout, self.phase
        new = self.config.payload
        sent_out = self.out.valid & self.out.ready
        directive = self.directives.valid & self.directives.ready
        m.d.sync += self.sent.eq(0)

        def follow(state, *changes):
            m.d.sync += [self.n.eq(0), self.count.eq(0), self.step.eq(0), *changes]
            m.next = state

        def count_pages(last, after, *, by_channel=False, before=None):
            """To the next page, or where that was the last one to the phase ``after``."""
            with m.If(last):
                m.d.sync += [self.group.eq(0), self.range.eq(0), self.page.eq(0), self.turn.eq(0)]
                m.next = after
            with m.Else():
                m.d.sync += self.turn.eq(Mux(self.turn == self.flash_channels - 1, 0, self.turn + 1))
                if by_channel:
                    m.d.sync += self.group.eq(self.group + 1)
                    with m.If(self.group == layout.groups - 1):
                        m.d.sync += [self.group.eq(0), self.range.eq(self.range + 1)]
                else:
                    m.d.sync += self.page.eq(self.page + 1)
                if before is not None:
                    m.next = before

        def page_phases(kind, mask, last, after):
            """Directives, unless that were those of another phase; and pages, each looked at and then streamed."""
            by_channel = kind == "channels"
            with m.State(f"look_{kind}"):
                m.d.comb += phase[f"look_{kind}"].eq(1)
                with m.If(~self.soon):
                    with m.If(mask.any()):
                        m.d.comb += self.load.eq(1)
                        m.next = f"stream_{kind}"
                    with m.Else():
                        count_pages(last, f"drain_{kind}", by_channel=by_channel)
            with m.State(f"stream_{kind}"):
                m.d.comb += phase[f"stream_{kind}"].eq(1)
                with m.If(self.page_take & self.page_ends):
                    count_pages(last, f"drain_{kind}", by_channel=by_channel, before=f"look_{kind}")
            with m.State(f"drain_{kind}"):
                m.d.comb += phase[f"drain_{kind}"].eq(1)
                with m.If(~self.soon):
                    m.d.sync += self.n.eq(self.n + 1)
                    with m.If(self.n == (DOT.stages(self.lanes) - 1 if kind == "keys" else KERNEL) - 1):
                        follow(after)

        def step_phase(name, steps, register, after):
            with m.State(name):
                m.d.comb += phase[name].eq(1)
                with m.If(self.stepped & (self.step == steps - 1)):
                    m.d.sync += register
                    follow(after)

        def softmax_phase(name, after):
            with m.State(name):
                m.d.comb += phase[name].eq(1)
                with m.If(self.n <= self.last_element):
                    m.d.sync += [self.n.eq(self.n + 1), self.sent.eq(1)]
                with m.If(self.pipe.done):
                    m.d.sync += self.count.eq(self.count + 1)
                with m.If(self.weighed):
                    follow(after)

        with m.FSM(name="phase"):
            with m.State("idle"):
                m.d.comb += self.config.ready.eq(1)
                with m.If(self.config.valid):
                    m.d.sync += [self.left.eq(new.invocations), self.last_token.eq(new.last_token), self.recent.eq(new.recent)]
                    m.d.sync += [self.channels.eq(new.channels), self.selected.eq(new.selected), self.dense.eq(new.dense)]
                    follow("query", self.alpha.eq(ONE), self.rest.eq(0))
            with m.State("query"):
                m.d.comb += self.query.ready.eq(1)
                with m.If(self.query.valid):
                    m.d.sync += self.n.eq(self.n + 1)
                    with m.If(self.n == self.vector_words - 1):
                        with m.If(self.dense):
                            follow("direct_tokens")
                        with m.Else():
                            follow("rank_channels")
            for name, after in (("rank_channels", "norm"), ("rank_tokens", "alpha")):
                with m.State(name):
                    m.d.comb += phase[name].eq(1)
                    with m.If(self.rank.done):
                        follow(after, self.norm_part.eq(0))
            with m.State("norm"):
                m.d.comb += phase["norm"].eq(1)
                with m.If(self.norm_word):
                    m.d.sync += self.n.eq(self.n + 1)
                with m.If(self.norm_word & (self.n == self.vector_words - 1) & ~self.norm_part):
                    m.d.sync += [self.n.eq(0), self.norm_part.eq(1)]
                with m.If(self.dot.ends):
                    m.d.sync += [self.q1.eq(self.qi1), self.qi1.eq(self.dot.result), self.count.eq(1)]
                    with m.If(self.count == 1):
                        follow("temperature")
            factor = Mux(self.q1[23:31] == 0, 0, self.pipe.y)  # a query of zeros weighs all alike
            step_phase("temperature", TEMPERATURE_STEPS, [self.factor.eq(factor)], "direct_channels")
            for kind, mask, last in (
                ("channels", self.group_mask, self.last_channel_page),
                ("tokens", self.token_mask, self.last_page),
            ):
                with m.State(f"direct_{kind}"):
                    m.d.comb += [phase[f"direct_{kind}"].eq(1), self.directives.valid.eq(1)]
                    m.d.comb += self.directives.payload.eq(mask.any())
                    after = "look_channels" if kind == "channels" else "look_keys"
                    with m.If(directive):
                        count_pages(last, after, by_channel=kind == "channels")
            page_phases("channels", self.group_mask, self.last_channel_page, "rank_tokens")
            softmax_phase("alpha", "share")
            step_phase("share", SHARE_STEPS, [self.rest.eq(self.pipe.y)], "direct_tokens")
            page_phases("keys", self.token_mask, self.last_page, "softmax")
            softmax_phase("softmax", "gain")
            step_phase("gain", GAIN_STEPS, [self.gain.eq(self.pipe.y)], "look_values")
            page_phases("values", self.token_mask, self.last_page, "output")
            with m.State("output"):
                m.d.comb += phase["output"].eq(1)
                with m.If(self.issue_output):
                    m.d.sync += self.n.eq(self.n + 1)
                with m.If(self.go):
                    m.d.sync += self.sent.eq(self.issue_output)
                with m.Else():
                    m.d.sync += self.sent.eq(self.sent)
                with m.If(sent_out):
                    m.d.sync += self.count.eq(self.count + 1)
                    with m.If(self.count == layout.head_dim - 1):
                        m.d.sync += self.left.eq(self.left - 1)
                        with m.If(self.left == 0):
                            follow("idle")
                        with m.Else():
                            follow("query")
        with m.If(phase["share"] & self.stepped & (self.step == 1)):
            m.d.sync += self.alpha.eq(self.pipe.y)
        # Scores of keys are counted as they come, in whatever phase of the keys, and weights of values as they are used.
        with m.If(
            self.dot.ends
            & (phase["look_keys"] | phase["stream_keys"] | (phase["drain_keys"] & (self.n != DOT.stages(self.lanes) - 2)))
        ):
            m.d.sync += self.count.eq(self.count + 1)
        with m.If(phase["stream_values"] & self.kept & self.page_row_ends):
            m.d.sync += self.count.eq(self.count + 1)

    def _events(self, m):
        phase = self.phase
        directive, page_ends = self.directives.valid & self.directives.ready, self.page_take & self.page_ends
        happens = {
            "query_word": self.query.valid & self.query.ready,
            "rank_word": self.rank.scan,
            "norm_word": self.norm_word,
            "channel_page_read": page_ends & phase["stream_channels"],
            "channel_page_skipped": directive & ~self.directives.payload & phase["direct_channels"],
            "key_page_read": page_ends & phase["stream_keys"],
            "value_page_read": page_ends & phase["stream_values"],
            "token_page_skipped": directive & ~self.directives.payload & phase["direct_tokens"],
            "word_dropped": self.page_take & ~self.page_keep,
            "channel_word": self.enters & ~self.to_values,
            "key_word": self.key_word,
            "value_word": self.enters & self.to_values,
            "exponential": self.pipe.valid & (phase["alpha"] | phase["softmax"]),
            "output": self.out.valid & self.out.ready,
        }
        m.d.comb += [getattr(self.events, name).eq(value) for name, value in happens.items()]


PHASES = (
    *("rank_channels", "norm", "temperature", "direct_channels", "look_channels", "stream_channels", "drain_channels"),
    *("rank_tokens", "alpha", "share", "direct_tokens", "look_keys", "stream_keys", "drain_keys"),
    *("softmax", "gain", "look_values", "stream_values", "drain_values", "output"),
)
