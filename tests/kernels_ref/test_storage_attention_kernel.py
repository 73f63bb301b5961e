"""Is in-storage attention the sparse attention of the paper within its bound, and dense attention that of PyTorch?"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref.floats import decode, encode
from kernels_ref.inputs import corners, inputs
from kernels_ref.storage_attention import FP16, burst_sum, order, selections, storage_attention, top
from kernels_ref.storage_attention_ideal import ideal_storage_attention, storage_attention_error_bound
from workloads.sparse_attention import SparseAttention

LAYOUT = {"lanes": 4, "page_tokens": 8, "page_channels": 4}
INFINITY, NAN = 0x7C00, 0x7E00


def values(bits):
    return torch.as_tensor(decode(bits, FP16))


def normal(op, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return tuple(encode(rng.normal(0, scale, op.shape(operand)), FP16) for operand in op.operands())


def sparse(**changes):
    return SparseAttention(**{"tokens": 40, "head_dim": 16, "channels": 4, "selected": 10, "recent": 3} | changes)


@st.composite
def ops(draw):
    tokens, head_dim = draw(st.integers(1, 60)), draw(st.sampled_from([8, 16, 32]))
    if draw(st.booleans()):
        return SparseAttention.all_tokens(tokens, head_dim, heads=2)
    selected = draw(st.integers(1, tokens))
    channels, recent = draw(st.integers(1, head_dim)), draw(st.integers(0, selected))
    return SparseAttention(heads=2, tokens=tokens, head_dim=head_dim, channels=channels, selected=selected, recent=recent)


@settings(max_examples=60, deadline=None)
@given(ops(), st.integers(0, 1 << 30), st.sampled_from([0.01, 1.0, 4.0, 300.0]))
def test_it_is_within_its_bound_of_the_mathematics(op, seed, scale):
    arrays = normal(op, seed, scale)
    out, _, _ = storage_attention(op, *arrays, **LAYOUT)
    error = (values(out) - ideal_storage_attention(op, *arrays)).abs()
    assert torch.all(error <= storage_attention_error_bound(op, *arrays, lanes=LAYOUT["lanes"]))


KINDS = {
    "normal": lambda rng, shape: encode(rng.normal(size=shape), FP16),
    "any finite number": lambda rng, shape: rng.integers(0, INFINITY, shape) | rng.integers(0, 2, shape) << 15,
    "largest": lambda rng, shape: 0x7BFF | rng.integers(0, 2, shape) << 15,
    "subnormal": lambda rng, shape: rng.integers(0, 4, shape) | rng.integers(0, 2, shape) << 15,
    "all alike": lambda rng, shape: np.full(shape, rng.integers(0, INFINITY)),
    "close together": lambda rng, shape: encode(rng.normal(1000, 1, shape), FP16),
    "few large": lambda rng, shape: encode(rng.normal(0, 0.01, shape) * rng.choice([1, 3000], shape, p=[0.95, 0.05]), FP16),
}


@settings(max_examples=150, deadline=None)
@given(ops(), st.integers(0, 1 << 30), st.tuples(*[st.sampled_from(sorted(KINDS))] * 4))
def test_it_is_within_its_bound_of_operands_of_any_kinds(op, seed, kinds):
    rng = np.random.default_rng(seed)
    arrays = tuple(KINDS[kind](rng, op.shape(operand)) for kind, operand in zip(kinds, op.operands(), strict=True))
    out, _, _ = storage_attention(op, *arrays, **LAYOUT)
    error = (values(out) - ideal_storage_attention(op, *arrays)).abs()
    assert torch.all(error <= storage_attention_error_bound(op, *arrays, lanes=LAYOUT["lanes"]))


def test_the_bound_is_a_few_roundings_to_fp16_for_numbers_as_they_are():
    for op in (sparse(head_dim=128, tokens=256, channels=32, selected=64), SparseAttention.all_tokens(256, 128)):
        bound = storage_attention_error_bound(op, *normal(op), lanes=16)
        assert bound.max() < 0.012


def test_every_finite_corner_is_within_its_bound():
    for op in (sparse(), SparseAttention.all_tokens(40, 16)):
        for name, arrays in corners(op):
            if name == "special":
                continue
            out, _, _ = storage_attention(op, *arrays, **LAYOUT)
            bound = storage_attention_error_bound(op, *arrays, lanes=LAYOUT["lanes"])
            assert torch.all((values(out) - ideal_storage_attention(op, *arrays)).abs() <= bound), name


def test_dense_attention_is_that_of_pytorch():
    op = SparseAttention.all_tokens(100, 64, heads=3)
    q, k, v, mean = normal(op)
    out, _, _ = storage_attention(op, q, k, v, mean, lanes=16, page_tokens=16, page_channels=4)
    q, k, v = (values(bits).float() for bits in (q[:, None], k, v))
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
    torch.testing.assert_close(values(out).float(), wanted, rtol=0, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1 << 30))
def test_all_channels_and_all_tokens_are_dense_attention_within_both_bounds(tokens, seed):
    every = sparse(tokens=tokens, channels=16, selected=tokens, recent=0)
    dense = SparseAttention.all_tokens(tokens, 16)
    arrays = normal(dense, seed)
    one, other = (values(storage_attention(op, *arrays, **LAYOUT)[0]) for op in (every, dense))
    assert torch.all((one - other).abs() <= sum(storage_attention_error_bound(op, *arrays, lanes=4) for op in (every, dense)))


def test_sparse_attention_of_peaked_scores_is_close_to_dense_attention():
    op = sparse(tokens=64, selected=16, channels=8)
    dense = SparseAttention.all_tokens(64, 16)
    q, k, v, _ = normal(op, scale=3.0)
    mean = encode(values(v).mean(1).numpy(), FP16)
    out = values(storage_attention(op, q, k, v, mean, **LAYOUT)[0])
    exact, average = values(storage_attention(dense, q, k, v, mean, **LAYOUT)[0]), values(mean)
    assert (out - exact).norm() < 0.5 * (average - exact).norm()


# Which channels, tokens and pages


def test_among_equals_the_lowest_index_comes_first():
    assert np.flatnonzero(top(np.array([5, 9, 5, 5, 9]), 3)).tolist() == [0, 1, 4]
    op = sparse(recent=2)
    equal = tuple(np.full(op.shape(operand), 0x3C00) for operand in op.operands())
    channels, tokens = selections(op, equal[0][0], equal[1][0])
    assert np.flatnonzero(channels).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(tokens).tolist() == [*range(8), 38, 39]


def test_the_order_is_total_nan_above_infinity_and_patterns_count():
    numbers = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-40, 2.0, np.inf, np.nan], np.float32)
    assert np.all(np.diff(order(numbers)) > 0)
    assert order(-numbers[-1:]) == order(numbers[-1:])
    op = sparse(channels=2, selected=2, recent=1)
    q, k, *_ = (array[0].copy() for array in normal(op))
    q[[3, 11]] = INFINITY, NAN | 1 << 15
    k[:, 3] = 0x3C00
    channels, tokens = selections(op, q, k)
    assert np.flatnonzero(channels).tolist() == [3, 11]
    assert np.flatnonzero(tokens).tolist() == [0, 39]  # every score is NaN


@given(st.integers(0, 1 << 30))
def test_the_selected_are_those_of_torch_topk_where_no_two_are_equal(seed):
    op = sparse(recent=0)
    q, k, *_ = (array[0] for array in normal(op, seed))
    channels, tokens = selections(op, q, k)
    scores = (values(k)[:, channels] @ values(q)[channels]).float()
    largest = values(q).abs()
    if largest.unique().numel() < op.head_dim or scores.unique().numel() < op.tokens:
        return
    assert set(np.flatnonzero(channels)) == set(largest.topk(op.channels).indices.tolist())
    tenth, eleventh = scores.topk(11).values[-2:]
    if tenth - eleventh > 1e-4:
        assert set(np.flatnonzero(tokens)) == set(scores.topk(op.selected).indices.tolist())


def test_a_page_is_read_where_it_holds_something_selected():
    op = sparse(heads=2)
    arrays = normal(op)
    _, channel_pages, token_pages = storage_attention(op, *arrays, **LAYOUT)
    assert channel_pages.shape == (2, 2, 4)  # two ranges of 32 tokens, groups of four channels
    assert token_pages.shape == (2, 5)
    for head in range(2):
        channels, tokens = selections(op, arrays[0][head], arrays[1][head])
        assert np.flatnonzero(token_pages[head]).tolist() == sorted(set(np.flatnonzero(tokens) // 8))
        for pages in channel_pages[head]:
            assert np.flatnonzero(pages).tolist() == sorted(set(np.flatnonzero(channels) // 4))
    _, none, every = storage_attention(SparseAttention.all_tokens(40, 16, heads=2), *arrays, **LAYOUT)
    assert none.shape == (2, 0, 4)
    assert every.all()


def test_the_dot_product_is_a_tree_over_lanes_and_then_word_after_word():
    big, small = np.float32(2.0**24), np.float32(1)
    assert burst_sum(np.array([big, small, small, -big]), 4) == (big + small) + (small - big)
    assert burst_sum(np.array([big, small, small, -big]), 1) == ((big + small) + small) - big


def test_a_query_of_zeros_selects_by_index_and_weighs_all_alike():
    op = sparse(recent=0)
    q, k, v, mean = normal(op)
    out, _, _ = storage_attention(op, np.zeros_like(q), k, v, mean, **LAYOUT)
    wanted = 0.25 * values(v)[:, :10].mean(1) + 0.75 * values(mean)
    torch.testing.assert_close(values(out), wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("poison", [INFINITY, NAN])
def test_what_is_not_finite_in_a_token_that_is_not_selected_spoils_nothing(poison):
    op = sparse(recent=10)
    arrays = normal(op)
    wanted, *_ = storage_attention(op, *arrays, **LAYOUT)
    arrays[2][:, :30] = poison
    got, *_ = storage_attention(op, *arrays, **LAYOUT)
    assert np.array_equal(got, wanted)


def test_heads_do_not_mix():
    op = sparse(heads=3)
    arrays = inputs(op, np.random.default_rng(1))
    together = storage_attention(op, *arrays, **LAYOUT)
    for head in range(3):
        alone = storage_attention(sparse(), *(a[head : head + 1] for a in arrays), **LAYOUT)
        for whole, part in zip(together, alone, strict=True):
            assert np.array_equal(whole[head], part[0])
