"""Trace: what is asked of a serving system, and when: arrival times, prompt and output lengths, optional prefix hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

import numpy as np

LONGEST = 10**7  # tokens; a hundred times the longest context served today, so that a larger length is a corrupt one
LATEST_PS = 9 * 10**18  # 104 days; picoseconds stay in int64


class TraceError(ValueError):
    """A trace that cannot be used: where (file and line), what was wanted, what was got."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``arrival_ps`` after the start of the trace, lengths in tokens, hashes of its prompt's blocks."""

    index: int
    arrival_ps: int
    prompt: int
    output: int
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Requests in order of arrival, as int64 arrays of one length.

    ``arrival_ps``: picoseconds since the start of the trace, never falling. ``prompt``, ``output``: tokens, at least 1 (output
    counts the token that the prefill yields). ``prefix``: for each request the hashes of its prompt's blocks of ``prefix_block``
    tokens, in order, the last one possibly partial; equal hashes mean equal prefixes up to there. ``source`` says where the trace
    is from. Raises `TraceError` where an array is malformed.
    """

    arrival_ps: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    prefix: Sequence[tuple[int, ...]] | None = field(default=None, repr=False)
    prefix_block: int = 0
    name: str = "trace"
    source: str = ""

    def __post_init__(self) -> None:
        limits = {"arrival_ps": (0, LATEST_PS), "prompt": (1, LONGEST), "output": (1, LONGEST)}
        for name, (least, most) in limits.items():
            given = np.asarray(getattr(self, name))
            if given.ndim != 1 or given.dtype.kind not in "iu":
                raise TraceError(f"{self.name}: {name}: wanted a 1-D array of integers, got {given.ndim}-D of {given.dtype}")
            bad = np.flatnonzero((given < least) | (given > most))
            if bad.size:
                raise TraceError(f"{self.name}: {name}[{bad[0]}]: wanted {least} to {most}, got {given[bad[0]]}")
            array = given.astype(np.int64)  # a copy: the caller's array stays its own
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        sizes = {name: getattr(self, name).size for name in limits}
        if self.prefix is not None:
            sizes["prefix"] = len(self.prefix)
            if self.prefix_block < 1:
                raise TraceError(f"{self.name}: prefix_block: wanted the tokens of one hashed block, got {self.prefix_block}")
        if len(set(sizes.values())) != 1:
            raise TraceError(f"{self.name}: wanted arrays of one length, got {sizes}")
        falls = np.flatnonzero(np.diff(self.arrival_ps) < 0)
        if falls.size:
            raise TraceError(f"{self.name}: arrival_ps[{falls[0] + 1}]: wanted times in order, got one before its predecessor")

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Trace:
        """A trace from a file of any known format; see `workloads.readers.read_trace`."""
        from workloads.readers import read_trace

        return read_trace(path)

    def write(self, path: str | PathLike[str]) -> None:
        """Write rtloom's CSV, all or nothing; see `workloads.readers.write_trace`."""
        from workloads.readers import write_trace

        write_trace(self, path)

    def __len__(self) -> int:
        return self.arrival_ps.size

    def __getitem__(self, part: slice) -> Trace:
        """The requests of a slice with a positive step, at their times."""
        if not isinstance(part, slice):
            raise TypeError(f"wanted a slice of requests, got {part!r}; single requests come from requests()")
        prefix = None if self.prefix is None else self.prefix[part]
        return replace(self, arrival_ps=self.arrival_ps[part], prompt=self.prompt[part], output=self.output[part], prefix=prefix)

    def head(self, count: int) -> Trace:
        """The first ``count`` requests, or all where there are fewer."""
        return self[: max(count, 0)]

    def requests(self) -> Iterator[Request]:
        """The requests one by one, as Python ints."""
        columns = zip(self.arrival_ps.tolist(), self.prompt.tolist(), self.output.tolist(), strict=True)
        for index, (arrival, prompt, output) in enumerate(columns):
            yield Request(index, arrival, prompt, output, () if self.prefix is None else tuple(self.prefix[index]))

    def without_prefix(self) -> Trace:
        """The same requests without their prefix hashes."""
        return replace(self, prefix=None, prefix_block=0)

    def digest(self) -> str:
        """SHA-256 over the requests (not the name): equal digests mean equal work."""
        state = hashlib.sha256()
        for array in (self.arrival_ps, self.prompt, self.output):
            state.update(array.tobytes())
        state.update(repr((self.prefix_block, None if self.prefix is None else [tuple(p) for p in self.prefix])).encode())
        return state.hexdigest()

    def overlong(self, limit: int, mode: Literal["error", "reject", "clip"]) -> tuple[Trace, dict[str, int]]:
        """The trace with every request's prompt + output within ``limit`` tokens, and how many were rejected or clipped.

        ``error`` raises `TraceError` on the first that is longer, ``reject`` drops them, ``clip`` shortens the prompt, down to
        one token, then the output. A clipped request keeps the hashes of the prompt blocks that it still fills.
        """
        if mode not in ("error", "reject", "clip"):
            raise TraceError(f"overlong: wanted error, reject or clip, got {mode!r}")
        if limit < 2:
            raise TraceError(f"overlong: wanted a limit of at least 2 tokens (prompt and output), got {limit}")
        long = self.prompt + self.output > limit
        found = np.flatnonzero(long)
        counts: dict[str, int] = {"rejected": 0, "clipped": 0}
        if not found.size:
            return self, counts
        if mode == "error":
            first = found[0]
            raise TraceError(
                f"{self.name}: request {first}: wanted prompt + output of at most {limit} tokens, got "
                f"{self.prompt[first]} + {self.output[first]} ({found.size} of {len(self)} are longer; reject or clip them)"
            )
        prefix: Any = self.prefix
        if mode == "reject":
            counts["rejected"] = int(found.size)
            keep = ~long
            if prefix is not None:
                prefix = [prefix[i] for i in np.flatnonzero(keep)]
            arrays = {name: getattr(self, name)[keep] for name in ("arrival_ps", "prompt", "output")}
            return replace(self, **arrays, prefix=prefix), counts
        counts["clipped"] = int(found.size)
        output = np.minimum(self.output, limit - 1)
        prompt = np.minimum(self.prompt, limit - output)
        if prefix is not None:
            prefix = list(prefix)
            for i in found.tolist():
                prefix[i] = prefix[i][: prompt[i] // self.prefix_block]
        return replace(self, prompt=prompt, output=output, prefix=prefix), counts
