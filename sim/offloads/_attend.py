"""Equal commands to attend, all submitted at once to one idle drive: when the last of them ends, in closed form.

With L the latency of the link, `first` that of the first page, command j = 0 .. n - 1 passes these, each in turn:

    in        a_j = 4 L + (j + 1) in + L              trips of NVMe; the drive asks for q, k and v
    flash     r_j = a_0 + j max(in, flash) + pages    channels go on with the next command while the first page is on its way
    engine    f_j = max(max(p_j, f_(j-1)) + engine, r_j)        from its first page on, p_j = a_0 + j max(in, flash) + first
    out       the same way back, L

All are sums and maxima of what is linear in j, so that the last command is decided at one end or the other of the queue. Commands
that find no slot of the submission queue begin where another ends: n / depth times the latency of one is a bound from below, and
is reached at a depth of 1. `memsys.drive` plays the same commands one by one.
"""

from __future__ import annotations

from typing import Any

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from memsys.ssd import TRIPS_TO_START, Ssd


def attend_ps(
    drive: Ssd, commands: int, pages: Any, engine_ps: Any, in_ps: int, out_ps: int, read_mb_per_s: int | None = None
) -> Any:
    """Picoseconds of ``commands`` that each read ``pages`` (int or int64 array) and occupy the link's two ways for ``in_ps`` and
    ``out_ps``, and the engine for ``engine_ps``. Pages come no faster than ``read_mb_per_s``, where that is measured."""
    latency, more = drive.link.latency, commands - 1
    on_channel = ceil_div(pages, drive.nand.channels)
    flash_ps, first = drive.pages_ps(on_channel), (on_channel > 0) * drive.flash_ps(1)
    following = drive.pages_ps(larger(on_channel - 1, 0))
    if read_mb_per_s is not None:
        measured_ps = bytes_to_ps(pages * drive.nand.page_bytes, read_mb_per_s)
        flash_ps, following = larger(flash_ps, measured_ps), larger(following, measured_ps)
    arrived = (TRIPS_TO_START + 2) * latency + in_ps
    ready = arrived + first + following
    done = larger(arrived + first + engine_ps, ready)
    last = larger(arrived + first + commands * engine_ps, arrived + more * larger(in_ps, flash_ps) + first + engine_ps)
    last = larger(last, larger(ready + more * engine_ps, ready + more * larger(in_ps, flash_ps)))
    queued = larger(done + commands * out_ps, last + out_ps) + latency
    return larger(queued, ceil_div(commands, drive.queue_depth) * (done + out_ps + latency))
