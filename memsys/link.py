"""Link: a point-to-point connection in closed form: PCIe to a drive or the host, NVLink between devices.

    time(n) = latency + ceil(wire(n) * 10^6 / bandwidth)        wire(n) = n + ceil(n / packet) * header

in picoseconds, bytes and MB/s, rounded up once. Bandwidth holds for each direction on its own. A link without ``packet`` has a
measured bandwidth, from which nothing more is taken. `memsys.drive.port` is the same link as SimPy resources.

PCIe: 8 (3.0), 16 (4.0) or 32 (5.0) GT/s per lane, 128b/130b coding; 5 to 7 doublewords of framing, sequence number, header and
LCRC for each packet (Intel AN 829, "Understanding PCI Express Throughput"), of which 6 are those of a 64-bit address.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from accel.base.clock import bytes_to_ps
from accel.base.committed import committed, read_committed
from accel.base.mapping import ceil_div
from accel.base.quantity import Bytes, Joules, MBytesPerSecond, Picoseconds
from accel.base.spec import Spec
from accel.base.tech import SourceClass


class Link(Spec):
    """Bandwidth of one direction, latency of one way, the headers of its packets, and joules per bit, each with its source."""

    name: str = "link"
    about: str = ""
    bandwidth: MBytesPerSecond
    """One direction, before headers."""
    latency: Picoseconds
    """One way, from the first bit in to the first bit out."""
    packet: Bytes | None = None
    """Largest payload of a packet; None: the bandwidth is one of payload."""
    header: Bytes | None = None
    """What a packet carries besides: framing, header, checksum."""
    source_class: SourceClass
    """Of bandwidth, latency and packets, the class of the least trusted; ``source`` tells them apart."""
    source: str = Field(min_length=1)
    energy: Joules
    """J per bit on the wire."""
    energy_class: SourceClass
    energy_source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _packets_whole(self) -> Link:
        if (self.packet is None) != (self.header is None):
            missing, given = ("packet", "header") if self.packet is None else ("header", "packet")
            raise ValueError(f"{missing}: wanted the bytes of one beside {given!r}, got none")
        return self

    def wire_bytes(self, nbytes: Any) -> Any:
        """Bytes on the wire for ``nbytes`` of payload (int or int64 array): payload and a header for each packet begun."""
        if self.packet is None or self.header is None:
            return nbytes
        return nbytes + ceil_div(nbytes, self.packet) * self.header

    def transfer_ps(self, nbytes: Any) -> Any:
        """Picoseconds for which ``nbytes`` of payload occupy one direction; latency apart."""
        return bytes_to_ps(self.wire_bytes(nbytes), self.bandwidth)

    def time_ps(self, nbytes: Any) -> Any:
        """Picoseconds until the last of ``nbytes`` of payload has arrived over an idle link: latency + transfer."""
        return self.latency + self.transfer_ps(nbytes)

    @property
    def payload_mb_per_s(self) -> int:
        """Bandwidth of payload in full packets, MB/s, rounded down."""
        if self.packet is None or self.header is None:
            return self.bandwidth
        return self.bandwidth * self.packet // (self.packet + self.header)

    def joules(self, nbytes: int) -> float:
        """J of moving ``nbytes`` of payload, headers included."""
        return self.wire_bytes(nbytes) * 8 * self.energy


def links() -> list[str]:
    """Names of the links known: the files of memsys/links."""
    return committed("memsys", "links")


@cache
def load_link(name: str) -> Link:
    """The link ``name``. Raises ValueError with the nearest right name where there is none."""
    return Link.from_data({"name": name, **read_committed("memsys", "links", name, "link")})


def _by_name(value: Any) -> Any:
    return load_link(value) if isinstance(value, str) else value


NamedLink = Annotated[Link, BeforeValidator(_by_name)]
"""A field that takes the name of a known link or the table of another."""
