"""Offload: how a device works with tensors that do not lie in its main memory: in storage, in the host, in flash dies.

A design names at most one, as ``[placement.offload]``. It takes some ops out of the hands of `sim.tiling`, and says of them what
`sim.tiling` and `sim.energy` say of all others: the time of a stage, and its work (events, cycles, bytes). It may also ship
something beside each block, such as new keys and values, while the next block computes:

    step = host + embed + block + (N - 1) max(block, background) + background + head

Bytes that cross a memory's link, or a bus to the compute die, are its events ``read_byte`` and ``write_byte``, as of any memory,
and never exceed its ``bandwidth``; what happens inside a drive or a die has event names of its own (pages read, programs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from accel.base.spec import Spec
from sim.timing import Timing
from sim.work import Work
from workloads.ops import Op

if TYPE_CHECKING:
    from sim.engine import Served
    from sim.lowering import Stage
    from sim.pricing import StepPricer
    from sim.system import Device
    from workloads.model import Precision, Transformer

Timer = Callable[["Stage", "Device"], Timing]
Worker = Callable[["Stage", "Device"], Work]


class Offload(Spec):
    """A way of offloading; one per file, ``kind`` is the file's name. The methods here are those of one that takes nothing.

    Everything is free of state: contexts and batches come as sums (`workloads.ops.Attention`), extents are ints or int64 arrays.
    """

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        """(units, memories) of the device that the offload's fields name, by the name of the field."""
        return {}, {}

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        """Raise `sim.errors.Infeasible`, with figures, where the model does not fit where this offload puts it."""

    def kv_token_bytes(self, nbytes: int) -> int:
        """Bytes that a token's keys and values of ``nbytes`` occupy in ``placement.kv``, copies of them included."""
        return nbytes

    def most_requests(self) -> int | None:
        """Requests whose keys and values may be stored at a time; None: as many as there is room for."""
        return None

    def longest(self, model: Transformer) -> int:
        """Tokens of the longest context that is served."""
        return model.max_context

    def held_bytes(self, model: Transformer, precision: Precision) -> int:
        """Bytes of weights, and of buffers of them, that this offload keeps in the memory of the KV cache."""
        return 0

    def takes(self, op: Op) -> bool:
        """Whether this offload times ``op`` and counts its work, in place of `sim.tiling` and `sim.energy`."""
        return False

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        """The time of a stage whose op it takes. ``own`` times any stage whose op it does not take, on any device."""
        raise TypeError(f"{self.kind()} takes no ops")

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        """Events, cycles and bytes of one execution of a stage whose op it takes; ``own`` as for `time`."""
        raise TypeError(f"{self.kind()} takes no ops")

    def background_ps(self, prefilled: int, decodes: int, shape: Mapping[str, Any], device: Device) -> int:
        """What ships beside each block of a step with ``prefilled`` new tokens of prompts and ``decodes`` decoding requests.

        ``shape`` holds the fields of `workloads.ops.Attention` but its sums. The work of it belongs to the attention stages.
        """
        return 0

    def weights_read(self, work: Work, device: Device) -> int:
        """Bytes of weights that ``work``, that of a whole run, has read wherever they lie; the run holds it against the law
        that every iteration reads all of them."""
        return work.events[device.placement.weights, "read_byte"]

    def weights_wanted(self, nbytes: int) -> int:
        """Bytes that must be read at least where a run without this offload would read ``nbytes``: fewer where some are
        skipped, or stay in a buffer."""
        return nbytes

    def account(self, work: Work, pricer: StepPricer, served: Served) -> dict[str, Any]:
        """Further metrics of a run whose ``work`` is this, on all replicas. Raises `sim.errors.CheckFailed` where a law of the
        offload's own does not hold."""
        return {}

    def ends(self) -> Mapping[str, Offload]:
        """This offload at either end of what data decide ("least", "most"), where its prices follow a profile of activity."""
        return {}
