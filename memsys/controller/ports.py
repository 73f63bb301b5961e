"""What crosses the ports of the controller, and how its modules write a request down."""

from __future__ import annotations

from amaranth.lib import data

from memsys.part import Command, Part


def place_layout(part: Part) -> data.StructLayout:
    """A bank by its levels. As a number it is the bank's number in the channel: the sizes are powers of two."""
    o = part.organisation
    return data.StructLayout(
        {
            "bank": range(o.banks),
            "group": range(o.bank_groups),
            "rank": range(o.ranks),
            "pseudo_channel": range(o.pseudo_channels),
        }
    )


def entry_layout(part: Part, id_bits: int) -> data.StructLayout:
    """A request as the queues keep it, its bank as a number: a `request_layout` without its kind."""
    return data.StructLayout(
        {
            "id": id_bits,
            "column": range(part.bursts_per_row),
            "row": range(part.organisation.rows),
            "bank": range(part.banks_per_channel),
        }
    )


def request_layout(part: Part, id_bits: int) -> data.StructLayout:
    """One burst to read or to write. ``column`` counts bursts; ``id`` comes back with the data."""
    return data.StructLayout(
        {
            "id": id_bits,
            "column": range(part.bursts_per_row),
            "row": range(part.organisation.rows),
            "place": place_layout(part),
            "write": 1,
        }
    )


def command_layout(part: Part, id_bits: int) -> data.StructLayout:
    """One cycle of a command bus. ``row`` is that of an ACT, ``column`` and ``id`` those of a column command."""
    return data.StructLayout(
        {
            "valid": 1,
            "command": Command,
            "place": place_layout(part),
            "row": range(part.organisation.rows),
            "column": range(part.bursts_per_row),
            "id": id_bits,
        }
    )


def data_layout(id_bits: int) -> data.StructLayout:
    """One cycle of a data bus: ``start`` in the first cycle of a burst, ``done`` in the cycle after its last."""
    burst = data.StructLayout({"valid": 1, "write": 1, "id": id_bits})
    return data.StructLayout({"start": burst, "done": burst})
