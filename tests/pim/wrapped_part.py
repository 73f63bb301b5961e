"""Mutants of a part of a unit: the part inside a wrapper that passes all its ports through, but for what ``mutate`` changes."""

from typing import ClassVar

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, connect, flipped


class WrappedPart(Component):
    """``part`` is the class that is wrapped; of two drivers of a signal in one module, the later one wins."""

    part: ClassVar[type[Component]]

    def __init__(self, *parameters):
        self.inner = self.part(*parameters)
        super().__init__(self.inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        connect(m, flipped(self), self.inner)
        self.mutate(m, self.inner)
        return m

    def mutate(self, m, inner):
        raise NotImplementedError
