"""Does in-storage attention read the pages that its model says, cost what its phases say, and refuse what it cannot execute?

Values, cycles and events of the RTL at the corners of its parameters are shown by the conformance bench, within the range of the
price; here that the price is exact where the numbers of pages are known.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base import simulation
from accel.base.conformance import golden_kernel
from accel.base.cost_range import CostRange, least_of
from accel.base.judge import difference
from accel.base.script import Pass, Run
from kernels_ref.floats import encode
from kernels_ref.inputs import corners, inputs
from kernels_ref.storage_attention import selections, storage_attention
from pim.storage_attention import StorageAttention
from pim.storage_attention.pages import PageLayout, pages_touched, selected
from workloads.formats import FORMATS
from workloads.ops import Linear
from workloads.sparse_attention import SparseAttention

FP16 = FORMATS["fp16"]
ENGINE = StorageAttention()
SMALL = StorageAttention(head_dim=8, lanes=2, page_bytes=128, page_channels=2, flash_channels=3, max_tokens=64)


@st.composite
def ops(draw, unit=SMALL, most=64):
    tokens = draw(st.integers(1, most))
    if draw(st.booleans()):
        return SparseAttention.all_tokens(tokens, unit.head_dim)
    chosen = draw(st.integers(1, tokens))
    return unit.op(
        tokens=tokens, channels=draw(st.integers(1, unit.head_dim)), selected=chosen, recent=draw(st.integers(0, chosen))
    )


def normal(op, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(encode(rng.normal(size=op.shape(operand)), FP16) for operand in op.operands())


def narrowed(unit, op, arrays):
    """``op`` with the numbers of pages that the model says of these operands."""
    touched = pages_touched(unit.layout, op, arrays[0][0], arrays[1][0])
    return op.resized(channel_pages=int(touched.channel_pages.sum()), token_pages=int(touched.token_pages.sum()))


# Pages: the model against the kernel, and its bounds


@settings(deadline=None)
@given(ops(), st.integers(0, 1 << 30))
def test_the_model_touches_the_pages_of_the_kernel(op, seed):
    arrays = inputs(op, np.random.default_rng(seed))
    _, by_channel, by_token = storage_attention(op, *arrays, **SMALL.numerics())
    touched = pages_touched(SMALL.layout, op, arrays[0][0], arrays[1][0])
    assert np.array_equal(touched.channel_pages, by_channel[0])
    assert np.array_equal(touched.token_pages, by_token[0])


def test_the_model_selects_what_the_kernel_does_at_every_corner():
    op = ENGINE.op(tokens=70, channels=16, selected=9, recent=2)
    for name, (query, keys, *_) in corners(op):
        for mine, kernels in zip(selected(op, query[0], keys[0]), selections(op, query[0], keys[0]), strict=True):
            assert np.array_equal(mine, kernels), name


@settings(deadline=None)
@given(ops(), st.integers(0, 1 << 30))
def test_pages_read_lie_within_their_bounds(op, seed):
    arrays = inputs(op, np.random.default_rng(seed))
    for pages, bounds in zip(
        pages_touched(SMALL.layout, op, arrays[0][0], arrays[1][0]),
        (SMALL.layout.channel_pages_read(op), SMALL.layout.token_pages_read(op)),
        strict=True,
    ):
        least, most = bounds
        assert least <= pages.sum() <= most


@given(ops())
def test_the_bounds_of_token_pages_are_met_by_some_choice_of_tokens(op):
    size, pages = SMALL.layout.page_tokens, SMALL.layout.token_pages(op.tokens)
    least, most = SMALL.layout.token_pages_read(op)
    recent, free = range(op.tokens - op.recent, op.tokens), range(op.tokens - op.recent)
    forced = {token // size for token in recent}
    by_page = [[token for token in free if token // size == page] for page in range(pages)]
    left = op.selected - op.recent

    def taken(order):
        found, wanted = set(forced), left
        for page in order:
            if wanted > 0 and by_page[page]:
                found.add(page)
                wanted -= len(by_page[page])
        return len(found)

    full_first = sorted(range(pages), key=lambda page: (page not in forced, -len(by_page[page])))
    assert least == taken(full_first)
    apart = [page for page in range(pages) if page not in forced and by_page[page]]
    assert most == len(forced) + min(left, len(apart))


def test_a_page_holds_sixteen_tokens_of_a_head_or_channels_of_many_tokens():
    layout = ENGINE.layout
    assert (layout.page_tokens, layout.range_tokens, layout.groups) == (16, 256, 16)
    assert [PageLayout(128, 4096, channels).range_tokens for channels in (2, 4, 8)] == [1024, 512, 256]
    keys = np.arange(300 * 128).reshape(300, 128)
    pages = layout.channel_words(keys)
    assert pages.shape == (2, 16, 2048)
    assert np.array_equal(pages[1, 3, : 300 - 256], keys[256:, 24])
    assert np.array_equal(pages[0, 3, 256:512], keys[:256, 25])
    assert np.array_equal(layout.words(keys)[2, :128], keys[32])


@pytest.mark.parametrize("page_channels", [4, 8])
def test_the_first_step_saves_only_about_half_at_a_compression_of_eight_as_pages_are_whole(page_channels):
    layout = PageLayout(128, 4096, page_channels)
    op = SparseAttention(tokens=256, head_dim=128, channels=16, selected=32)
    read = [pages_touched(layout, op, *(a[0] for a in normal(op, seed)[:2])).channel_pages.mean() for seed in range(12)]
    assert 0.35 < np.mean(read) < 0.72  # of an eighth of the channels
    touched = pages_touched(layout, op.resized(recent=32), *(a[0] for a in normal(op)[:2]))
    assert touched.token_pages.mean() == 1 / 8  # tokens side by side: the second step saves all


# The cost


def test_cost_of_dense_attention_by_hand():
    cost = ENGINE.tile_cost(SparseAttention.all_tokens(100, 128))
    assert not isinstance(cost, CostRange)
    stages = 1 + 2 + 4 * 2 + 2  # of the dot product: operands, multiplier, four levels of the tree, accumulator
    pages, words = 7, 128
    keys = pages + pages + pages * words + 100 * 8 + stages  # directives, looks, words, kept ones twice, the last score
    values = pages + pages * words + 6
    assert cost.interval == 8 + keys + (100 + 13) + 2 * 11 + values + (128 + 14)
    assert cost.latency == cost.interval + 1
    assert {name: n for name, n in cost.events.items() if n} == {
        "query_word": 8,
        "key_page_read": 7,
        "value_page_read": 7,
        "word_dropped": 2 * (7 * 128 - 800),
        "key_word": 800,
        "value_word": 800,
        "exponential": 100,
        "output": 128,
    }


def test_cost_of_sparse_attention_by_hand():
    op = ENGINE.op(tokens=300, channels=16, selected=40, recent=8, channel_pages=20, token_pages=9)
    cost = ENGINE.tile_cost(op)
    words = 19  # of scores
    channels = 15 * (8 + 3) + 8 + 3  # argtopk of magnitudes
    scalars = 4 * 8 + 13 - 1 + 4 * 11  # norms, 1 / tau
    approximate = 32 + 32 + 20 * 128 + 6
    tokens = 32 * (words + 3) + words + 3 + 300 + 13 + 3 * 11  # argtopk of scores, softmax, alpha
    exact = 19 + 19 + 9 * 128 + 40 * 8 + 13 + 40 + 13 + 2 * 11 + 19 + 9 * 128 + 6 + 128 + 14
    assert cost.latency == 1 + 8 + channels + scalars + approximate + tokens + exact
    assert cost.events["rank_word"] == 16 * 8 + 33 * words
    assert cost.events["channel_page_skipped"] == 12
    assert cost.events["channel_word"] == 16 * words
    assert cost.events["word_dropped"] == 20 * 128 - 16 * words + 2 * (9 * 128 - 40 * 8)


@given(ops(ENGINE, 2048), st.data())
def test_more_pages_cost_more_and_known_ones_lie_within_the_range(op, data):
    cost = ENGINE.tile_cost(op)
    least, most = least_of(cost), cost
    if op.dense:
        assert least is cost
        return
    known = {
        "channel_pages": data.draw(st.integers(*map(int, ENGINE.layout.channel_pages_read(op)))),
        "token_pages": data.draw(st.integers(*map(int, ENGINE.layout.token_pages_read(op)))),
    }
    exact = ENGINE.tile_cost(op.resized(**known))
    assert not isinstance(exact, CostRange)
    assert least.latency <= exact.latency <= most.latency
    assert all(least.events[name] <= n <= most.events[name] for name, n in exact.events.items())
    half = ENGINE.tile_cost(op.resized(token_pages=known["token_pages"]))
    assert least.latency <= least_of(half).latency <= exact.latency <= half.latency <= most.latency


def test_a_batch_of_contexts_is_priced_as_each_alone():
    tokens = np.array([16, 100, 1024, 2000])
    together = ENGINE.tile_cost(ENGINE.op(tokens=tokens, channels=16, selected=tokens // 8, recent=tokens // 32))
    for i, count in enumerate(tokens.tolist()):
        alone = ENGINE.tile_cost(ENGINE.op(tokens=count, channels=16, selected=count // 8, recent=count // 32))
        for one, many in ((alone, together), (alone.least, together.least)):
            assert one.latency == many.latency[i]
            assert all(n == np.broadcast_to(many.events[name], 4)[i] for name, n in one.events.items())


def test_heads_follow_one_another():
    op = ENGINE.op(heads=40, tokens=64, channels=16, selected=8)
    one = ENGINE.tile_cost(op.resized(heads=1))
    assert ENGINE.cost(op).latency == one.latency + 39 * one.interval


# The RTL: exactly the price of the pages that the model says


def play(unit, cases):
    """Play ops with operands on the RTL, each priced with the numbers of its pages, and compare all with the kernel."""
    runs = [Run(narrowed(unit, op, arrays), [arrays]) for op, arrays in cases]
    some, face = Pass("pages", "free", runs, 0), simulation.interface(unit)
    script = some.script(unit, *([name for name, _ in streams] for streams in (face.inputs, face.outputs)))
    chosen, _ = simulation.choose("auto", sum(unit.tile_cost(run.tile).latency for run in runs))
    ((seen,),) = simulation.run(unit, [[script]], simulator=chosen, timeout_s=900)
    assert difference(unit, face, some, seen, golden_kernel(unit)) is None


def test_the_rtl_takes_exactly_the_price_of_the_pages_of_the_model():
    rng = np.random.default_rng(5)
    cases = []
    for _ in range(25):
        op = SMALL.draw_op(rng)
        cases.append((op, inputs(op, rng)))
    op = SMALL.op(tokens=30, channels=2, selected=5, recent=1)
    cases += [(op, arrays) for _, arrays in corners(op)]
    equal = tuple(np.full(op.shape(operand), 0x3C00) for operand in op.operands())
    for changes in (
        {},
        {"recent": 5},
        {"recent": 0},
        {"selected": 30, "channels": 8},
        {"selected": 1, "channels": 1, "recent": 1},
    ):
        cases.append((op.resized(**changes), equal))
    for tokens, chosen, recent in ((64, 64, 64), (64, 1, 0), (64, 20, 3), (33, 33, 0), (32, 8, 8), (1, 1, 1)):  # up to max_tokens
        edge = SMALL.op(tokens=tokens, channels=7, selected=chosen, recent=recent)
        cases.append((edge, normal(edge, tokens)))
    for dense in (SparseAttention.all_tokens(1, 8), SparseAttention.all_tokens(64, 8)):
        cases.append((dense, normal(dense)))
    play(SMALL, cases)


@pytest.mark.long
def test_the_engine_at_its_defaults_attends_to_hundreds_of_tokens():
    cases = [ENGINE.op(tokens=300, channels=16, selected=40, recent=8), SparseAttention.all_tokens(260, 128)]
    play(ENGINE, [(op, normal(op, seed)) for seed, op in enumerate(cases)])


# What it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 8192}, r"tokens: wanted 1 to \d+ \(max_tokens\), got 8192"),
        ({"selected": 65}, r"selected: wanted 1 to 64 \(the tokens of the context\), got 65"),
        ({"channels": 129}, r"channels: wanted 1 to 128 \(head_dim\), got 129"),
        ({"recent": 9}, r"recent: wanted 0 to 8 \(selected\), got 9"),
        ({"heads": 0}, r"heads: wanted 1 or more, got 0"),
        ({"token_pages": 5}, r"token_pages: wanted 1 to 4, which is what a head can read, got 5"),
        ({"channel_pages": 1}, r"channel_pages: wanted 2 to 16, which is what a head can read, got 1"),
        ({"dense": True}, "dense attention selects all 64 tokens"),
        ({"activations": FORMATS["bf16"]}, "takes FP16 heads of 128 elements, not bf16"),
        ({"head_dim": 64, "channels": 16}, "takes FP16 heads of 128 elements, not fp16 heads of 64"),
    ],
)
def test_an_op_that_cannot_be_is_refused_in_one_line(changes, message):
    op = ENGINE.op(tokens=64, channels=16, selected=8, recent=2).resized(**changes)
    with pytest.raises(ValueError, match=message) as refused:
        ENGINE.check(op)
    assert "\n" not in str(refused.value)


def test_more_invocations_than_are_counted_are_refused():
    with pytest.raises(ValueError, match=r"counts less than 2\^32 invocations, got 4294967296"):
        SMALL.encode_config(SMALL.op(tokens=4, channels=2, selected=2), 1 << 32)


def test_another_op_is_refused():
    with pytest.raises(ValueError, match="storage_attention executes sparse_attention, not linear"):
        ENGINE.check(Linear(m=1, n=1, k=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"page_bytes": 2048},
            "page_bytes: wanted whole groups of 16 tokens, so a multiple of 4096 bytes; a page of 2048 bytes holds 8",
        ),
        (
            {"head_dim": 512},
            "page_bytes: wanted whole groups of 16 tokens, so a multiple of 16384 bytes; .* holds 4 tokens of 512",
        ),
        ({"lanes": 64}, "lanes: wanted at most head_dim / 4 = 32, got 64"),
        ({"lanes": 12}, "wanted a power of two, such as 8 or 16, got 12"),
        (
            {"page_channels": 64},
            "page_channels: wanted at most 32, for 4 words of each channel and two groups of channels, got 64",
        ),
        ({"max_tokens": 256}, "max_tokens: wanted at least two channel pages of 256 tokens each, got 256"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        StorageAttention(**changes)
