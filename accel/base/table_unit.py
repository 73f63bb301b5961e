"""What the unit that makes half tables and the unit that looks them up must agree on."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from accel.base.half_table import CODE_BITS, entry_bits, table_fields
from accel.base.unit import RtlUnit


class TableUnit(RtlUnit):
    """A unit that half tables of INT8 or FP16 activations leave or enter (`accel.base.half_table`)."""

    rows: int = Field(default=2, ge=1, le=8)
    """M: rows of activations side by side, each with a table of its own."""
    group: int = Field(default=4, ge=2, le=5)
    """K: activations per table."""
    table_bits: int | None = Field(default=None, ge=4)
    """Bits that entries for INT8 activations are rounded to, fewer than the exact ones, so that sums count in steps of the bits
    left out. None: exact (10 bits at K = 4)."""
    activations: Literal["int8", "fp16"] = "int8"
    """What tables are made of."""
    table: Literal["fp16", "int8"] | None = None
    """What tables of FP16 activations hold: FP16 (the default there), or INT8 with a power of two as the table's scale."""

    of_fp16: ClassVar[dict[str, str]] = {"table": "fp16"}
    """Parameters that have another default where activations are FP16."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        return {**cls.of_fp16, **data} if isinstance(data, dict) and data.get("activations") == "fp16" else data

    @model_validator(mode="after")
    def _tables_hold_what_activations_give(self) -> TableUnit:
        if self.activations == "fp16":
            if self.table is None:
                raise ValueError("table: wanted fp16 or int8 for fp16 activations, got none")
            if self.table_bits is not None:
                wanted = "int8 activations (fp16 ones have table = fp16 or int8)"
                raise ValueError(f"table_bits: wanted {wanted}, got {self.table_bits}")
        elif self.table is not None:
            raise ValueError(f"table: wanted fp16 activations (int8 ones have exact entries, or table_bits), got {self.table}")
        if self.table_bits is not None and self.table_bits >= entry_bits(self.group):
            wanted = f"fewer than the {entry_bits(self.group)} exact bits at group = {self.group} (leave it out to keep them)"
            raise ValueError(f"table_bits: wanted {wanted}, got {self.table_bits}")
        return self

    @property
    def rounded_to(self) -> int | None:
        """Bits that entries are rounded to, as a `TablePrecompute` says it; None keeps them exact, or in FP16."""
        return CODE_BITS if self.table == "int8" else self.table_bits

    @property
    def table_fields(self) -> tuple[int, int]:
        """How many fields a table travels in, and the bits of each."""
        return table_fields(self.group, self.rounded_to, self.activations)

    @property
    def entry_bits(self) -> int:
        """Bits of an entry as it travels."""
        return self.table_fields[1]
