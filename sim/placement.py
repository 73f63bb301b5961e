"""Placement: which unit executes which op, where tensors live, what is fused, and how GEMMs are mapped."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from accel.base.mapping import Mapping
from accel.base.spec import Spec, chosen_by_kind
from sim.offloads.base import Offload
from workloads.ops import Op

AnyOffload = chosen_by_kind(Offload, "offload", "sim.offloads")
Fusible = Literal["quantize", "table_precompute", "dequantize", "convert"]


class Placement(Spec):
    """Names of units and memories of the device.

    A dotted key places one role (``"linear.lm_head" = "tensor"``) or one function (``"pointwise.convert" = "output"``).
    """

    linear: str
    attention: str
    pointwise: str
    table_precompute: str | None = None
    roles: dict[str, str] = Field(default_factory=dict)
    weights: str
    kv: str
    activations: str
    fuse: tuple[Fusible, ...] = ("quantize", "dequantize", "convert", "table_precompute")
    mapping: Mapping | Literal["search"] = "search"
    fused_projections: bool = True
    offload: AnyOffload | None = None
    """How tensors that lie elsewhere than in main memory are worked with (`sim.offloads`)."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Dotted keys become ``roles``; a device with one memory names it once, as ``memory``."""
        if not isinstance(data, dict):
            return data
        plain = {k: v for k, v in data.items() if "." not in k}
        dotted = {k: v for k, v in data.items() if "." in k}
        if dotted:
            plain["roles"] = {**plain.get("roles", {}), **dotted}
        memory = plain.pop("memory", None) or plain.get("weights")
        for tensor in ("weights", "kv", "activations"):
            if memory is not None:
                plain.setdefault(tensor, memory)
        return plain

    def unit_of(self, op: Op) -> str | None:
        """The name of the unit that executes ``op``: by role, else by function, else by kind. None where nothing is said."""
        keys = (f"{op.kind}.{op.role}", f"{op.kind}.{getattr(op, 'function', '')}")
        return next((self.roles[key] for key in keys if key in self.roles), None) or getattr(self, op.kind, None)

    def units_named(self) -> dict[str, str]:
        """Every unit that is named, by the key that names it."""
        named = {k: getattr(self, k) for k in ("linear", "attention", "pointwise", "table_precompute")}
        return {k: v for k, v in {**named, **self.roles}.items() if v is not None}
