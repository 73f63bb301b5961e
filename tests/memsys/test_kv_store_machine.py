"""Whatever is written, ended, reclaimed or lost: does every page read back as what was written, or is its loss known?"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from small_nand import small_nand

from memsys.kv_store import DriveFull, KvLayout, KvStore, LostTokens

TABLE = {"page_bytes": 4096, "layers": 2, "heads": 2, "head_dim": 128, "sequences": 6, "context": 96, "copy_channels": 64}
LAYOUT = KvLayout.from_data(TABLE)
LAYERS = range(LAYOUT.layers)


class Model:
    """A store of a few blocks beside what one knows of it: how many tokens there are, and which were lost."""

    def __init__(self, *, by_task: bool, blocks: int, pages: int, buffer: int) -> None:
        part = small_nand(channels=2, planes=2, blocks=blocks, pages=pages)
        size = buffer * LAYOUT.page_tokens * LAYOUT.token_bytes
        self.store = KvStore(part, LAYOUT, by_task=by_task, buffer_bytes=size, spare_permille=200)
        self.tasks: dict[int, int] = {}
        self.length: Counter[tuple[int, int]] = Counter()
        self.lost: Counter[tuple[int, int]] = Counter()
        self.refused = 0

    def append(self, sequence: int, layer: int, tokens: int) -> None:
        """Two sequences are a task; one that is not open is opened."""
        if sequence not in self.tasks:
            self.store.open(sequence, sequence // 2)
            self.tasks[sequence] = sequence // 2
            for each in LAYERS:
                self.length[sequence, each] = self.lost[sequence, each] = 0
        at = sequence, layer
        held, tokens = self.length[at], min(tokens, LAYOUT.context - self.length[at])
        if not tokens:
            return
        try:
            self.store.append(sequence, layer, tokens)
            self.length[at] += tokens
        except DriveFull:
            self.refused += 1
            self.length[at] = self.store.length(sequence, layer)
            assert held <= self.length[at] <= held + tokens

    def end(self, task: int) -> None:
        if task in self.tasks.values():
            self.store.end(task)
        self.tasks = {sequence: its for sequence, its in self.tasks.items() if its != task}

    def lose_power(self) -> None:
        for lost in self.store.power_loss():
            at = lost.sequence, lost.layer
            assert lost.first + lost.tokens == self.length[at]
            self.lost[at], self.length[at] = self.length[at], lost.first
        assert self.store.buffered_bytes == 0

    def check(self) -> None:
        """Every token is found on a page that says it holds it, or is known to be lost."""
        self.store.verify()
        for sequence in self.tasks:
            for layer in LAYERS:
                at = sequence, layer
                assert self.store.length(*at) == self.length[at]
                for token in range(self.length[at]):
                    self.store.locate(*at, token % 2, ("key", "value")[token // 2 % 2], token)
                for token in range(self.length[at], self.lost[at]):
                    with pytest.raises(LostTokens):
                        self.store.locate(*at, 0, "key", token)
                self.store.dense_pages(*at)
                self.store.sparf_pages(*at, 1, {0, 127}, {0, self.length[at] - 1} if self.length[at] else set())


class Drive(RuleBasedStateMachine):
    @initialize(
        by_task=st.booleans(), blocks=st.integers(3, 12), pages=st.sampled_from([2, 4]), buffer=st.sampled_from([1, 2, 6])
    )
    def begin(self, **sizes):
        self.model = Model(**sizes)

    @rule(sequence=st.integers(0, 5), tokens=st.integers(1, 96))
    def prefill(self, sequence, tokens):
        for layer in LAYERS:
            self.model.append(sequence, layer, tokens)

    @rule(layer=st.integers(0, 1), tokens=st.integers(1, 8))
    def decode(self, layer, tokens):
        for sequence in list(self.model.tasks):
            self.model.append(sequence, layer, tokens)

    @rule(task=st.integers(0, 2))
    def end(self, task):
        self.model.end(task)

    @rule()
    def lose_power(self):
        self.model.lose_power()

    @invariant()
    def all_is_found(self):
        if hasattr(self, "model"):
            self.model.check()


Drive.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDrive = Drive.TestCase


@pytest.mark.parametrize("by_task", [True, False])
def test_a_long_life_meets_everything(by_task):
    """Random commands until reclaim has moved pages, tails went out early, and drives were full."""
    seen: Counter[str] = Counter()
    for seed in range(8):
        rng = random.Random(seed)
        model = Model(by_task=by_task, blocks=rng.randint(6, 14), pages=4, buffer=rng.choice((1, 2, 6)))
        for _ in range(150):
            drawn = rng.random()
            if drawn < 0.9:
                model.append(rng.randrange(6), rng.randrange(2), rng.choice((1, 3, 8, 40)))
            elif drawn < 0.98:
                model.end(rng.randrange(3))
            else:
                model.lose_power()
            model.check()
        wear = model.store.wear
        seen.update(moved=wear.pages_moved, partial=wear.pages_partial, erased=wear.erases, refused=model.refused)
    assert min(seen[what] for what in ("partial", "erased", "refused")) > 0
    assert by_task or seen["moved"] > 0
