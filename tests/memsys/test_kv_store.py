"""Does the store write, find and erase what the closed forms say, and say so when something goes wrong?"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nand import small_nand

from memsys.kv_store import DriveFull, KvLayout, KvStore, Lost, LostTokens

SMALL = {"page_bytes": 4096, "layers": 2, "heads": 2, "head_dim": 128, "copy_channels": 8, "sequences": 4, "context": 1024}
LAYOUT = KvLayout.from_data(SMALL)
PART = small_nand(blocks=64)


def _store(part=PART, layout=LAYOUT, **options) -> KvStore:
    return KvStore(part, layout, **options)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
    st.sampled_from([None, 8, 16, 64]),
    st.integers(1, 5),
    st.sampled_from([64, 128]),
    st.booleans(),
)
def test_pages_written_and_read_are_those_of_the_closed_forms(appends, channels, heads, head_dim, by_task):
    layout = KvLayout.from_data(SMALL | {"copy_channels": channels, "heads": heads, "head_dim": head_dim, "context": 2048})
    store = _store(small_nand(blocks=128), layout, by_task=by_task)
    store.open(1, "task")
    rng = random.Random(len(appends))
    for tokens in appends:
        before, programmed = store.length(1, 1), store.wear.pages_programmed
        store.append(1, 1, tokens)
        assert store.wear.pages_programmed - programmed == layout.written_pages(before, before + tokens)
        assert len(store.dense_pages(1, 1)) == layout.dense_pages(before + tokens)
    context = store.length(1, 1)
    assert store.wear.write_amplification == 1
    assert store.wear.host_bytes == layout.token_bytes * (context - context % layout.page_tokens)
    if channels:
        picked = {rng.randrange(head_dim) for _ in range(3)}
        tokens = {rng.randrange(context) for _ in range(9)}
        touched = len({channel // channels for channel in picked})
        kept = len({token // layout.page_tokens for token in tokens} & set(range(context // layout.page_tokens)))
        pages = [store.sparf_pages(1, 1, head, picked, tokens) for head in range(heads)]
        assert sum(map(len, pages)) == layout.sparf_pages(context, touched, kept)
    store.verify()


def test_pages_of_one_read_and_of_one_write_are_on_all_channels():
    store = _store(small_nand(blocks=256), KvLayout.from_data(SMALL | {"heads": 4}))
    for sequence in range(4):
        store.open(sequence, "task")
        store.append(sequence, 0, 1024)
    per_head = len(store.dense_pages(0, 0)) // 4
    head = [store.locate(0, 0, 3, kind, token) for kind in ("key", "value") for token in range(0, 1024, 16)]
    assert set(Counter(map(store.blocks.channel, head)).values()) == {per_head // 4}
    group = [store.locate(0, 0, head, kind, 512) for head in range(4) for kind in ("key", "value")]
    assert set(Counter(map(store.blocks.channel, group)).values()) == {2}
    copy = store.sparf_pages(0, 0, 0, set(range(128)), set())
    assert set(Counter(map(store.blocks.channel, copy)).values()) == {16}


def test_a_layer_of_a_task_has_blocks_of_its_own_which_are_erased_with_it():
    store = _store()
    for sequence, task in ((0, "a"), (1, "b")):
        store.open(sequence, task)
        for layer in range(2):
            store.append(sequence, layer, 512)
    blocks = {(q, layer): {page // PART.pages for page in store.dense_pages(q, layer)} for q in range(2) for layer in range(2)}
    assert sum(map(len, blocks.values())) == len(set.union(*blocks.values()))
    store.end("a")
    erased = set(store.blocks.erases.nonzero()[0].tolist())
    assert blocks[0, 0] | blocks[0, 1] <= erased
    assert not erased & (blocks[1, 0] | blocks[1, 1])
    assert store.wear.write_amplification == 1
    store.verify()
    with pytest.raises(ValueError, match="sequence: wanted one that is open, got 0"):
        store.length(0, 0)


def test_the_copy_is_written_once_its_block_is_full_and_reads_k_back_in_decode():
    """From DRAM while a prompt passes; token by token, 16 pages of K of each head are read for 16 of the copy."""
    prompt, decode = _store(), _store()
    for store in (prompt, decode):
        store.open(0, "task")
    prompt.append(0, 0, 256)
    for _ in range(256):
        decode.append(0, 0, 1)
    assert prompt.wear.copy_bytes == decode.wear.copy_bytes == 256 * 2 * 256
    assert prompt.wear.pages_programmed == decode.wear.pages_programmed == 2 * (2 * 16 + 16)
    assert (prompt.wear.pages_read_back, decode.wear.pages_read_back) == (0, 2 * 15)  # the last group is in DRAM still


def test_a_small_buffer_costs_partial_pages():
    """Eight tails and one page of room: each goes out early, is merged later, and counts as amplification."""
    once = LAYOUT.page_tokens * LAYOUT.token_bytes
    store = _store(buffer_bytes=once)
    for sequence in range(4):
        store.open(sequence, "task")
    for _ in range(64):
        for sequence, layer in product(range(4), range(2)):
            store.append(sequence, layer, 1)
            assert store.buffered_bytes <= once
    assert store.wear.pages_partial > 4 * LAYOUT.token_pages(64)
    assert store.wear.pages_read_back == store.wear.pages_partial  # each once, by the page that takes its place
    assert store.wear.pages_programmed == 8 * LAYOUT.token_pages(64) + store.wear.pages_partial
    assert store.wear.write_amplification == Fraction(store.wear.pages_programmed, 8 * LAYOUT.token_pages(64)) > 1
    store.verify()
    assert len(store.dense_pages(0, 0)) == LAYOUT.dense_pages(64)


def _serve(store: KvStore, steps: int) -> None:
    """Sixteen sequences at a time, each a task, of random lengths; 8 tokens a step."""
    rng, goal = random.Random(7), {}
    for step in range(steps):
        for sequence in range(16):
            if sequence not in goal:
                store.open(sequence, (step, sequence))
                goal[sequence] = (step, sequence), rng.randint(200, 800)
            store.append(sequence, 0, 8)
            task, length = goal[sequence]
            if store.length(sequence, 0) >= length:
                store.end(task)
                del goal[sequence]
    store.verify()


def test_mixed_tasks_cost_copies_that_reclaim_by_task_does_not():
    """The same sequences on a drive that is 93 % full at most: 1.00 by task, 1.06 where tasks share blocks."""
    layout = KvLayout.from_data(SMALL | {"layers": 1, "heads": 6, "sequences": 16})
    wear = {}
    for by_task in (True, False):
        store = KvStore(small_nand(blocks=36, pages=32), layout, by_task=by_task)
        _serve(store, 2000)
        wear[by_task] = store.wear
    assert wear[True].host_bytes == wear[False].host_bytes
    assert (wear[True].write_amplification, wear[True].pages_moved) == (1, 0)
    assert Fraction(105, 100) < wear[False].write_amplification < Fraction(108, 100)
    assert wear[False].pages_programmed - wear[True].pages_programmed == wear[False].pages_moved
    for worn in wear.values():
        assert worn.max_erases < 1.1 * worn.mean_erases


def test_a_full_drive_is_one_clear_error_and_keeps_what_it_had():
    store = KvStore(small_nand(blocks=4), LAYOUT)
    store.open(0, "a")
    store.append(0, 0, 512)
    with pytest.raises(
        DriveFull, match=r"drive full: wanted 0\.00\d+ GB more, got 0\.00\d+ GB live of 0\.001\d+ GB \(\d+ blocks free\)"
    ):
        store.append(0, 1, 1024)
    assert (store.length(0, 0), store.length(0, 1)) == (512, 0)
    store.verify()
    store.end("a")
    store.open(0, "b")
    store.append(0, 1, 512)


def test_a_drive_of_begun_blocks_is_full_though_pages_are_left():
    """Every task and layer begins blocks of its own on each channel; what was refused is not kept."""
    store = KvStore(small_nand(blocks=2), LAYOUT)
    for sequence in range(2):
        store.open(sequence, sequence)
        store.append(sequence, 0, 32)
    store.open(2, 2)
    with pytest.raises(DriveFull, match=r"\(4 blocks free\)"):  # which reclaim keeps
        store.append(2, 1, 500)
    assert len(store.blocks.stamps) < store.blocks.usable_pages / 2
    assert store.length(2, 1) % LAYOUT.page_tokens == 0
    store.verify()


def test_dead_pages_of_any_channel_are_room():
    """Pages that belong on channels 0 and 1 fill these, then go to 2 and 3; once those die, their blocks are reclaimed."""
    layout = KvLayout.from_data(SMALL | {"layers": 1, "heads": 1, "copy_channels": None, "sequences": 400, "context": 64})
    store = KvStore(small_nand(planes=1, pages=4), layout, by_task=False, spare_permille=100)

    def put(sequences: range) -> None:
        for sequence in sequences:
            store.open(sequence, sequence)
            store.append(sequence, 0, 16)

    put(range(0, 212, 4))
    elsewhere = [q for q in range(0, 212, 4) if store.blocks.channel(store.locate(q, 0, 0, "key", 0)) in (2, 3)]
    for sequence in elsewhere[:8]:
        store.end(sequence)
    put(range(216, 248, 4))
    assert store.wear.erases > 0
    store.verify()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 700),
    st.sampled_from([None, 8, 64]),
    st.sampled_from([2, 4, 8]),
    st.sampled_from([8, 32]),
    st.booleans(),
)
def test_what_fits_in_whole_blocks_can_be_stored(heads, layers, sequences, context, copy, channels, pages, by_group):
    """The blocks that `KvLayout.check_fits` asks for are enough, in a whole prompt or group by group."""
    table = {"heads": heads, "layers": layers, "sequences": sequences, "context": context, "copy_channels": copy}
    layout = KvLayout.from_data(SMALL | table)
    wanted, blocks = layout.blocks(sequences, context, channels, pages), 1
    while channels * 2 * blocks * 930 // 1000 < wanted:
        blocks += 1
    store = KvStore(small_nand(channels=channels, blocks=blocks, pages=pages), layout, spare_permille=70)
    for sequence in range(sequences):
        store.open(sequence, "task")
    step = 16 if by_group else context
    for first, sequence, layer in product(range(0, context, step), range(sequences), range(layers)):
        store.append(sequence, layer, min(step, context - first))
    store.verify()


def test_blocks_wear_out():
    store = KvStore(small_nand(blocks=2, endurance=3), LAYOUT)

    def until_worn() -> None:
        for task in range(100):
            store.open(0, task)
            store.append(0, 0, 256)
            store.end(task)

    with pytest.raises(DriveFull, match="blocks worn out"):
        until_worn()
    assert store.wear.max_erases == 3


def test_what_the_power_took_is_reported_and_can_be_sent_again():
    store = _store()
    store.open(2, "task")
    store.append(2, 1, 40)
    assert store.locate(2, 1, 0, "key", 39) is None
    assert store.power_loss() == (Lost(sequence=2, layer=1, first=32, tokens=8),)
    with pytest.raises(LostTokens, match="token 39 of sequence 2, layer 1: lost from DRAM when the power failed"):
        store.locate(2, 1, 0, "key", 39)
    assert store.locate(2, 1, 0, "key", 31) is not None
    store.append(2, 1, 8)
    assert store.locate(2, 1, 0, "key", 39) is None
    assert store.power_loss() == (Lost(2, 1, 32, 8),)
    with pytest.raises(ValueError, match="token: wanted one of the 32 of sequence 2, layer 1, got 40"):
        store.locate(2, 1, 0, "key", 40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.open(4, "x"), "sequence: wanted a free one of 4, got 4, of 0 to 3"),
        (lambda store: store.open(0, "x"), "sequence: wanted a free one of 4, got 0, which is open"),
        (lambda store: store.append(1, 0, 1), "sequence: wanted one that is open, got 1"),
        (lambda store: store.append(0, 2, 1), "layer: wanted 0 to 1, got 2"),
        (lambda store: store.append(0, 0, 993), "tokens: wanted 1 to 992 more of 1024, got 993"),
        (lambda store: store.append(0, 0, 0), "tokens: wanted 1 to 992"),
        (lambda store: store.end("tusk"), "task: wanted one with an open sequence, got 'tusk'"),
        (lambda store: store.locate(0, 0, 0, "keys", 0), "kind: wanted 'key' or 'value', got 'keys'"),
        (lambda store: store.locate(0, 0, 2, "key", 0), "token table: head: wanted 0 to 1, got 2"),
        (lambda store: store.sparf_pages(0, 0, 0, {128}, {3}), "channels: wanted some of the 128 of sequence 0.*, got 128"),
        (lambda store: store.sparf_pages(0, 0, 0, {0}, {31, 40}), "tokens: wanted some of the 32 of sequence 0, layer 0, got 40"),
    ],
)
def test_wrong_commands_are_refused(call, message):
    store = _store()
    store.open(0, "task")
    store.append(0, 0, 32)
    with pytest.raises(ValueError, match=message):
        call(store)


def test_a_store_refuses_a_part_or_a_buffer_that_does_not_fit():
    with pytest.raises(ValueError, match="page_bytes: wanted the 8192 B of a page of small, got 4096 B"):
        _store(small_nand(page_bytes=8192))
    with pytest.raises(ValueError, match="buffer_bytes: wanted 16384 B at least, a page of every head, got 1000 B"):
        _store(buffer_bytes=1000)
