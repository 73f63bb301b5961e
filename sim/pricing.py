"""Pricing: what one step (iteration) of a model on a device takes, in integer picoseconds.

    step = host + embed(T) + N (block(T) + attention) + head(S)

for T new tokens, S rows through the LM head and N blocks. Everything but attention depends on T or S alone and is priced once per
value; attention is priced from the sums that describe the batch. Scalar and array code are the same formulas. An offload may ship
something beside each block while the next one computes, which adds (`sim.offloads.base`)

    (N - 1) max(0, background - (block(T) + attention)) + background
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.base.extent import larger
from accel.base.unit import AnalyticalUnit
from sim.errors import Infeasible
from sim.lowering import Stage, lower
from sim.system import Device
from sim.tiling import companion_ps, time_stage
from sim.timing import Timing
from workloads.ops import Attention, Collective

if TYPE_CHECKING:
    from workloads.model import Precision, Transformer

BLOCK_TOKENS = 16  # tokens per KV-cache block; vLLM's default
NEIGHBOURS = 64  # token counts that are priced together, in one array


@dataclass(frozen=True)
class PricedStage:
    """A stage, how often a step runs it, and its time."""

    stage: Stage
    times: int
    timing: Timing


@dataclass
class StepPricer:
    """Prices steps of ``model`` in ``precision`` on ``device``; the protocol that the serving engine asks."""

    device: Device
    model: Transformer
    precision: Precision
    _fixed: dict[int, tuple[int, int, int]] = field(default_factory=dict, repr=False)
    _heads: dict[int, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._offload = self.device.placement.offload
        if self._offload is not None:
            self._offload.check(self.device, self.model, self.precision)
        if self.kv_tokens >= BLOCK_TOKENS:
            return
        place, share = self.device.placement, f"({self.device.memory_utilization_permille / 10:g} % of its capacity)"
        weights, block = f"weights take {self.weight_bytes / 1e9:.2f} GB", f"{BLOCK_TOKENS * self._token_bytes / 1e6:.2f} MB"
        if place.kv == place.weights:
            needed = f"{weights} and one KV block {block}, of {self._budget(place.weights) / 1e9:.2f} GB"
            needed += f" that memory {place.weights!r} gives {share}"
        elif self.weight_bytes > self._budget(place.weights):
            needed = f"{weights}, of {self._budget(place.weights) / 1e9:.2f} GB that memory {place.weights!r} gives {share}"
        else:
            needed = (
                f"one KV block takes {block}, of {self._budget(place.kv) / 1e6:.2f} MB that memory {place.kv!r} gives {share}"
            )
        raise Infeasible(f"{self.device.name}: {self.model.name} does not fit: {needed}")

    # capacity

    @cached_property
    def max_context(self) -> int:
        """Tokens of the longest context that is served: the model's, or less where an offload stores no more."""
        offload = self.device.placement.offload
        return self.model.max_context if offload is None else offload.longest(self.model)

    @cached_property
    def weight_bytes(self) -> int:
        return self.model.weight_bytes(self.precision)

    @cached_property
    def _token_bytes(self) -> int:
        nbytes = self.model.kv_bytes_per_token(self.precision)
        return nbytes if self._offload is None else self._offload.kv_token_bytes(nbytes)

    def _budget(self, memory: str) -> int:
        """Bytes that ``memory`` gives to weights and KV cache."""
        return self.device.memories[memory].capacity * self.device.memory_utilization_permille // 1000

    @cached_property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values fit beside the weights, in whole blocks."""
        place = self.device.placement
        if place.kv == place.weights:
            room = self._budget(place.weights) - self.weight_bytes
        else:
            room = self._budget(place.kv) if self.weight_bytes <= self._budget(place.weights) else 0
        if self._offload is not None:
            room -= self._offload.held_bytes(self.model, self.precision)
        return max(room, 0) // (self._token_bytes * BLOCK_TOKENS) * BLOCK_TOKENS

    # stages

    @property
    def blocks(self) -> int:
        return self.model.layers

    def embed_stages(self, tokens: Any) -> list[Stage]:
        return lower(self.model.embed(tokens, self.precision), self.device)

    def block_stages(self, tokens: Any) -> tuple[list[Stage], Stage, list[Stage]]:
        """Stages of one block before, of, and after attention; the attention stage stands for ``tokens`` tokens of no context."""
        fused = self.device.placement.fused_projections
        before, after = self.model.block(tokens, self.precision, fused_projections=fused)
        attention = Attention.decode(tokens, tokens, **self.model.attention_shape(self.precision))
        stages = lower([*before, attention, *after], self.device)
        at = next(i for i, stage in enumerate(stages) if isinstance(stage.op, Attention))
        return stages[:at], stages[at], stages[at + 1 :]

    def head_stages(self, sequences: Any) -> list[Stage]:
        return lower(self.model.head(sequences, self.precision), self.device)

    # time

    def _time(self, stages: Sequence[Stage]) -> int:
        return sum(time_stage(stage, self.device).ps for stage in stages)

    def block_ps(self, tokens: Any) -> Any:
        """One block for ``tokens`` new tokens (int or array), attention left out."""
        before, _, after = self.block_stages(tokens)
        return self._time(before) + self._time(after)

    def fixed_ps(self, tokens: Any, block: Any = None) -> Any:
        """Host, embedding and all blocks for ``tokens`` new tokens (int or array), attention left out.

        ``block`` is `block_ps` of ``tokens``, for whoever has it already.
        """
        block = self.block_ps(tokens) if block is None else block
        return self.device.host_overhead + self._time(self.embed_stages(tokens)) + self.blocks * block

    def companion_ps(self, tokens: Any) -> Any:
        """Time of what is fused into attention; attention takes at least as long."""
        _, attention, _ = self.block_stages(tokens)
        return reduce(larger, companion_ps(attention, self.device).values(), 0 * tokens)

    def _price_around(self, value: int, prices: dict[int, Any], price: Callable[[Any], Any]) -> Any:
        """``prices[value]``, after pricing its whole neighbourhood in one array call."""
        values = np.arange(value - value % NEIGHBOURS, value - value % NEIGHBOURS + NEIGHBOURS, dtype=np.int64)
        values = values[values > 0]
        prices.update(zip(values.tolist(), price(values), strict=True))
        return prices[value]

    def _fixed_of(self, tokens: int) -> tuple[int, int, int]:
        """(fixed_ps, companion_ps, block_ps), memoised."""

        def price(values: np.ndarray) -> Iterable[tuple[int, int, int]]:
            block = self.block_ps(values)
            found = (self.fixed_ps(values, block), self.companion_ps(values), block)
            return zip(*(ps.tolist() for ps in found), strict=True)

        return self._fixed.get(tokens) or self._price_around(tokens, self._fixed, price)

    def head_ps(self, sequences: int) -> int:
        """Final norm and LM head for ``sequences`` rows; nothing where no row is sampled."""
        if not sequences:
            return 0

        def price(values: np.ndarray) -> list[int]:
            return self._time(self.head_stages(values)).tolist()

        return self._heads.get(sequences) or self._price_around(sequences, self._heads, price)

    @cached_property
    def _attention(self) -> Any:
        """(decode(requests, context) -> ps, prefill(chunk, past) -> ps) of one block; cheap closures where the unit has them."""
        placement, device, shape = self.device.placement, self.device, self._shape

        def closures(role: str) -> tuple[Any, Any]:
            name = placement.roles.get(f"attention.{role}", placement.attention)
            slot = device.units[name]
            asked = shape | {"role": role}
            offloaded = self._offload is not None and self._offload.takes(Attention.decode(1, 1, **asked))
            if not offloaded and isinstance(slot.unit, AnalyticalUnit) and hasattr(slot.unit, "attention_pricer"):
                bandwidth = device.memories[placement.kv].bandwidth
                return slot.unit.attention_pricer(asked, copies=slot.count, clock=slot.clock, bandwidth=bandwidth)

            def decode(requests: Any, context: Any) -> Any:
                return time_stage(Stage(Attention.decode(requests, context, **asked), name), device).ps

            def prefill(chunk: int, past: int) -> Any:
                return time_stage(Stage(Attention.prefill(chunk, past, **asked), name), device).ps

            return decode, prefill

        return closures("decode")[0], closures("prefill")[1]

    @cached_property
    def _shape(self) -> dict[str, Any]:
        _, stage, _ = self.block_stages(1)
        return self.model.attention_shape(self.precision) | {"output": stage.op.output}

    def exposed_ps(self, prefilled: int, decodes: int, block: Any) -> Any:
        """What is not hidden of that which ships beside blocks of ``block`` ps (attention included), over a whole step."""
        ships = 0 if self._offload is None else self._offload.background_ps(prefilled, decodes, self._shape, self.device)
        return (self.blocks - 1) * larger(ships - block, 0 * block) + ships if ships else 0

    def step_ps(self, tokens: int, sequences: int, chunks: Sequence[tuple[int, int]], decodes: int, context: int) -> int:
        """One iteration: prefill ``chunks`` as (chunk, past) and ``decodes`` requests attending ``context`` tokens in all."""
        decode, prefill = self._attention
        fixed, companion, block = self._fixed.get(tokens) or self._fixed_of(tokens)
        attention = decode(decodes, context) if decodes else 0
        first = attention
        for position, (chunk, past) in enumerate(chunks):
            ps = prefill(chunk, past)
            attention += ps
            if not position:
                first = ps
        if companion > first:
            attention += companion - first
        head = self._heads.get(sequences) or self.head_ps(sequences)
        step = fixed + self.blocks * attention + head
        if self._offload is not None:
            step += self.exposed_ps(tokens - decodes, decodes, block + attention)
        return step

    def decode_run_ps(self, decodes: int, context: int, iterations: int) -> np.ndarray:
        """Durations (int64) of consecutive decode-only iterations, the context growing by ``decodes`` each."""
        decode, _ = self._attention
        fixed, companion, block = self._fixed_of(decodes)
        attention = np.maximum(decode(decodes, context + decodes * np.arange(iterations, dtype=np.int64)), companion)
        return fixed + self.head_ps(decodes) + self.blocks * attention + self.exposed_ps(0, decodes, block + attention)

    # one step in detail (rtloom price)

    def step(self, *, prefill: Sequence[tuple[int, int]] = (), decodes: int = 0, context: int = 0) -> list[PricedStage]:
        """Every stage of one step with its time, in order of execution."""
        tokens = decodes + sum(chunk for chunk, _ in prefill)
        before, attention, after = self.block_stages(tokens)
        shape = self.model.attention_shape(self.precision) | {"output": attention.op.output}
        ops = [Attention.prefill(chunk, past, **shape | {"role": "prefill"}) for chunk, past in prefill]
        if decodes:
            ops.append(Attention.decode(decodes, context, **shape | {"role": "decode"}))
        place = self.device.placement
        attended = [Stage(op, place.unit_of(op) or attention.unit, attention.fused if i == 0 else ()) for i, op in enumerate(ops)]

        def timed(stages: Sequence[Stage], times: int) -> list[PricedStage]:
            return [PricedStage(stage, times, time_stage(stage, self.device)) for stage in stages]

        block = timed([*before, *attended, *after], self.blocks)
        head = timed(self.head_stages(decodes + len(prefill)), 1)
        exposed = self.exposed_ps(tokens - decodes, decodes, sum(priced.timing.ps for priced in block))
        if exposed:
            shipping = Stage(Collective(role="exposed_shipping", function="send", nbytes=0, participants=2), place.kv)
            head.append(PricedStage(shipping, 1, Timing(exposed, 0, exposed, {}, {}, "own")))
        return [*timed(self.embed_stages(tokens), 1), *block, *head]
