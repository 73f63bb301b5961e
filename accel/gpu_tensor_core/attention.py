"""Attention time on a GPU, from the sums that describe a batch (flash attention over a paged KV cache).

Decode, R requests that hold C tokens in all, K the bytes of their keys and values, H_kv KV heads, P cores of c blocks each:

    stream = K / bandwidth / e
    blocks = R H_kv t_block / P                            one thread block per request and KV head
    tail   = t_byte * K / max(R H_kv, c P)                 the last block reads its share alone
    time   = launch + max(stream, blocks + overlap * stream) + tail

Prefill of a chunk of q tokens after p cached ones, in tiles of T queries that each see all keys up to their last query:

    pairs  = T (ceil(q / T) p + T ceil(q / T) (ceil(q / T) + 1) / 2)
    time   = launch + max(2 pairs heads head_dim / (P R f e), K / bandwidth / e) + merge
    merge  = q heads t_merge where 2 < ceil(q / T) <= c P / heads: too few tiles to fill the cores, so the keys are split

A closure over ints is what the serving engine calls in every iteration; the same formulas serve int64 arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from accel.base.calibration import DecodeFigures, PrefillFigures
from accel.base.clock import PS_PER_US, cycles_to_ps, scale_up
from accel.base.mapping import ceil_div
from workloads.formats import SCALE_BITS, Format
from workloads.ops import FP16

Pricer = Callable[..., Any]


def attention_closures(
    decode: DecodeFigures,
    prefill: PrefillFigures,
    *,
    rate: int,
    clock: int,
    copies: int,
    bandwidth: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    activations: Format = FP16,
    kv: Format = FP16,
    output: Format = FP16,
) -> tuple[Pricer, Pricer]:
    """(decode(requests, context) -> ps, prefill(chunk, past, requests=1) -> ps) of one attention operator."""
    # Bytes to picoseconds at the reached bandwidth, each rounding of `bytes_to_ps` and `at_share` in place; the fractions are
    # reduced, so that arrays stay in int64 up to 10^9 tokens and more.
    ps_per_byte, loss = Fraction(PS_PER_US, bandwidth), Fraction(1000, decode.bandwidth_permille)
    whole, per = ps_per_byte.numerator, ps_per_byte.denominator
    more, reached = loss.numerator, loss.denominator
    per_token = kv_bytes_of(kv, 2 * kv_heads * head_dim)
    elements = heads * head_dim
    io_bytes = activations.nbytes(elements) + output.nbytes(elements)
    slots = decode.blocks_per_core * copies
    block_ps, overlap = decode.block_ps * kv_heads, decode.overlap_permille
    tail_ps, decode_launch = decode.tail_ps_per_kb, decode.launch_ps
    tile, few, prefill_launch = prefill.query_tile, slots // heads, prefill.launch_ps

    def stream_ps(nbytes: Any) -> Any:
        at_peak = -(-nbytes * whole // per)
        return -(-at_peak * more // reached)

    def decode_with(maximum: Callable[[Any, Any], Any]) -> Pricer:
        def price(requests: Any, context: Any) -> Any:
            kv_bytes = per_token(context)
            stream = stream_ps(kv_bytes + requests * io_bytes)
            blocks = -(-requests * block_ps // copies) + -(-stream * overlap // 1000)
            tail = -(-kv_bytes * tail_ps // (1000 * maximum(requests * kv_heads, slots)))
            return (decode_launch + maximum(stream, blocks) + tail) * (requests > 0)

        return price

    def prefill_with(maximum: Callable[[Any, Any], Any]) -> Pricer:
        def price(chunk: Any, past: Any, requests: Any = 1) -> Any:
            tiles = -(-chunk // tile)
            pairs = tile * tiles * past + tile * tile * (tiles * (tiles + 1) // 2)
            cycles = ceil_div(2 * requests * pairs * elements, rate * copies)
            compute = scale_up(cycles_to_ps(cycles, clock), 1000, prefill.compute_permille)
            stream = stream_ps(requests * (per_token(past + chunk) + chunk * io_bytes))
            merge = requests * chunk * heads * prefill.merge_ps * ((tiles > 2) & (requests * tiles <= few))
            launch = decode_launch + (prefill_launch - decode_launch) * (past + chunk > prefill.unsplit_context)
            return (launch + maximum(compute, stream) + merge) * (chunk > 0)

        return price

    scalar_decode, scalar_prefill = decode_with(max), prefill_with(max)

    def price_decode(requests: Any, context: Any) -> Any:
        if type(context) is int and type(requests) is int:
            return scalar_decode(requests, context)
        import numpy as np

        return decode_with(np.maximum)(requests, context)

    def price_prefill(chunk: Any, past: Any = 0, requests: Any = 1) -> Any:
        """A chunk of one token is decode."""
        if type(chunk) is int and type(past) is int and type(requests) is int:
            return scalar_prefill(chunk, past, requests) if chunk != 1 else scalar_decode(requests, requests * (past + 1))
        import numpy as np

        alone = decode_with(np.maximum)(requests, requests * (past + 1))
        return np.where(chunk == 1, alone, prefill_with(np.maximum)(chunk, past, requests))

    return price_decode, price_prefill


def kv_bytes_of(kv: Format, elements: int) -> Callable[[Any], Any]:
    """tokens -> bytes of ``elements`` KV elements per token, by a single product where a token fills whole bytes and groups."""
    bits = elements * kv.bits
    if kv.group is not None and elements % kv.group == 0:
        bits += elements // kv.group * SCALE_BITS
    elif kv.group is not None:
        return lambda tokens: kv.nbytes(tokens * elements)
    if bits % 8:
        return lambda tokens: kv.nbytes(tokens * elements)
    per_token = bits // 8
    return lambda tokens: tokens * per_token
