"""PowerInfer-2 (arXiv 2406.06282 v3): Bamboo-7B in 4 bits on a OnePlus 12, in memory and with half of the FFN neurons on UFS.

Bamboo-7B has the shape of Mistral-7B; scales of 16 weights each make the 0.5 KB beside the 2 KB of weights in a row that the
paper gives. llama.cpp is all of the model on the CPU, half of the FFN faulted in page by page for every token.
"""

from __future__ import annotations

from collections.abc import Iterable

from accel.base.clock import PS_PER_S
from sim.experiment import load_model
from sim.offloads.neuron_clusters import NeuronClusters
from sim.offloads.weight_streaming import WeightStreaming
from sim.pricing import StepPricer
from sim.reproductions.base import LeftOut, Row
from sim.system import Device, load_device
from workloads.model import Precision

DESIGN, MODEL, CONTEXT = "phone_oneplus12", "mistral-7b", 576  # 64 prompt tokens, and half of the 1,024 new ones
FORMATS = Precision(weights="uint4:16")
TOLERANCE = 0.15
SOURCE = "PowerInfer-2, arXiv 2406.06282 v3, {}"
READS = (
    "the source's I/O is slower than its rates and hits say: 5 % of the 10 % of neurons in use, 8 KB each, are 17 MB a token, "
    "20 ms at 0.85 GB/s; with that cache and no pipeline it reaches 4.18 tokens/s, though: 239 ms, of which work takes 50 to 90. "
    "How many neurons are in use and how many reads are under way is not given. Reads that took three times as long, 60 ms a "
    "token, would give 11.4 tokens/s, and a speed-up of 24.8"
)
HOT = (
    "the planner's share of hot neurons is not published, 20 % is assumed: with 35 % there would be 19.9 tokens/s. Launches and "
    "synchronisation of CPU and NPU are left out"
)
FAULTS = "what the kernel reads ahead at a fault is not in the source: at 4 KB sequential (0.45 GB/s) it would be 0.25 tokens/s"


def tokens_per_s(device: Device) -> float:
    """Decode at batch 1."""
    return PS_PER_S / StepPricer(device, load_model(MODEL), FORMATS).step_ps(1, 1, (), 1, CONTEXT)


def clusters_of(device: Device, **changes: object) -> Device:
    """``device`` with other settings of its neuron clusters."""
    offload = device.placement.offload
    assert isinstance(offload, NeuronClusters)
    place = device.placement.model_copy(update={"offload": offload.model_copy(update=changes)})
    return device.model_copy(update={"placement": place})


def paged(device: Device) -> Device:
    """``device`` as llama.cpp uses it: the CPU alone, half of the FFN faulted in for every token."""
    model = load_model(MODEL)
    ffn = model.layers * 3 * FORMATS.weights.nbytes(model.hidden * model.ffn)
    linear = model.layers * model.block_weight_bytes(FORMATS) + FORMATS.lm_head.nbytes(model.vocab * model.hidden)
    offload = WeightStreaming(main="dram", resident_permille=1000 - 500 * ffn // linear, page="4 KiB")
    place = {"offload": offload, "linear": "cpu", "attention": "cpu"}
    return device.model_copy(update={"placement": device.placement.model_copy(update=place)})


def rows() -> Iterable[Row | LeftOut]:
    device = load_device(DESIGN)
    half, whole, faulted = (tokens_per_s(d) for d in (device, clusters_of(device, cached_permille=1000), paged(device)))
    for setup, metric, unit, published, simulated, where, note in (
        ("all in memory", "decode", "tokens/s", 20, whole, "figure 12", HOT),
        ("half of the FFN on flash", "decode", "tokens/s", 11.07, half, "figure 14", READS),
        ("half of the FFN on flash, llama.cpp", "decode", "tokens/s", 0.40, faulted, "figure 14", FAULTS),
        ("half of the FFN on flash", "speed-up over llama.cpp", "ratio", 27.8, half / faulted, "abstract", READS),
    ):
        yield Row(
            system="powerinfer_2",
            setup=f"Bamboo-7B, 4 bits, OnePlus 12, {setup}",
            metric=metric,
            unit=unit,
            published=published,
            simulated=simulated,
            source=SOURCE.format(where),
            note=note,
            tolerance=TOLERANCE,
        )
    yield LeftOut("TurboSparse-Mixtral-47B at 11.68 tokens/s", "a mixture of experts among the models, which are dense")
