"""Inter-token latencies: a histogram of bounded size over any number of samples, and who waits since when.

A gap of v ps falls into one of 4096 equal bins of its octave [2^(e-1), 2^e), so the middle of a bin is within 1/8192 (0.013 %) of
every sample in it. Bin numbers and counts are integers: the histogram is a function of the multiset of samples, in whatever
order and portions they were added.
"""

from __future__ import annotations

import numpy as np

from sim.errors import CheckFailed

BINS = 4096  # per octave
RELATIVE_ERROR = 1 / (2 * BINS)
_PORTION = 1 << 16  # samples held back until they are binned in one go


class GapHistogram:
    """Weighted gaps in ps. A gap counts once per request that waited for it."""

    __slots__ = ("_counts", "_held", "_run_weights", "_runs", "_values", "_weights")

    def __init__(self) -> None:
        self._counts = np.zeros(64 * BINS, np.int64)
        self._values: list[int] = []
        self._weights: list[int] = []
        self._runs: list[np.ndarray] = []
        self._run_weights: list[int] = []
        self._held = 0

    def add(self, gap_ps: int, weight: int) -> None:
        """``weight`` requests waited ``gap_ps`` for their next token."""
        self._values.append(gap_ps)
        self._weights.append(weight)
        if len(self._values) >= _PORTION:
            self._bin()

    def add_run(self, gaps_ps: list[int] | np.ndarray, weight: int) -> None:
        """``weight`` requests waited each of ``gaps_ps`` (an int64 array must not be modified afterwards) in turn."""
        if isinstance(gaps_ps, list):
            self._values += gaps_ps
            self._weights += [weight] * len(gaps_ps)
            return
        self._runs.append(gaps_ps)
        self._run_weights.append(weight)
        self._held += len(gaps_ps) + 16  # an array takes some room even when it is short
        if self._held >= _PORTION:
            self._bin()

    def _bin(self) -> None:
        values = np.concatenate([np.array(self._values, np.int64), *self._runs])
        if len(values) and values.min() <= 0:
            raise CheckFailed(f"every iteration must take more than 0 ps; the pricer returned {values.min()}")
        lengths = [len(run) for run in self._runs]
        weights = np.concatenate([np.array(self._weights, np.int64), np.repeat(np.array(self._run_weights, np.int64), lengths)])
        fraction, octave = np.frexp(values.astype(np.float64))  # fraction in [0.5, 1)
        bins = octave * BINS + ((2 * fraction - 1) * BINS).astype(np.int64)
        # float weights are exact: a portion's counts stay far below 2^53
        self._counts += np.bincount(bins, weights, len(self._counts)).astype(np.int64)
        self._values.clear()
        self._weights.clear()
        self._runs.clear()
        self._run_weights.clear()
        self._held = 0

    @property
    def count(self) -> int:
        """Number of samples, weights included."""
        self._bin()
        return int(self._counts.sum())

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """(middles in ps as float64, counts as int64) of the bins that hold samples, ascending."""
        self._bin()
        filled = np.flatnonzero(self._counts)
        octave, part = np.divmod(filled, BINS)
        return np.ldexp((BINS + part + 0.5) / (2 * BINS), octave), self._counts[filled]

    def percentiles(self, wanted: list[float]) -> list[float] | list[None]:
        """For each q in [0, 100] the sample of rank ceil(q/100 * count), in ps, within `RELATIVE_ERROR`; None without samples."""
        middles, counts = self.bins()
        if not len(counts):
            return [None] * len(wanted)
        ranks = np.cumsum(counts)
        at = np.searchsorted(ranks, [max(q / 100 * ranks[-1], 1) for q in wanted], side="left")
        return [float(v) for v in middles[np.minimum(at, len(middles) - 1)]]


class DecodeWaits:
    """Since when the decoding requests of a replica have waited for their next token, without touching any of them.

    Those that took part in the last decode iteration wait since its end. Others have joined since; they are counted by the time
    of their last token.
    """

    __slots__ = ("_gaps", "_joined", "_since")

    def __init__(self, gaps: GapHistogram) -> None:
        self._gaps = gaps
        self._since = 0  # end of the last iteration that decoded
        self._joined: dict[int, int] = {}  # later time of the last token -> how many

    def join(self, now: int) -> None:
        """A request emits a token at ``now`` and decodes from then on."""
        if now != self._since:
            self._joined[now] = self._joined.get(now, 0) + 1

    def leave(self, last_ps: int) -> int:
        """A request that emitted at ``last_ps`` before it joined is evicted; when it emitted its last token."""
        if last_ps > self._since:
            self._joined[last_ps] -= 1
            return last_ps
        return self._since

    def end(self, now: int, count: int) -> None:
        """All ``count`` decoding requests emit a token at ``now``."""
        for since, joined in self._joined.items():
            self._gaps.add(now - since, joined)
            count -= joined
        self._joined.clear()
        if count:
            self._gaps.add(now - self._since, count)
        self._since = now

    def end_run(self, start: int, durations: list[int] | np.ndarray, now: int, count: int) -> None:
        """``count`` requests have emitted a token after each of ``durations``, from ``start`` to ``now``."""
        if self._since != start or self._joined:  # for the first of these tokens some have waited longer
            self.end(start + int(durations[0]), count)
            durations = durations[1:]
        self._gaps.add_run(durations, count)
        self._since = now
