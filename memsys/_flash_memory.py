"""What memories of NAND share, drives or dies of the device's own: their part, its pages, what the totals may not pass."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator

from accel.base.mapping import ceil_div
from memsys.base import Memory
from memsys.nand_part import NandPart, load_nand


class FlashMemory(Memory):
    """Flash of one NAND part. Bytes count where they leave it or come; pages and blocks count apart, for whoever moves them."""

    events: ClassVar[tuple[str, ...]] = ("read_byte", "write_byte", "page_read", "page_program", "block_erase")
    in_place: ClassVar[bool] = False

    part: str
    """NAND, of one drive where there are drives, by name (`rtloom list parts`)."""

    @field_validator("part")
    @classmethod
    def _known(cls, name: str) -> str:
        load_nand(name)
        return name

    @property
    def nand(self) -> NandPart:
        """The part."""
        return load_nand(self.part)

    def pages(self, nbytes: Any) -> Any:
        """Pages that hold ``nbytes`` (int or int64 array) from the start of a page: they are read and programmed whole."""
        return ceil_div(nbytes, self.nand.page_bytes)

    def cell_events(self, read: Any, written: Any) -> dict[str, Any]:
        programs = self.pages(written)
        return {"page_read": self.pages(read), "page_program": programs, "block_erase": programs // self.nand.pages}

    def _at_most(self, capacity: int, bandwidth: int, what: str) -> None:
        """Raise ValueError where capacity or bandwidth are above those of ``what``."""
        for name, unit, got, most in (
            ("capacity", "B", self.capacity, capacity),
            ("bandwidth", "MB/s", self.bandwidth, bandwidth),
        ):
            if got > most:
                raise ValueError(f"{name}: wanted at most the {most} {unit} of {what}, got {got} {unit}")
