"""Do bit patterns and values agree with PyTorch's own formats, for every pattern, and is rounding single?"""

import numpy as np
import pytest
import torch

from kernels_ref import floats
from workloads.formats import FORMATS

TORCH = {
    "fp8_e4m3": (torch.float8_e4m3fn, torch.uint8),
    "fp8_e5m2": (torch.float8_e5m2, torch.uint8),
    "fp16": (torch.float16, torch.int16),
    "bf16": (torch.bfloat16, torch.int16),
    "fp32": (torch.float32, torch.int32),
}


def torch_values(bits: np.ndarray, name: str) -> np.ndarray:
    floating, integer = TORCH[name]
    width = FORMATS[name].bits
    signed = bits if integer == torch.uint8 else (bits ^ (1 << (width - 1))) - (1 << (width - 1))
    return torch.as_tensor(signed).to(integer).view(floating).to(torch.float64).numpy()


def patterns(name: str) -> np.ndarray:
    width = FORMATS[name].bits
    if width <= 16:
        return np.arange(1 << width)
    return np.random.default_rng(5).integers(0, 1 << width, 200_000)


@pytest.mark.parametrize("name", TORCH)
def test_patterns_have_the_values_that_pytorch_gives_them(name):
    bits = patterns(name)
    np.testing.assert_array_equal(floats.decode(bits, FORMATS[name]), torch_values(bits, name))


@pytest.mark.parametrize("name", TORCH)
def test_every_number_keeps_its_pattern_and_every_nan_takes_the_one(name):
    fmt, bits = FORMATS[name], patterns(name)
    values = floats.decode(bits, fmt)
    kept = floats.encode(values, fmt)
    np.testing.assert_array_equal(kept, np.where(np.isnan(values), fmt.fields.nan, bits))


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp16", "bf16"])
def test_float32_rounds_as_pytorch_rounds_it(name):
    values = torch_values(np.random.default_rng(1).integers(0, 1 << 32, 300_000), "fp32")
    exponents = np.random.default_rng(2).uniform(-30, 20, 300_000)
    values = np.concatenate([values, np.float32(np.sign(values) * 2.0**exponents), [0.0, -0.0, 464.0, 465.0, 65519.0, 65520.0]])
    wanted = torch.as_tensor(values).to(torch.float32).to(TORCH[name][0]).to(torch.float64).numpy()
    got = floats.decode(floats.encode(values, FORMATS[name]), FORMATS[name])
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(wanted)[~np.isnan(got)])


def test_a_value_between_two_roundings_is_rounded_once():
    just_above_half = 1 + 2.0**-11 + 2.0**-40  # to float32 it would be a tie of float16, and from there go down to 1
    assert floats.round_to(np.array(just_above_half), FORMATS["fp16"]) == 1 + 2.0**-10
