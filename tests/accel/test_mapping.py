"""Do blocks cover the GEMM, and is traffic at least compulsory?"""

from hypothesis import given
from hypothesis import strategies as st

from accel.base.mapping import Mapping, blocks, operand_traffic, waves
from workloads.ops import Linear

EXTENT = st.integers(1, 20000)


@given(EXTENT, EXTENT, EXTENT, st.integers(1, 10**8))
def test_traffic_is_compulsory_or_more(m, n, k, buffer):
    op = Linear(m=m, n=n, k=k)
    activations, weights, results = operand_traffic(op, buffer)
    assert activations >= op.input_bytes
    assert weights >= op.weight_bytes
    assert results == op.output_bytes
    assert activations == op.input_bytes or weights == op.weight_bytes  # one operand is held, and read once
    assert sum(operand_traffic(op, buffer, wave_area=10**6)) <= activations + weights + results


@given(EXTENT, EXTENT, EXTENT)
def test_an_operand_in_half_the_buffer_makes_traffic_compulsory(m, n, k):
    op = Linear(m=m, n=n, k=k)
    activations, weights, _ = operand_traffic(op, 2 * min(op.input_bytes, op.weight_bytes))
    assert (activations, weights) == (op.input_bytes, op.weight_bytes)


def test_waves_of_the_published_block():
    block = Mapping(m=128, n=512)  # LUT Tensor Core, ISCA'25: W1A8 thread block on 108 SMs
    assert blocks(Linear(m=1024, n=3200, k=3200), block) == 56
    assert waves(Linear(m=1024, n=3200, k=3200), block, 108) == 1
    assert blocks(Linear(m=1024, n=8640, k=3200), block) == 136
    assert waves(Linear(m=1024, n=8640, k=3200), block, 108) == 2
