"""A request on its way through a replica."""

from __future__ import annotations


class Request:
    """One request: ``prompt`` tokens in, ``output`` tokens out. ``index`` is its place in the trace.

    ``emitted`` counts the output tokens so far (of a decoding request: as of the moment it joined). ``target`` is how many tokens
    its prefill computes: the prompt, and after a preemption also what it had emitted. ``prefilled`` counts those that are done.
    """

    __slots__ = ("emitted", "finish_step", "index", "last_ps", "output", "prefilled", "prompt", "serial", "target")

    def __init__(self, index: int, prompt: int, output: int) -> None:
        self.index = index
        self.prompt = self.target = prompt
        self.output = output
        self.emitted = self.prefilled = 0
        self.serial = 0  # of its membership among the decodes; 0: none
        self.finish_step = 0  # decode iteration of the replica after which it ends
        self.last_ps = 0  # when it emitted its last token outside decode iterations

    @property
    def rest(self) -> int:
        """Tokens left to prefill."""
        return self.target - self.prefilled

    def __repr__(self) -> str:
        return f"Request({self.index}, prompt={self.prompt}, output={self.output}, emitted={self.emitted})"
