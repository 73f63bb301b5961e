"""Cambricon-LLM (MICRO'24, arXiv 2409.15654): tokens per second of one decoding request on its platforms, and how work is split.

W8A8, keys and values in INT8, about 1000 tokens of context (inferred, as in the notes). Every figure is that of a whole step:
norms, attention, vector operators and LM head included. Nothing is fitted: rounds, their padding and the split come from the
flash and the shapes of the matrices (`pim.flash_tiling`, `pim.flash_split`), the time of a page on a core from its RTL. Figures
printed with one digit stand for a range, which the rows name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from accel.base.clock import PS_PER_S
from pim.flash_compute import FlashCompute
from pim.flash_split import ReadCompute
from sim.energy import Work, stage_work
from sim.experiment import load_model
from sim.offloads.flash_gemv import FlashGemv, rounds_on
from sim.pricing import StepPricer
from sim.reproductions.base import LeftOut, Row
from sim.system import Device, load_device
from workloads.model import Precision, Transformer

CONTEXT = 1000
W8A8 = Precision(weights="int8", activations="int8", kv="int8", lm_head="int8", embeddings="int8")
W4A16 = Precision(weights="int4", activations="fp16", kv="fp16", lm_head="int4", embeddings="int4")
SOURCE = "Cambricon-LLM, MICRO'24 (secondary)"
TOKENS_PER_S = {
    "s": {
        "opt-6.7b": "3.6",
        "opt-13b": "1.9",
        "opt-30b": "0.8",
        "opt-66b": "0.4",
        "llama-2-7b": "3.55",
        "llama-2-13b": "1.9",
        "llama-2-70b": "0.3",
    },
    "l": {"opt-6.7b": "36.34", "llama-2-70b": "3.44"},
}
"""As printed."""
GROUPED = (
    "the model as released has 8 heads of keys and values for its 64 heads, and so 69.0 10^9 weights and 0.16 GB of keys and "
    "values. With 64 of each, as the paper's other models have, they are 78.4 10^9 and 1.31 GB: the row without grouped queries"
)
UNGROUPED = "inferred: the source does not say that keys and values were taken for every head"
WIDER = (
    "the published formula counts a sum as one byte; the core gives INT32, and sums of 512 products of INT8 need 24 bits. With "
    "one byte rounds take 3.7 % of the channels of platform L, and the share in flash is 0.359"
)
CROSSINGS = (
    "what is counted as moved is not in the source. Here FlexGen's weights count twice: from drive to host, from host to device. "
    "Counted at every memory that is read or written they cross five times, which gives 13.9; four times give 11.2"
)
KEEPS_UP = (
    "a core of four products per cycle, which keeps up with pages of 32768 weights; with the two of W8A8, pages take 42 us, and "
    "the speed-up is 1.50. INT8 products stand for those of 4 by 16 bits; a scale for each row, as sums go over whole pages"
)


@cache
def pricer(platform: str, model: str, grouped: bool = True) -> StepPricer:
    """Prices steps of ``model`` in W8A8 on a platform; not ``grouped``: with a head of keys and values for every head."""
    shape = load_model(model)
    return StepPricer(load_device(f"cambricon_llm_{platform}"), shape if grouped else _ungrouped(shape), W8A8)


def _ungrouped(model: Transformer) -> Transformer:
    return replace(model, name=f"{model.name} without grouped queries", kv_heads=model.heads)


def tokens_per_s(prices: StepPricer) -> float:
    """One request that decodes with so much context."""
    return PS_PER_S / prices.step_ps(1, 1, [], 1, CONTEXT)


def with_four_bits(device: Device) -> Device:
    """``device`` with cores whose pages hold twice as many weights, and its rows of FP16 by 4 bits where attention is."""
    core = device.units["core"].model_copy(update={"unit": FlashCompute(macs=4, page_values=1 << 15)})
    place = device.placement.model_copy(update={"linear": "attention"})
    return device.model_copy(update={"units": device.units | {"core": core}, "placement": place})


def published_rounds(platform: str) -> ReadCompute:
    """The rounds of the published tile in W8A8."""
    device = load_device(f"cambricon_llm_{platform}")
    offload = device.placement.offload
    assert isinstance(offload, FlashGemv)
    (found,) = rounds_on(device, offload, W8A8.activations)
    return found


def moved_bytes(prices: StepPricer) -> int:
    """Bytes on the channels of the flash and at the memory of a platform, for one token."""
    work = Work()
    for priced in prices.step(decodes=1, context=CONTEXT):
        work.add(stage_work(priced.stage, prices.device), priced.times)
    return sum(count for (_, event), count in work.events.items() if event in ("read_byte", "write_byte"))


def speed_rows() -> Iterable[Row]:
    for platform, models in TOKENS_PER_S.items():
        for model, printed in models.items():
            for grouped in (True, False) if model == "llama-2-70b" else (True,):
                prices = pricer(platform, model, grouped)
                note = f"printed {printed}: {_range(printed)}" if len(printed) == 3 else ""
                if model == "llama-2-70b":
                    note = "; ".join(filter(None, [GROUPED if grouped else UNGROUPED, note]))
                yield Row(
                    system="cambricon",
                    setup=f"platform {platform.upper()}, {prices.model.name} W8A8, context {CONTEXT}",
                    metric="decode",
                    unit="tokens/s",
                    published=float(printed),
                    simulated=tokens_per_s(prices),
                    source=SOURCE,
                    note=note,
                )


def _range(printed: str) -> str:
    """What a figure of one decimal stands for."""
    return f"{float(printed) - 0.05:.2f} to {float(printed) + 0.05:.2f}"


def share_rows() -> Iterable[Row]:
    for platform, published in (("s", 0.355), ("l", 0.357)):
        yield Row(
            system="cambricon",
            setup=f"platform {platform.upper()}, one page computed and one read",
            metric="share in flash",
            unit="1",
            published=published,
            simulated=float(published_rounds(platform).request_share),
            source=SOURCE + ", the ends of its range",
        )
    yield Row(
        system="cambricon",
        setup="platform L, the largest share of the platforms",
        metric="channel time of rounds",
        unit="%",
        published=6,
        simulated=100 * float(published_rounds("l").channel_share),
        source=SOURCE + ": at most",
        note=WIDER,
    )


def other_rows() -> Iterable[Row]:
    base = pricer("s", "opt-6.7b")
    narrow = StepPricer(with_four_bits(base.device), base.model, W4A16)
    yield Row(
        system="cambricon",
        setup="platform S, OPT-6.7B, W4A16 over W8A8",
        metric="speed-up",
        unit="x",
        published=1.853,
        simulated=tokens_per_s(narrow) / tokens_per_s(base),
        source=SOURCE,
        note=KEEPS_UP,
    )
    yield Row(
        system="cambricon",
        setup="platform S, OPT-6.7B, FlexGen on a drive over it",
        metric="bytes moved",
        unit="x",
        published=9.7,
        simulated=2 * base.weight_bytes / moved_bytes(base),
        source=SOURCE + ": 9.7 to 11.6",
        note=CROSSINGS,
    )


def rows() -> Iterable[Row | LeftOut]:
    yield from speed_rows()
    yield from share_rows()
    yield from other_rows()
    yield LeftOut("accuracy under bit errors", "the weights of the models")
    yield LeftOut("FlexGen, MLC-LLM and the price of a system", "the machines that were measured, which the source does not name")
