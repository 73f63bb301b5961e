"""Memory: capacity, peak bandwidth and the events of an access."""

from __future__ import annotations

from typing import Any, ClassVar

from accel.base.clock import bytes_to_ps
from accel.base.quantity import Bytes, MBytesPerSecond
from accel.base.spec import Spec
from accel.base.tech import Entry


class Memory(Spec):
    """What stores tensors: its capacity and its peak bandwidth.

    Each byte read or written is one event of the energy ledger. An analytical unit states what its kernels reach of the peak, the
    memory's losses included; streams of proved units reach ``stream_permille``. So no loss is counted twice.
    """

    events: ClassVar[tuple[str, ...]] = ("read_byte", "write_byte")
    in_place: ClassVar[bool] = True
    """Whether single bytes are written where they are; False where whole pages are programmed, as flash is."""

    capacity: Bytes
    bandwidth: MBytesPerSecond

    def time_ps(self, nbytes: Any) -> Any:
        """Picoseconds that ``nbytes`` (int or int64 array) take at peak bandwidth, rounded up once."""
        return bytes_to_ps(nbytes, self.bandwidth)

    def carried_ps(self, read: Any, written: Any) -> Any:
        """Picoseconds for which so many bytes read and written keep the memory busy at its peak: they share the bandwidth."""
        return self.time_ps(read + written)

    def cell_events(self, read: Any, written: Any) -> dict[str, Any]:
        """What so many bytes (ints or int64 arrays) of a stream do besides, by event: whole pages of flash, nothing of DRAM."""
        return {}

    @property
    def copies(self) -> int:
        """Equal parts, such as drives, for one of which static power is stated."""
        return 1

    @property
    def stream_permille(self) -> int:
        """Share of the peak that a long sequential stream reaches."""
        return 1000

    def entries(self) -> tuple[Entry, ...]:
        """Energy and power that follow from what is known of the memory itself; a design's technology gives the rest."""
        return ()
