"""Drive as measured: flash storage of which only rates of random reads are known, with all the software in front of it.

With r_1 < r_2 < ... the measured sizes of reads and v_i the rates of many reads at a time, one read takes of the drive's time

    t(r_i) = r_i / v_i        between two sizes in proportion        t(n) = t(r_1) below r_1
    t(n) = t(r_last) + (n - r_last) / sequential                     above r_last

so that the rate n / t(n) tends to the sequential one. `memsys.ssd` derives rates from NAND, link and queue depth in its place; it
has no operating system in front of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from accel.base.clock import PS_PER_US, bytes_to_ps, scale_up
from accel.base.extent import larger, smaller
from accel.base.quantity import Bytes, MBytesPerSecond
from accel.base.spec import Spec
from accel.base.tech import SourceClass
from memsys.base import Memory


class _RandomReads(Spec):
    """Rate of random reads of one size."""

    chunk: Bytes
    """Bytes of one read."""
    rate: MBytesPerSecond
    """What many reads of that size reach."""


class MeasuredDrive(Memory):
    """Flash storage by measured rates; ``bandwidth`` is that of long sequential reads."""

    in_place: ClassVar[bool] = False

    random_reads: tuple[_RandomReads, ...] = Field(min_length=1)
    """Measured rates by size of the read, in rising order."""
    source_class: SourceClass
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> MeasuredDrive:
        for point, following in zip(self.random_reads, self.random_reads[1:], strict=False):
            if following.chunk <= point.chunk or following.rate < point.rate:
                raise ValueError(
                    f"random_reads: wanted larger reads at rates that do not fall, got {following.chunk} B at "
                    f"{following.rate} MB/s after {point.chunk} B at {point.rate} MB/s"
                )
            if bytes_to_ps(following.chunk, following.rate) < bytes_to_ps(point.chunk, point.rate):
                raise ValueError(
                    f"random_reads: wanted a read of {following.chunk} B to take no less time than one of {point.chunk} B, "
                    f"got {following.rate} MB/s after {point.rate} MB/s"
                )
        if self.random_reads[-1].rate > self.bandwidth:
            raise ValueError(
                f"random_reads: wanted at most the {self.bandwidth} MB/s of sequential reads, "
                f"got {self.random_reads[-1].rate} MB/s"
            )
        return self

    def read_ps(self, nbytes: Any) -> Any:
        """Picoseconds of the drive's time that one of many random reads of ``nbytes`` above zero takes (int or int64 array)."""
        first = self.random_reads[0]
        taken = bytes_to_ps(first.chunk, first.rate)
        for point, following in zip(self.random_reads, self.random_reads[1:], strict=False):
            width = following.chunk - point.chunk
            more = bytes_to_ps(following.chunk, following.rate) - bytes_to_ps(point.chunk, point.rate)
            taken = taken + scale_up(smaller(larger(nbytes - point.chunk, 0), width), more, width)
        return taken + bytes_to_ps(larger(nbytes - self.random_reads[-1].chunk, 0), self.bandwidth)

    def read_mb_per_s(self, chunk_bytes: Any) -> Any:
        """What random reads of ``chunk_bytes`` reach, MB/s, rounded to the nearest."""
        taken = self.read_ps(chunk_bytes)
        return (chunk_bytes * PS_PER_US + taken // 2) // taken
