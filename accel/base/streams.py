"""Shared Amaranth parts: the event port.

Streams are Amaranth's own (`amaranth.lib.stream`) under one law: ``valid`` never waits for ``ready``, and a payload once valid
holds until it is taken.
"""

from __future__ import annotations

from amaranth.lib import data


def event_layout(**largest: int) -> data.StructLayout:
    """The layout of an ``events`` port: for each event the number that happen in a cycle, at most ``largest``."""
    return data.StructLayout({name: most.bit_length() for name, most in largest.items()})


def count_ones(bits):
    """How many of ``bits`` (a value) are set, by a tree of adders: of the enables of equal registers, an event's count."""
    half = len(bits) // 2
    return bits if half == 0 else count_ones(bits[:half]) + count_ones(bits[half:])
