"""Memory: capacity, peak bandwidth and the events of an access."""

from __future__ import annotations

from typing import Any, ClassVar

from accel.base.clock import bytes_to_ps
from accel.base.quantity import Bytes, MBytesPerSecond
from accel.base.spec import Spec


class Memory(Spec):
    """What stores tensors: its capacity and its peak bandwidth.

    Each byte read or written is one event of the energy ledger. What a kernel reaches of the peak is the kernel's matter (the
    efficiencies of analytical units), so that no loss is counted twice.
    """

    events: ClassVar[tuple[str, ...]] = ("read_byte", "write_byte")

    capacity: Bytes
    bandwidth: MBytesPerSecond

    def time_ps(self, nbytes: Any) -> Any:
        """Picoseconds that ``nbytes`` (int or int64 array) take at peak bandwidth, rounded up once."""
        return bytes_to_ps(nbytes, self.bandwidth)
