"""Inputs of an op, for tests and proofs: random ones, and the corners where hardware breaks.

Every array is int64 and holds integer codes, or the bit patterns of floats.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import singledispatch

import numpy as np

from workloads.formats import Format
from workloads.ops import Linear, Op, TablePrecompute

Fill = Callable[[Format, tuple[int, ...]], np.ndarray]

# (bits of the exponent, bits of the mantissa, whether the highest exponent holds infinities and NaNs); IEEE 754-2008 for fp16
# and fp32, the OCP 8-bit floating point specification 1.0 for fp8.
FLOAT_FIELDS = {
    "fp8_e4m3": (4, 3, False),
    "fp8_e5m2": (5, 2, True),
    "fp16": (5, 10, True),
    "bf16": (8, 7, True),
    "fp32": (8, 23, True),
}


@singledispatch
def arrays(op: Op, fill: Fill) -> tuple[np.ndarray, ...]:
    """The input arrays of ``op`` in the order of its golden kernel, each made by ``fill(format, shape)``."""
    raise TypeError(f"no input maker for ops of kind {op.kind!r}; register one with kernels_ref.inputs.arrays.register")


@arrays.register
def _(op: Linear, fill: Fill) -> tuple[np.ndarray, ...]:
    return fill(op.activations, (op.m, op.k)), fill(op.weights, (op.n, op.k))


@arrays.register
def _(op: TablePrecompute, fill: Fill) -> tuple[np.ndarray, ...]:
    return (fill(op.activations, (op.m, op.k)),)


def inputs(op: Op, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random inputs: integers uniform over all codes; floats of random sign, mantissa, and exponent near that of 1."""
    return arrays(op, lambda fmt, shape: _random(fmt, shape, rng))


def corners(op: Op) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """(name, inputs) for the corners: all lowest, all highest, all zero, lowest and highest in turn, all zero but one lowest
    (highest, where the lowest is zero), and one array lowest, the next one highest.
    """
    for name in ("lowest", "highest", "zero", "alternating", "one_hot"):
        yield name, arrays(op, lambda fmt, shape, name=name: _corner(fmt, shape, name))
    turn = itertools.cycle(("lowest", "highest"))
    yield "opposed", arrays(op, lambda fmt, shape: _corner(fmt, shape, next(turn)))


def _random(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if fmt.kind != "float":
        return rng.integers(fmt.lowest, fmt.highest, shape, endpoint=True)
    exponent_bits, mantissa_bits, _ = _fields(fmt)
    bias = (1 << (exponent_bits - 1)) - 1
    exponent = rng.integers(bias - 4, bias + 4, shape)
    mantissa = rng.integers(0, 1 << mantissa_bits, shape)
    return rng.integers(0, 2, shape) << (exponent_bits + mantissa_bits) | exponent << mantissa_bits | mantissa


def _corner(fmt: Format, shape: tuple[int, ...], name: str) -> np.ndarray:
    lowest, highest = _extremes(fmt)
    if name == "alternating":
        return np.where(np.indices(shape).sum(axis=0) % 2, highest, lowest)
    if name == "one_hot":
        hot = np.zeros(shape, np.int64)
        hot.flat[hot.size // 2] = lowest or highest
        return hot
    return np.full(shape, {"lowest": lowest, "highest": highest, "zero": 0}[name], np.int64)


def _extremes(fmt: Format) -> tuple[int, int]:
    """The codes, or bit patterns, of the lowest and highest finite numbers."""
    if fmt.kind != "float":
        return fmt.lowest, fmt.highest
    exponent_bits, mantissa_bits, infinities = _fields(fmt)
    # E4M3 has no infinities, and its only NaN is all ones: the highest number is one below.
    highest = (((1 << exponent_bits) - 1) << mantissa_bits) - 1 if infinities else (1 << (exponent_bits + mantissa_bits)) - 2
    return highest | 1 << (exponent_bits + mantissa_bits), highest


def _fields(fmt: Format) -> tuple[int, int, bool]:
    return FLOAT_FIELDS[fmt.name]
