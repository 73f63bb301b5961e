"""Do the closed forms of the layout give what is published, and refuse what does not fit?"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memsys.kv_store import KvLayout, touched_groups
from memsys.kv_store.address import Fields
from memsys.ssd import Ssd

OPT_13B = {"page_bytes": 4096, "layers": 40, "heads": 40, "head_dim": 128, "copy_channels": 8, "sequences": 64, "context": 2048}
LAYOUT = KvLayout.from_data(OPT_13B)
CSD = {"kind": "ssd", "part": "instattention", "link": "pcie4_x4_measured"}


def test_a_page_of_4_kib_holds_16_tokens_or_2_to_8_channels():
    """InstAttention, HPCA'25: 16 tokens x 128 channels; 2 to 8 channels x 1K to 256 tokens."""
    assert LAYOUT.page_tokens == 16
    assert [KvLayout.from_data(OPT_13B | {"copy_channels": n}).copy_tokens for n in (2, 4, 8)] == [1024, 512, 256]


def test_writes_of_a_layer_are_those_published():
    """InstAttention, OPT-13B, 64 x 1024 tokens: prefill writes 1.34 GB of a layer, decode 1.93 GB."""
    assert LAYOUT.prefill_bytes(64 * 1024) / 1e9 == pytest.approx(1.34, rel=0.002)
    assert LAYOUT.decode_bytes(64 * 1024) / 1e9 == pytest.approx(1.93, rel=0.05)
    assert LAYOUT.stored_bytes_per_token == 1.5 * 819200


def test_endurance_is_that_published():
    """InstAttention, 4 drives of 3000 cycles, 0.78 MB per token: 32,263,877 thousand tokens; K once, 2 TiB each."""
    once = KvLayout.from_data(OPT_13B | {"copy_channels": None})
    four = Ssd.from_data(CSD | {"drives": 4})
    assert once.endurance_tokens(four) / 1000 == pytest.approx(32263877, rel=0.002)
    assert LAYOUT.endurance_tokens(four, Fraction(3, 2)) == pytest.approx(once.endurance_tokens(four) / 2.25, rel=1e-9)


@given(st.integers(0, 2048), st.integers(0, 2048), st.sampled_from([None, 2, 8, 128]))
def test_written_pages_add_up_and_end_at_what_is_stored(first, more, channels):
    layout = KvLayout.from_data(OPT_13B | {"copy_channels": channels})
    last = first + more
    assert layout.written_pages(0, first) + layout.written_pages(first, last) == layout.written_pages(0, last)
    full = last * layout.copy_tokens if layout.copy_tokens else last * layout.page_tokens
    assert layout.written_pages(0, full) * 4096 == full * layout.stored_bytes_per_token // 40


@given(st.lists(st.integers(0, 1 << 30), min_size=1, max_size=8), st.integers(0, 16), st.integers(0, 128))
def test_arrays_take_the_pages_of_their_entries(tokens, channels, groups):
    forms = (
        LAYOUT.prefill_bytes,
        LAYOUT.decode_bytes,
        LAYOUT.token_pages,
        LAYOUT.copy_pages,
        LAYOUT.dense_pages,
        lambda n: LAYOUT.sparf_pages(n, channels, groups),
        lambda n: LAYOUT.written_pages(0, n),
        lambda n: touched_groups(n, 16, Fraction(1, 8)),
    )
    for form in forms:
        assert form(np.array(tokens)).tolist() == [form(n) for n in tokens]


def test_sparse_attention_reads_whole_pages():
    """A page of 16 tokens is missed only where none of them is chosen: at 1/8, 88 % of pages are touched by chance."""
    assert touched_groups(128, 16, Fraction(1, 8)) == 113
    assert touched_groups(10, 4, Fraction(0)) == 0
    assert touched_groups(10, 4, Fraction(1)) == 10
    assert LAYOUT.sparf_pages(2048, 16, 128) == 40 * (16 * 8 + 2 * 128)  # nothing skipped: the copy, then K and V
    assert LAYOUT.sparf_pages(255, 16, 0) == 40 * 15  # no page of the copy yet: K instead
    with pytest.raises(ValueError, match="copy_channels: wanted a channel-indexed copy of K, which SparF reads, got none"):
        KvLayout.from_data(OPT_13B | {"copy_channels": None}).sparf_pages(2048, 16, 16)


def test_heads_are_dealt_out_over_drives():
    assert LAYOUT.on(20).heads == 2
    assert LAYOUT.on(16).heads == 3  # the fullest drive


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"page_bytes": 6000},
            "whole groups of 16 tokens x 128 channels x 2 B = 4096 B, got a page of 6000 B; .*: 4096 or 8192 B",
        ),
        ({"page_bytes": 2048}, "got a page of 2048 B; nearest that fit: 4096 B, or a group of 8 tokens"),
        ({"group": 24}, "got a page of 4096 B; nearest that fit: 6144 B, or a group of 16 tokens"),
        ({"copy_channels": 3}, "wanted a divisor of the 128 channels of a head, got 3; nearest: 2"),
        ({"sequences": 100_000}, "sequence 17 .* = 37; the widest field 'sequence' has 100000 values, of which 4096 fit"),
        ({"heads": 0}, "heads\n.*greater than 0"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        KvLayout.from_data(OPT_13B | change)


def test_several_groups_on_a_page():
    assert KvLayout.from_data(OPT_13B | {"page_bytes": 16384}).page_tokens == 64


def test_more_than_the_drives_hold_is_refused_with_figures():
    memory = Ssd.from_data(CSD)
    LAYOUT.check_fits(memory, 64, 2048)
    with pytest.raises(ValueError, match=r"2000 sequences x 2048 tokens: wanted 503\d\.\d\d GB .*, got 2045\.09 GB on 1 drives"):
        LAYOUT.check_fits(memory, 2000, 2048)
    with pytest.raises(ValueError, match="wanted the 8192 B of a page of mqsim, got 4096 B"):
        LAYOUT.check_fits(Ssd.from_data(CSD | {"part": "mqsim"}), 1, 1)


def test_addresses_are_bijective_within_32_bits():
    fields = Fields("table", {"a": 3, "b": 1, "c": 5})
    packed = {fields.pack(a, 0, c): {"a": a, "b": 0, "c": c} for a in range(3) for c in range(5)}
    assert len(packed) == fields.entries == 15
    assert all(fields.unpack(address) == values for address, values in packed.items())
    with pytest.raises(ValueError, match="table: c: wanted 0 to 4, got 5"):
        fields.pack(0, 0, 5)


def test_tables_and_buffer_of_a_batch_of_64():
    assert LAYOUT.table_bytes == 4 * 64 * 40 * 40 * (128 * 2 + 8 * 16)  # 157 MB
    assert LAYOUT.buffer_bytes == 64 * 15 * 819200  # 786 MB
