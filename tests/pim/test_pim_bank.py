"""Does the PIM bank cost what its pipeline says, compute the attention of PyTorch from keys and values where they lie, and refuse
what it cannot execute?

Values, cycles and events of the RTL at the corners of its parameters are shown by the conformance bench.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accel.base import simulation
from accel.base.conformance import golden_kernel
from accel.base.judge import difference
from accel.base.script import Pass, Run
from kernels_ref.floats import decode, encode
from kernels_ref.inputs import inputs
from kernels_ref.pim import bank_gemv_error_bound, dot_products, ideal_bank_gemv
from pim.layout import KvLayout
from pim.pim_bank import PimBank
from workloads.formats import FORMATS
from workloads.ops import BankGemv, Linear

FP16, FP32, INT8 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int8"]
DUAL, SINGLE = PimBank(), PimBank(dual_row_buffer=False)


# The cost, by hand


def test_cost_of_the_logits_of_four_heads_of_a_token():
    op = DUAL.op(rows=1, slots=4, length=128, pages=1, reads=3, writes=2)
    cost = DUAL.tile_cost(op)
    row = 1 + 32 + 4 * 8 * 2 + 1  # ACT, its bursts, COMPs every two cycles with READRES between them, PRE
    behind = 1 + 2 + 4 * 2 + 2  # operands, multiplier, four levels of the tree, accumulator
    assert cost.latency == 1 + row + behind  # with the config word
    assert cost.interval == row + behind
    assert cost.events == {
        "memory_fill": 32,
        "read": 3,
        "write": 2,
        "restore": 32,
        "pim_fill": 32,
        "comp": 32,
        "mac": 512,
        "read_result": 4,
    }


def test_comps_are_two_cycles_apart_and_a_full_row_takes_as_long_as_its_bursts():
    one, two = (DUAL.tile_cost(DUAL.op(rows=rows, slots=1, length=512)).interval for rows in (1, 2))
    assert two - one == 1 + 32 + 2 * 32 + 1
    assert DUAL.depth.accumulate == 2  # tCCD_S of HBM2


def test_traffic_costs_nothing_beside_a_longer_gemv_and_all_of_it_with_a_single_row_buffer():
    alone, beside = (DUAL.op(rows=8, slots=4, length=128, pages=pages, reads=16, writes=16) for pages in (0, 6))
    assert DUAL.cost(alone).cycles == DUAL.cost(beside).cycles == SINGLE.cost(alone).cycles
    tail = DUAL.depth.stages(16) - 2  # the last results leave while the memory side works
    assert SINGLE.cost(beside).cycles - SINGLE.cost(alone).cycles == 6 * (1 + 32 + 32 + 1 + 32) - tail


extents = st.fixed_dictionaries(
    {"rows": st.integers(1, 99), "slots": st.integers(1, 4), "length": st.integers(1, 128)}
    | {name: st.integers(0, 50) for name in ("pages", "reads", "writes")}
)


@given(extents)
def test_two_row_buffers_are_never_slower_than_one_and_never_faster_than_either_side(shape):
    op = DUAL.op(**shape)
    gemv, traffic = op.resized(pages=0), op.resized(rows=1, slots=1, length=1)
    both, one = DUAL.cost(op).cycles, SINGLE.cost(op).cycles
    assert both <= one
    assert both >= DUAL.cost(gemv).cycles
    assert both >= min(DUAL.cost(traffic).cycles, one)
    assert dict(DUAL.cost(op).events) == dict(SINGLE.cost(op).events)


# Attention over the layout of NeuPIMs: K q and p V from what lies in 32 banks


class Channel:
    """Random keys and values of a request where `KvLayout` puts them: FP16 patterns of all rows of all banks."""

    def __init__(self, layout, tokens):
        self.layout, self.tokens = layout, tokens
        rng = np.random.default_rng(tokens)
        shape = (tokens, layout.heads, layout.head_dim)
        self.keys, self.values = (encode(rng.normal(size=shape), FP16) for _ in range(2))
        self.query = encode(rng.normal(size=shape[1:]), FP16)
        token, head, element = np.ogrid[tuple(slice(n) for n in shape)]
        key, value = layout.key(token, head), layout.value(token, head, element)
        # What nobody has written is NaN: rows of values beyond the last token.
        self.key_cells = np.full((layout.banks, int(key.row.max()) + 1, layout.row), 0xFFFF)
        self.value_cells = np.full((layout.banks, int(value.row.max()) + 1, layout.row), 0xFFFF)
        self.key_cells[key.bank, key.row, key.element + element] = self.keys
        self.value_cells[value.bank, value.row, value.element] = self.values

    def logit_work(self, bank):
        """The ops of a bank with their operands, and the (heads, tokens) that the results are of."""
        layout = self.layout
        for i, op in enumerate(layout.logit_ops(bank, self.tokens)):
            rows = self.key_cells[bank, i :: layout.key_rows]
            heads = range(i * layout.slots, i * layout.slots + op.slots)
            matrix = rows[: op.rows, : op.slots * op.length].reshape(op.rows, op.slots, op.length)
            yield op, (self.query[heads.start : heads.stop], matrix), (heads, range(bank, self.tokens, layout.banks))

    def attend_work(self, bank, weights):
        """The same for weights [heads, tokens] (bits); the results are of (head, elements)."""
        layout = self.layout
        for i, op in enumerate(layout.attend_ops(self.tokens)):
            chunk, head = divmod(i, layout.heads)
            rows = self.value_cells[bank, i * layout.value_rows : (i + 1) * layout.value_rows, : op.length]
            first = chunk * layout.row
            vector = weights[head : head + 1, first : first + op.length]
            yield op, (vector, rows[:, None]), (head, range(bank, layout.head_dim, layout.banks))


def values(bits, fmt=FP16):
    return torch.as_tensor(decode(bits, fmt))


def checked(op, operands):
    """What the golden kernel computes, float64; it must be within its bound of the mathematics."""
    found = values(dot_products(op, *operands), FP32)
    assert torch.all((found - ideal_bank_gemv(op, *operands)).abs() <= bank_gemv_error_bound(op, *operands))
    return found


def logits(channel):
    """q K^T from all banks, [heads, tokens]."""
    found = torch.full((channel.layout.heads, channel.tokens), torch.nan, dtype=torch.float64)
    for bank in range(channel.layout.banks):
        for op, operands, (heads, tokens) in channel.logit_work(bank):
            found[heads.start : heads.stop, tokens.start :: tokens.step] = checked(op, operands).T
    return found


def attended(channel, weights):
    """p V from all banks, [heads, head_dim], parts of 512 tokens added in float64."""
    found = torch.zeros(channel.layout.heads, channel.layout.head_dim, dtype=torch.float64)
    for bank in range(channel.layout.banks):
        for op, operands, (head, elements) in channel.attend_work(bank, weights):
            found[head, elements.start :: elements.step] += checked(op, operands)[:, 0]
    return found


def softmax(scores, head_dim):
    """FP16 patterns of softmax(scores / sqrt(head_dim))."""
    weights = torch.softmax(scores / head_dim**0.5, -1).to(torch.float16)
    return weights.view(torch.int16).to(torch.int64).numpy() & 0xFFFF


@pytest.mark.parametrize(
    ("layout", "tokens"),
    [
        (KvLayout(heads=8, head_dim=128), 1100),  # GPT3-7B on four devices: two rows per token, three rows of tokens
        (KvLayout(heads=10, head_dim=128, full_rows=False), 300),  # GPT3-13B: the third row is half empty
        (KvLayout(heads=8, head_dim=64), 33),
        (KvLayout(heads=2, head_dim=512), 5),  # some banks hold no keys
    ],
    ids=["gpt3-7b", "gpt3-13b", "short heads", "few tokens"],
)
def test_attention_from_all_banks_is_that_of_pytorch(layout, tokens):
    channel = Channel(layout, tokens)
    query, keys, stored = (values(bits).float() for bits in (channel.query, channel.keys, channel.values))
    scores = logits(channel)
    torch.testing.assert_close(scores.float(), torch.einsum("hd,thd->ht", query, keys), rtol=1e-5, atol=1e-4)
    weights = softmax(scores, layout.head_dim)
    wanted = torch.einsum("ht,thd->hd", values(weights).float(), stored)
    torch.testing.assert_close(attended(channel, weights).float(), wanted, rtol=1e-5, atol=1e-5)
    whole = torch.nn.functional.scaled_dot_product_attention(query[:, None], keys.swapaxes(0, 1), stored.swapaxes(0, 1))[:, 0]
    torch.testing.assert_close(attended(channel, weights).float(), whole, rtol=0, atol=2e-3)  # weights rounded to FP16


def play(unit, work):
    """Play ops with the operands of their dot products, beside random reads and writes, and compare all with the kernel."""
    rng = np.random.default_rng(7)
    runs = []
    for op, operands in work:
        op = op.resized(pages=1, reads=int(rng.integers(9)), writes=int(rng.integers(9)))
        runs.append(Run(op, [(*operands, *inputs(op, rng)[2:])]))
    some, face = Pass("layout", "free", runs, 0), simulation.interface(unit)
    script = some.script(unit, *([name for name, _ in streams] for streams in (face.inputs, face.outputs)))
    chosen, _ = simulation.choose("auto", 0)
    ((seen,),) = simulation.run(unit, [[script]], simulator=chosen, timeout_s=600)
    assert difference(unit, face, some, seen, golden_kernel(unit)) is None


@pytest.mark.parametrize("unit", [DUAL, SINGLE], ids=["dual", "single"])
def test_a_bank_computes_its_share_of_attention_while_it_is_read_and_written(unit):
    channel = Channel(KvLayout(heads=8, head_dim=128), 40)
    weights = softmax(logits(channel), 128)
    work = [(op, operands) for op, operands, _ in channel.logit_work(bank=7)]
    work += [(op, operands) for op, operands, _ in channel.attend_work(31, weights)][:1]
    play(unit, work)


# What it refuses


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (DUAL.op(rows=1, slots=1, length=513), "wanted at most 32 bursts in a row, got 1 slots of 33"),
        (DUAL.op(rows=1, slots=5, length=100), "wanted at most 32 bursts in a row, got 5 slots of 7"),
        (DUAL.op(rows=0, slots=1, length=1), "takes rows, slots and lengths of at least 1"),
        (DUAL.op(rows=1, slots=1, length=1, pages=1 << 25), "takes up to 16777216 pages, not 33554432"),
        (BankGemv(rows=1, slots=1, length=1, burst=8), "has rows of 32 bursts of 16 elements, not of 32 bursts of 8"),
        (PimBank(operands="int8").op(rows=1, slots=1, length=1), "with fp16 operands takes fp16 rows, not int8"),
        (Linear(m=1, n=1, k=1), "executes bank_gemv, not linear"),
    ],
)
def test_what_it_cannot_execute_is_refused_with_the_reason(op, message):
    with pytest.raises(ValueError, match=message):
        DUAL.check(op)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"multipliers": 12}, "multipliers\n.*wanted a power of two, such as 8 or 16, got 12"),
        ({"multipliers": 64}, "less than or equal to 32"),
        ({"row_bytes": 1000}, "wanted a power of two, such as 512 or 1024, got 1000"),
        ({"row_bytes": 32}, "wanted 2 to 256 bursts of 16 fp16 elements, which is 64 to 8192 bytes, got 32"),
        ({"row_bytes": 2048, "multipliers": 2, "operands": "int8"}, "which is 4 to 512 bytes, got 2048"),
        ({"operands": "bf16"}, "'fp16' or 'int8'"),
    ],
)
def test_parameters_that_cannot_be_built_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        PimBank(**parameters)
