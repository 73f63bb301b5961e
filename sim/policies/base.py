"""Policy: what a replica does in its next iteration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from accel.base.spec import Spec

if TYPE_CHECKING:
    from sim.decodes import Decodes
    from sim.kv_cache import KVCache
    from sim.request import Request


class Batch(NamedTuple):
    """One iteration: prefill ``chunks`` as (request, tokens), and one token of every decoding request where ``decode``.

    A chunk of a queued request admits it. A batch that decodes while the blocks for that are not free must have no chunks; the
    engine then evicts the most recently admitted requests until they are.
    """

    chunks: Sequence[tuple[Request, int]]
    decode: bool


DECODE = Batch((), True)


class View(Protocol):
    """What a policy sees of its replica. It may change nothing."""

    decodes: Decodes
    """The decoding requests: ``count``, and ``demand()``, the blocks that their next iteration needs."""
    prefilling: list[Request]
    """Admitted requests with tokens left to prefill, in order of admission."""
    cache: KVCache
    """``free`` and ``total`` blocks, and ``growth(cached, new)``, the blocks that a chunk needs."""
    max_context: int
    """No request has more prompt and output tokens than this."""

    @property
    def running(self) -> int:
        """Admitted requests, decoding or prefilling."""
        ...

    def queued(self, position: int) -> Request | None:
        """The waiting request at ``position``, 0 being the head (preempted ones come first), or None behind the last one."""
        ...


class Policy(Spec):
    """A scheduling policy; one per file, ``kind`` is the file's name."""

    repeats: ClassVar[bool] = False
    """True promises: after a decode-only batch comes another one, until a request arrives, ends or is evicted; all that changes
    is that contexts grow and free blocks become fewer. The engine then commits many iterations as one event."""

    in_order: ClassVar[bool] = False
    """True promises in addition: while a queued or a partly prefilled request is held back, no later one overtakes it, so that
    an arrival behind it changes nothing."""

    @abstractmethod
    def next_batch(self, view: View) -> Batch | None:
        """The next iteration, or None to wait for the next arrival."""
