"""A request on its way through a replica, and the queue where it waits."""

from __future__ import annotations

from array import array
from collections import deque


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


class Queue:
    """Waiting requests of one replica. A fresh arrival is only an index, until somebody looks at it."""

    __slots__ = ("_arrived", "_front", "_output", "_prompt", "length", "most")

    def __init__(self, prompt: array, output: array) -> None:
        self._prompt, self._output = prompt, output
        self._front: deque[Request] = deque()
        self._arrived: deque[int] = deque()  # behind _front
        self.length = self.most = 0

    def append(self, index: int) -> None:
        """A request arrives."""
        self._arrived.append(index)
        self._longer()

    def push_front(self, request: Request) -> None:
        """A preempted request comes back."""
        self._front.appendleft(request)
        self._longer()

    def _longer(self) -> None:
        self.length += 1
        if self.length > self.most:
            self.most = self.length

    def peek(self, position: int) -> Request | None:
        """The request at ``position``, or None behind the last one."""
        front = self._front
        while position >= len(front):
            if not self._arrived:
                return None
            index = self._arrived.popleft()
            front.append(Request(index, self._prompt[index], self._output[index]))
        return front[position]

    def remove(self, request: Request) -> None:
        """A request is admitted; O(1) at the head."""
        if self._front[0] is request:
            self._front.popleft()
        else:
            self._front.remove(request)
        self.length -= 1
