"""RTL of the DRAM controller of a channel: the rules S1 to T10 of `memsys.reference`, equal in every command and cycle.

Everything follows from a `memsys.part.Part` (sizes, and by `memsys.constraints` every timing counter) and the parameters of a
`memsys.reference.controller.Controller`; no timing is written here. Data themselves do not pass: a request has an ``id``, and the
controller says in which cycle the data of which id cross the data bus.

**Ports** of the component (`ports` has their layouts):

=================  ==============================================================================================
``requests``       stream of bursts: ``write``, ``place`` (bank, group, rank, pseudo channel), ``row``, ``column`` (in bursts) and
                   ``id``. ``ready`` depends on the payload (T10), never on ``valid``
``commands[i]``    the command bus, or of two [0] for column and [1] for row commands: ``valid``, ``command``, ``place``,
                   ``row`` of an ACT, ``column`` and ``id`` of a column command. A command of several cycles is seen in its
                   first; PREA and REFAB go to the rank of ``place``
``data[i]``        data bus of a pseudo channel: ``start`` (valid, write, id) in the first cycle of a burst, when a write's data
                   are driven and a read's are caught; ``done`` in the cycle after its last
=================  ==============================================================================================

**Pipeline.** Cycle t of the specification is one clock cycle, from registers over the decision to registers. Commands leave
through a register: what is decided in t is on the bus in t + `LATENCY`, and CL and CWL count from there.

**Rules to logic.**

========  ============  =========================================================================================
S1, T6    `queue`       A request keeps its place; a matrix says who is older (`order`), and a flag of each whether it is a hit.
                        A flag is corrected when its bank opens or closes, so that no row is compared in T6. What a request
                        may do is looked up by its bank, one-hot. Both queues choose before it is known which is served
S2, S3    `banks`       A bank has its row and the one request it can hold; a matrix over the banks is the order of H
S4        `timing`      Counters that commands start, and beside them flags that stand while a rule forbids. Ready: none stands
S5        `order`       A saturating counter for each list, cleared when its first leaves; urgent when it is full
T1, T5    `refresh`     One timer; for each rank what it owes, the refresh of the next cycle counted one ahead, so that nothing
                        is added in the cycle itself; with per-bank refresh a ring of its banks
T2, T8    `channel`     The queue served and the choice: multiplexers behind the oldest offers
T3, T4    `banks`       Held requests of the kind of the first; the oldest whose bank is ready
T7        `queue`       A hit is alone in its row when no two bits of its bank's hits stand; held: no hit in its bank
T9        `channel`     The bank of each command, one-hot, back to all of these; `data_bus` is a line of cycles
T10       `queue`       The address of the request is compared with all waiting requests and the held one of its bank
========  ============  =========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memsys.part import Part
from memsys.reference.controller import Controller

if TYPE_CHECKING:
    from amaranth.lib import wiring

LATENCY = 1
"""Cycles from a decision to the command on its bus."""


@dataclass(frozen=True)
class ChannelController:
    """The controller of one channel of ``part``. ``id_bits``: requests under way have different ids.

    Raises ValueError where the controller does not fit the part (`Controller.check`), or ``id_bits`` are too few.
    """

    part: Part
    controller: Controller = field(default_factory=Controller)
    id_bits: int = 8

    def __post_init__(self) -> None:
        self.controller.check(self.part)
        waiting = 2 * self.controller.depth + min(self.controller.held, self.part.banks_per_channel)
        if 1 << self.id_bits < waiting:
            raise ValueError(
                f"id_bits: wanted at least {(waiting - 1).bit_length()}, as {waiting} requests wait, got {self.id_bits}"
            )

    @classmethod
    def kind(cls) -> str:
        """Its name in messages."""
        return "dram_controller"

    def component(self) -> wiring.Component:
        """The hardware (`memsys.controller.channel.ChannelRtl`)."""
        from memsys.controller.channel import ChannelRtl  # the simulator reads the class without the time to load Amaranth

        return ChannelRtl(self.part, self.controller, self.id_bits)
