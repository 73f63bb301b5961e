"""FFN neurons as offloads see them: matrices that hold them, predictors that choose among them, the profile that they follow."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_validator

from sim.errors import BadInput
from sim.offloads.base import Offload
from sim.work import Work
from workloads import sparsity
from workloads.ops import FP16, Linear, Op
from workloads.sparsity import Sparsity, SparsityError

if TYPE_CHECKING:
    from sim.lowering import Stage
    from sim.system import Device
    from workloads.model import Precision, Transformer

ENTRY, DOWN = ("gate_up", "up"), "down"  # roles of the FFN's matrices; a gate of its own is refused
PROMPT = "the rest of an FFN that prompts stream"
"""What neurons that come and go need room for besides those that stay."""


class ByNeuron(Offload):
    """FFN neurons in ``placement.weights``, a drive, of which a profile of activity says how many a step reads."""

    main: str
    """The memory in which all else lies, and from which units work."""
    profile: str
    """Activation sparsity of the model: a file of workloads/sparsity_profiles."""
    activity: Literal["profile", "least", "most"] = "profile"
    """How much of what tokens use is to be read: as the profile says, as little as can be, or all."""

    @field_validator("profile")
    @classmethod
    def _known(cls, name: str) -> str:
        sparsity.load(name)
        return name

    @property
    def sparsity(self) -> Sparsity:
        """The profile itself."""
        return sparsity.load(self.profile)

    def ends(self) -> dict[str, Self]:
        return {end: self.model_copy(update={"activity": end}) for end in ("least", "most")}

    @abstractmethod
    def held(self, model: Transformer, precision: Precision) -> dict[str, int]:
        """Bytes of weights in ``main``, by what they are."""

    def held_bytes(self, model: Transformer, precision: Precision) -> int:
        return sum(self.held(model, precision).values())

    def takes(self, op: Op) -> bool:
        return isinstance(op, Linear)

    def weights_read(self, work: Work, device: Device) -> int:
        return work.events[device.placement.weights, "read_byte"] + work.events[self.main, "read_byte"]

    def weights_wanted(self, nbytes: int) -> int:
        """The share that one token uses: attention, which is read whole, is more."""
        return nbytes * self.sparsity.used(1) // sparsity.WHOLE


def matrices(op: Linear) -> int:
    """Matrices with a row or column for each neuron of the FFN that ``op`` enters: up, down, and the gate fused with up."""
    return 3 if op.role == "gate_up" else 2


def neurons(op: Linear) -> int:
    """Neurons of the FFN that ``op`` enters."""
    return op.n // (matrices(op) - 1)


def entering(down: Linear, gated: bool) -> Linear:
    """The first matrix of the FFN that ``down`` ends."""
    return replace(down, role="gate_up" if gated else "up", n=(2 if gated else 1) * down.k, k=down.n)


def ending(entry: Linear) -> Linear:
    """The last matrix of the FFN that ``entry`` enters."""
    return replace(entry, role=DOWN, n=entry.k, k=neurons(entry))


def ffn_bytes(model: Transformer, precision: Precision) -> int:
    """Bytes of the FFNs of all blocks."""
    shapes = model.projections().items()
    return model.layers * sum(precision.weights.nbytes(n * k) for role, (n, k) in shapes if role in (*ENTRY, DOWN))


def predictor_bytes(model: Transformer, profile: Sparsity) -> int:
    """Bytes of the predictors of all blocks, in FP16."""
    return model.layers * FP16.nbytes(profile.mean_rank * (model.hidden + model.ffn))


def predictors(stage: Stage, profile: Sparsity, unit: str, streamed: Any) -> list[Stage]:
    """The two GEMMs that say which neurons of the FFN that ``stage`` enters are used, on ``unit``.

    They have no rows where all neurons are ``streamed`` (1, else 0).
    """
    op = stage.op
    assert isinstance(op, Linear)
    shape = {"role": "predictor", "m": op.m * (1 - streamed), "activations": op.activations}
    down = Linear(n=profile.mean_rank, k=op.k, **shape)
    up = Linear(n=neurons(op), k=profile.mean_rank, **shape)
    return [replace(stage, op=gemm, unit=unit, fused=()) for gemm in (down, up)]


def check_unit(device: Device, where: str, name: str, model: Transformer, precision: Precision, *, predicts: bool) -> None:
    """Raise BadInput, for the key ``where``, if unit ``name`` takes no FFN of ``model``, or no predictor if it ``predicts``."""
    op = Linear(m=1, n=model.ffn, k=model.hidden, weights=precision.weights, activations=precision.activations)
    for what, each in (("neurons", op), ("predictors", replace(op, weights=FP16)))[: 1 + predicts]:
        try:
            device.units[name].unit.check(each)
        except ValueError as error:
            raise BadInput(f"{device.name}: {where}: wanted a unit for {what}, got {name!r}: {error}") from None


def check_profile(device: Device, kind: str, profile: Sparsity, model: Transformer) -> None:
    """Raise BadInput where the profile is of another model, or gate and up of a neuron are not read together."""
    try:
        profile.check(model)
    except SparsityError as error:
        raise BadInput(f"{device.name}: placement.offload.profile: {error}") from None
    if model.gated and not device.placement.fused_projections:
        raise BadInput(
            f"{device.name}: placement.fused_projections: {kind} wanted true, since gate and up of a neuron are read together, "
            f"got false with {model.name}"
        )
