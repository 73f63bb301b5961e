"""Does every key and value have one place, do rows fill up as NeuPIMs counts them, and is waste refused with a remedy?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pim.layout import KvLayout
from workloads.formats import FORMATS

layouts = st.builds(
    lambda head_dim, heads: KvLayout(
        heads=heads, head_dim=head_dim, banks=4, row_bytes=64, multipliers=4, rows_per_bank=4096, full_rows=False
    ),
    st.sampled_from([4, 8, 16, 32]),
    st.integers(1, 9),
)


def places(layout, tokens):
    """The places of all elements of keys [tokens, heads, head_dim], and of values."""
    token, head, element = np.ogrid[:tokens, : layout.heads, : layout.head_dim]
    key = layout.key(token, head)
    return (key.bank, key.row, key.element + element), layout.value(token, head, element)


@given(layouts, st.integers(1, 70))
def test_no_two_elements_share_a_place_and_none_lies_beyond_the_rows_counted(layout, tokens):
    used = []
    for found in places(layout, tokens):
        bank, row, element = np.broadcast_arrays(*found)
        assert bank.max() < layout.banks
        assert element.max() < layout.row
        flat = (row * layout.banks + bank) * layout.row + element
        assert len(np.unique(flat)) == flat.size == tokens * layout.heads * layout.head_dim
        used.append(int(row.max()) + 1)
    assert sum(used) == layout.rows(tokens)


@given(layouts, st.integers(1, 200))
def test_the_ops_of_all_banks_are_all_the_products(layout, tokens):
    products = tokens * layout.heads * layout.head_dim
    assert sum(op.macs for bank in range(layout.banks) for op in layout.logit_ops(bank, tokens)) == products
    assert layout.banks * sum(op.macs for op in layout.attend_ops(tokens)) == products


def test_tiles_are_those_of_neupims():
    """Per request: tiles_K = ceil(s / B) ceil(E / P), tiles_V = ceil(d / B) ceil(s / P) heads; a tile is a row in each bank."""
    layout = KvLayout(heads=8, head_dim=128)  # GPT3-7B on four devices: E = 1024
    seq = 1111
    keys, values = 35 * 2, 4 * 3 * 8
    assert layout.rows(seq) == keys + values
    longest = layout.logit_ops(0, seq)
    assert sum(op.rows for op in longest) == keys
    assert sum(op.rows for op in layout.attend_ops(seq)) == values


def test_a_key_is_a_slot_of_a_row_and_a_value_a_column_of_rows():
    layout = KvLayout(heads=8, head_dim=128)
    assert layout.key(token=0, head=0) == (0, 0, 0)
    assert layout.key(token=33, head=6) == (1, 1 * 2 + 1, 2 * 128)
    assert layout.value(token=0, head=0, element=33) == (1, 1, 0)
    assert layout.value(token=513, head=2, element=127) == (31, (1 * 8 + 2) * 4 + 3, 1)


def test_a_bank_without_tokens_has_no_logits():
    assert KvLayout(heads=4, head_dim=128).logit_ops(bank=5, tokens=5) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"heads": 8, "head_dim": 80}, "head_dim = 80 wastes 32 of 512 elements of each row of keys.*nearest that maps is 64"),
        ({"heads": 8, "head_dim": 96}, "head_dim = 96 wastes 32 of 512 elements .* holds 5 heads; the nearest that maps is 128"),
        ({"heads": 8, "head_dim": 16}, "head_dim = 16 leaves 16 of 32 banks without values; the nearest that maps is 32"),
        ({"heads": 8, "head_dim": 100}, "head_dim = 100 is not whole bursts of 16 elements; the nearest that maps is 128"),
        ({"heads": 8, "head_dim": 1024}, "head_dim = 1024 is longer than a row of 512 elements; the nearest that maps is 512"),
        ({"heads": 8, "head_dim": 128, "row_bytes": 32}, "no head fills rows of 16 elements, bursts of 16 and 32 banks"),
        ({"heads": 0, "head_dim": 128}, "heads: wanted whole numbers from 1 on, got 0; the nearest is 1"),
        (
            {"heads": 10, "head_dim": 128},
            "leave 256 of 512 elements of each token's last row of keys empty; the nearest that fill rows are 8 or 12",
        ),
        ({"heads": 3, "head_dim": 128}, "the nearest that fill rows are 4 "),
    ],
)
def test_heads_that_waste_rows_are_refused_with_the_nearest_that_do_not(parameters, message):
    with pytest.raises(ValueError, match=message):
        KvLayout(**parameters)


def test_heads_of_int8_fill_rows_of_twice_as_many_elements():
    layout = KvLayout(heads=8, head_dim=128, activations=FORMATS["int8"])
    assert (layout.row, layout.slots, layout.key_rows) == (1024, 8, 1)


def test_a_request_that_does_not_fit_the_channel_is_refused_with_the_longest_that_does():
    layout = KvLayout(heads=32, head_dim=128)
    fits = 49152  # 1536 tokens of 8 rows of keys in each bank, and 96 times 128 rows of values
    assert layout.fit([fits]) == 32768 - 1536 * 8 - 96 * 128
    with pytest.raises(ValueError, match=r"request 1 of 60000 tokens takes \d+ rows of each bank, and 8192 of 32768 are left"):
        layout.fit([fits, 60000])
    with pytest.raises(ValueError, match=r"at most (\d+) tokens fit") as refused:
        layout.fit([1 << 20])
    most = int(str(refused.value).split("at most ")[1].split()[0])
    assert layout.rows(most) <= 32768 < layout.rows(most + 1)
