"""What offloads of weights to flash share: reads of a drive, the way on to a device with memory of its own, checks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from memsys.link import Link
from sim.errors import BadInput, Infeasible
from sim.timing import Bytes
from sim.work import Work

if TYPE_CHECKING:
    from sim.system import Device
    from workloads.model import Precision, Transformer


def in_main_memory(device: Device, main: str) -> Device:
    """``device`` as if its weights lay in ``main``."""
    return device.model_copy(update={"placement": device.placement.model_copy(update={"weights": main, "offload": None})})


def check_places(device: Device, kind: str, main: str) -> None:
    """Raise BadInput where weights do not lie on a drive, or other tensors lie elsewhere than in ``main``."""
    place = device.placement
    drive = device.memories[place.weights]
    if not hasattr(drive, "read_mb_per_s"):
        raise BadInput(
            f"{device.name}: placement.weights: {kind} wanted weights on a drive (kind ssd or measured_drive), "
            f"got {place.weights!r} of kind {drive.kind()}"
        )
    for tensor in ("kv", "activations"):
        if getattr(place, tensor) != main:
            raise BadInput(
                f"{device.name}: placement.{tensor}: {kind} wanted {main!r}, its main memory, got {getattr(place, tensor)!r}"
            )


def check_link(device: Device, kind: str, main: str, host: str | None, link: Link | None) -> None:
    """Raise BadInput where a host's memory is named without the link from it, or a link without it, or one that is no host's."""
    if (host is None) != (link is None):
        missing, given = ("host", "link") if host is None else ("link", "host")
        raise BadInput(f"{device.name}: placement.offload.{missing}: {kind} wanted it beside {given!r}, got none")
    if host in (main, device.placement.weights):
        raise BadInput(f"{device.name}: placement.offload.host: {kind} wanted a memory between drive and {main!r}, got {host!r}")


def check_room(device: Device, main: str, parts: dict[str, int]) -> None:
    """Raise Infeasible, with the bytes of every one of ``parts``, where they do not fit together in ``main``."""
    budget = device.memories[main].capacity * device.memory_utilization_permille // 1000
    if sum(parts.values()) > budget:
        taken = ", ".join(f"{what} {nbytes / 1e9:.3f} GB" for what, nbytes in parts.items())
        raise Infeasible(
            f"{device.name}: {sum(parts.values()) / 1e9:.3f} GB of weights stay in memory {main!r} ({taken}), "
            f"which gives {budget / 1e9:.3f} GB ({device.memory_utilization_permille / 10:g} % of its capacity)"
        )


def random_read_ps(device: Device, nbytes: Any, chunk: int) -> Any:
    """Picoseconds in which the drives of the weights read ``nbytes`` in random reads of ``chunk`` bytes.

    Raises BadInput where so small ones reach less than 1 MB/s.
    """
    name = device.placement.weights
    drive: Any = device.memories[name]
    rate = int(drive.read_mb_per_s(chunk))
    if not rate:
        raise BadInput(f"{device.name}: wanted reads that memory {name!r} does at 1 MB/s or more, got reads of {chunk} B")
    return bytes_to_ps(nbytes, rate * getattr(drive, "drives", 1))


def count_read(done: Work, device: Device, nbytes: Any, chunk: int, into: str, *, streamed: Any = 0) -> None:
    """Add to ``done`` what reads of ``nbytes`` in chunks do, or in one where ``streamed`` is 1: bytes of the drive, its pages
    where it knows them, and their arrival in the memory ``into``."""
    name = device.placement.weights
    drive: Any = device.memories[name]
    add(done, name, "read_byte", nbytes)
    if hasattr(drive, "pages"):
        by_chunk = ceil_div(nbytes, chunk) * drive.pages(chunk)
        add(done, name, "page_read", by_chunk + (drive.pages(nbytes) - by_chunk) * streamed)
    add(done, into, "write_byte", nbytes)


def carried_ps(device: Device, read: Bytes, written: Bytes) -> Any:
    """Picoseconds that the busiest memory needs for so many bytes: what works beside one another takes no less."""
    memories = {**read, **written}
    return reduce(larger, (device.memories[name].carried_ps(read.get(name, 0), written.get(name, 0)) for name in memories))


def upload_ps(link: Link | None, nbytes: Any) -> Any:
    """Picoseconds of ``nbytes`` over ``link``, from the host's memory to that of the device; none without a link."""
    return 0 if link is None else link.transfer_ps(nbytes) + link.latency * (nbytes > 0)


def count_upload(done: Work, nbytes: Any, host: str, main: str) -> None:
    """Add to ``done`` the move of ``nbytes`` from ``host`` to ``main`` over the link between them; none where they are one."""
    if host != main:
        add(done, host, "read_byte", nbytes)
        add(done, host, "upload_byte", nbytes)
        add(done, main, "write_byte", nbytes)


def bytes_of(done: Work, event: str) -> Bytes:
    """What ``done`` has of ``event``, by memory."""
    return {component: count for (component, found), count in done.events.items() if found == event}


def sums(parts: Iterable[Bytes]) -> Bytes:
    """All of ``parts`` together, by memory."""
    total: Bytes = {}
    for part in parts:
        for memory, count in part.items():
            total[memory] = total.get(memory, 0) + count
    return total


def add(done: Work, component: str, event: str, count: Any) -> None:
    """Count ``count`` (int or array) more of an event."""
    done.events[component, event] = done.events[component, event] + count


def largest_matrix(model: Transformer, precision: Precision) -> int:
    """Bytes of the largest matrix of ``model``, head included."""
    blocks = max(precision.weights.nbytes(n * k) for n, k in model.projections().values())
    return max(blocks, precision.lm_head.nbytes(model.vocab * model.hidden))
