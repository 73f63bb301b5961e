"""Routers: which replica serves an arriving request."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accel.base.spec import lookup

if TYPE_CHECKING:
    from sim.replica import Replica


class Router(ABC):
    """Assigns accepted requests, in order of arrival, to replicas."""

    def __init__(self, replicas: Sequence[Replica], seed: int) -> None:
        """``seed``: of whatever the router draws."""
        self.replicas = replicas

    @abstractmethod
    def choose(self, number: int) -> int:
        """Index of the replica for accepted request ``number`` (0, 1, ...); loads are those before iterations that end now."""

    @abstractmethod
    def next_for(self, replica: int, number: int) -> int:
        """A guess which of the requests from ``number`` on is the next one for ``replica``.

        It only sizes portions of work: too early costs time, too late is corrected by an interruption; results do not change.
        """


class RoundRobin(Router):
    """One after the other."""

    def choose(self, number: int) -> int:
        return number % len(self.replicas)

    def next_for(self, replica: int, number: int) -> int:
        return number + (replica - number) % len(self.replicas)


class LeastLoaded(Router):
    """The replica with the fewest requests, waiting and running; the first of them where several have as few."""

    def choose(self, number: int) -> int:
        return min(range(len(self.replicas)), key=lambda index: self.replicas[index].load)

    def next_for(self, replica: int, number: int) -> int:
        return number + len(self.replicas) - 1


class Random(Router):
    """Uniformly at random, by the seed."""

    def __init__(self, replicas: Sequence[Replica], seed: int) -> None:
        super().__init__(replicas, seed)
        self._draw = random.Random(seed)

    def choose(self, number: int) -> int:
        return self._draw.randrange(len(self.replicas))

    def next_for(self, replica: int, number: int) -> int:
        return number + len(self.replicas) - 1


ROUTERS: dict[str, type[Router]] = {"round_robin": RoundRobin, "least_loaded": LeastLoaded, "random": Random}


def make_router(name: str, replicas: Sequence[Replica], seed: int) -> Router:
    """The router called ``name``. Raises ValueError with the nearest right name."""
    return lookup(name, ROUTERS, "router")(replicas, seed)
