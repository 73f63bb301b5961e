"""Golden kernels of in-storage attention: one decode token of one head over the pages that flash gives, dense or sparse (SparF).

`storage_attention` is what the engine does, bit for bit, in float32 but for the numbers marked FP16. Products of two FP16
numbers are exact; every other operation rounds once. exp2, rec and root are those of `kernels_ref.elementary`.

    i    = the r channels of largest |q|                           by bit patterns, the lowest index first among equals
    a[t] = ((0 + q[i0] K[t, i0]) + q[i1] K[t, i1]) + ...           channels ascending
    j    = the k tokens of highest a[t], the recent ones first     by `order`, the lowest index first among equals
    c    = root((rec(|q|_1) |q[i]|_1) d) log2 e                    1 / tau of SparF times log2 e; 0 where q is 0
    e[t] = exp2((a[t] - max a) c)                                  S = sum of all e[t], E = sum of those in j: `two_sums`
    alpha = rec(S) E
    s[t] = dot(q, K[t]) for t in j                                 `burst_sum`: a tree over the lanes, word after word
    p[t] = exp2((s[t] - max s) C), FP16                            C = log2 e / sqrt(d); P = sum of p[t]: `two_sums`
    o    = ((0 + p[j0] V[j0]) + p[j1] V[j1]) + ...                 tokens ascending
    out  = o (rec(P) alpha) + mean (1 - alpha), FP16

|q|_1 and |q[i]|_1 are summed as s is. Dense attention takes all tokens, alpha = 1, and 0 for the mean. Selecting by a[t] is
selecting by its softmax, which is monotone. A maximum, and j, follow `order`: NaN above infinity, numbers by value.

`ideal_storage_attention` is the mathematics in float64 and `storage_attention_error_bound` says how far apart they are; the
source of the algorithm is InstAttention, HPCA'25 (arXiv 2409.04992), that of tau SparQ.
"""

from __future__ import annotations

import math

import numpy as np

from kernels_ref.elementary import exponential, reciprocal, reciprocal_root
from kernels_ref.floats import decode, encode
from workloads.formats import FORMATS
from workloads.sparse_attention import SparseAttention

F32 = np.float32
FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
LOG2E = math.log2(math.e)
FIRST = (1 << 32) - 1
"""The key of a token that is always selected: above that of a NaN."""


def storage_attention(
    op: SparseAttention,
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    *,
    lanes: int,
    page_tokens: int,
    page_channels: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FP16 patterns of out [heads, head_dim], and which pages are read: of the channel-indexed keys [heads, ranges, groups], of
    tokens [heads, pages], as 0 or 1. The operands are those of `SparseAttention.operands`, bit patterns.

    A page holds ``page_tokens`` tokens of a head, or ``page_channels`` of its channels for so many tokens as fill it (a range);
    the pages of the channel-indexed keys are none where attention is dense.
    """
    heads = [_head(op, *arrays, lanes) for arrays in zip(query, keys, values, mean, strict=True)]
    out = np.stack([head for head, _, _ in heads])
    tokens = np.stack([_pages(chosen, page_tokens) for _, _, chosen in heads])
    if op.dense:
        return out, np.zeros((op.heads, 0, op.head_dim // page_channels), np.int64), tokens
    ranges = -(-op.tokens // (page_tokens * op.head_dim // page_channels))
    groups = np.stack([_pages(chosen, page_channels) for _, chosen, _ in heads])
    return out, np.repeat(groups[:, None], ranges, axis=1), tokens


def selections(op: SparseAttention, query: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The channels and the tokens that one head with ``query`` [head_dim] and ``keys`` [tokens, head_dim] selects: booleans."""
    if op.dense:
        return np.ones(op.head_dim, bool), np.ones(op.tokens, bool)
    channels = top(np.asarray(query) & (FP16.fields.sign - 1), op.channels)
    with np.errstate(all="ignore"):
        ranks = order(_approximate(query, keys, channels))
    ranks[op.tokens - op.recent :] = FIRST
    return channels, top(ranks, op.selected)


def top(keys: np.ndarray, count: int) -> np.ndarray:
    """Which are the ``count`` highest of ``keys``, the lowest index first among equals: booleans."""
    chosen = np.zeros(len(keys), bool)
    chosen[np.argsort(-keys, kind="stable")[:count]] = True
    return chosen


def order(numbers: np.ndarray) -> np.ndarray:
    """Keys of float32 ``numbers`` that are in their order, infinities included, and NaN above all: int64 from 0 to 2^32 - 1."""
    bits = encode(numbers, FP32)
    return np.where(bits >> 31, (1 << 32) - 1 - bits, bits | 1 << 31)


def burst_sum(products: np.ndarray, lanes: int) -> np.ndarray:
    """The sum over the last axis of float32 ``products`` as the dot-product kernel takes it: ``lanes`` by a tree over neighbours,
    one such word after the other, from 0 on."""
    terms = products.reshape(*products.shape[:-1], -1, lanes)
    while terms.shape[-1] > 1:
        terms = terms[..., 0::2] + terms[..., 1::2]
    total = np.zeros(terms.shape[:-2], F32)
    for word in np.moveaxis(terms[..., 0], -1, 0):
        total = total + word
    return total


def two_sums(terms: np.ndarray) -> np.ndarray:
    """The sum of float32 ``terms`` as the softmax takes it: ((0 + t0) + t2) + ... plus ((0 + t1) + t3) + ..."""
    return _running(terms[0::2]) + _running(terms[1::2])


def _floats(bits: np.ndarray) -> np.ndarray:
    return decode(bits, FP16).astype(F32)


def _pages(chosen: np.ndarray, size: int) -> np.ndarray:
    """Which pages of ``size`` hold something chosen: 0 or 1."""
    return np.pad(chosen, (0, -len(chosen) % size)).reshape(-1, size).any(axis=1).astype(np.int64)


def _approximate(query: np.ndarray, keys: np.ndarray, channels: np.ndarray) -> np.ndarray:
    q, k = _floats(query), _floats(keys)
    return _running(q[c] * k[:, c] for c in np.flatnonzero(channels))


def _running(terms) -> np.ndarray:
    """((0 + first) + second) + ..."""
    total = F32(0)
    for term in terms:
        total = total + term
    return total


def _weights(scores: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """exp2((scores - max scores) factor)."""
    return exponential((scores - scores[np.argmax(order(scores))]) * factor)


def _head(
    op: SparseAttention, query: np.ndarray, keys: np.ndarray, values: np.ndarray, mean: np.ndarray, lanes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """out, and the selected channels and tokens, of one head."""
    channels, tokens = selections(op, query, keys)
    with np.errstate(all="ignore"):
        q = _floats(query)
        alpha = F32(1) if op.dense else _alpha(op, query, keys, channels, tokens, lanes)
        scores = burst_sum(q * _floats(keys[tokens]), lanes)
        p = _floats(encode(_weights(scores, F32(LOG2E / math.sqrt(op.head_dim))), FP16))
        gain = reciprocal(two_sums(p)) * alpha
        weighted = _running(weight * row for weight, row in zip(p, _floats(values[tokens]), strict=True))
        rest = F32(0) if op.dense else _floats(mean) * (F32(1) - alpha)
        return encode(weighted * gain + rest, FP16), channels, tokens


def _alpha(
    op: SparseAttention, query: np.ndarray, keys: np.ndarray, channels: np.ndarray, tokens: np.ndarray, lanes: int
) -> np.ndarray:
    """The share of the selected tokens in the softmax of the approximate scores."""
    magnitude = np.abs(_floats(query))
    whole, part = burst_sum(magnitude, lanes), burst_sum(np.where(channels, magnitude, F32(0)), lanes)
    factor = reciprocal_root((reciprocal(whole) * part) * F32(op.head_dim)) * F32(LOG2E)
    e = _weights(_approximate(query, keys, channels), F32(0) if whole == 0 else factor)
    return reciprocal(two_sums(e)) * two_sums(np.where(tokens, e, F32(0)))
