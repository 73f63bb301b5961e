"""A NAND part small enough to be filled page by page."""

from __future__ import annotations

from memsys.nand_part import NandPart, load_nand


def small_nand(**sizes: int) -> NandPart:
    """The NAND of InstAttention's drive with 4 channels of 2 planes of 8 blocks of 16 pages, or with other ``sizes``."""
    data = load_nand("instattention").model_dump(by_alias=True, exclude_none=True)
    small = {"name": "small", "channels": 4, "chips": 1, "dies": 1, "planes": 2, "blocks": 8, "pages": 16}
    return NandPart.from_data(data | small | sizes)
