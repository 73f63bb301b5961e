"""Inputs of an op, for tests and proofs: random ones, and the corners where hardware breaks.

Every array is int64 and holds integer codes, or the bit patterns of floats.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from workloads.formats import Format
from workloads.ops import Op

Fill = Callable[[Format, tuple[int, ...]], np.ndarray]


def arrays(op: Op, fill: Fill) -> tuple[np.ndarray, ...]:
    """The input arrays of ``op`` in the order of its golden kernel, each made by ``fill(format, shape)``."""
    return tuple(fill(operand.format, op.shape(operand)) for operand in op.operands())


def inputs(op: Op, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random inputs: integers uniform over all codes; floats of random sign, mantissa, and exponent near that of 1."""
    return arrays(op, lambda fmt, shape: _random(fmt, shape, rng))


def corners(op: Op) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """(name, inputs) for the corners: all lowest, all highest, all zero, lowest and highest in turn, all zero but one lowest
    (highest, where the lowest is zero), and one array lowest, the next one highest. Where there are floats also: subnormals and
    the numbers beside them, numbers of every exponent, and a few infinities and NaNs among ones.
    """
    for name in ("lowest", "highest", "zero", "alternating", "one_hot"):
        yield name, arrays(op, lambda fmt, shape, name=name: _corner(fmt, shape, name))
    turn = itertools.cycle(("lowest", "highest"))
    yield "opposed", arrays(op, lambda fmt, shape: _corner(fmt, shape, next(turn)))
    if any(operand.format.kind == "float" for operand in op.operands()):
        rng = np.random.default_rng(0)
        for make in (_subnormal, _any_exponent, _special):
            yield (
                make.__name__.strip("_"),
                arrays(
                    op, lambda fmt, shape, make=make: make(fmt, shape, rng) if fmt.kind == "float" else _random(fmt, shape, rng)
                ),
            )


def _random(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if fmt.kind != "float":
        return rng.integers(fmt.lowest, fmt.highest, shape, endpoint=True)
    fields = fmt.fields
    exponent = rng.integers(fields.bias - 4, fields.bias + 4, shape)
    mantissa = rng.integers(0, 1 << fields.mantissa, shape)
    return rng.integers(0, 2, shape) * fields.sign | exponent << fields.mantissa | mantissa


def _corner(fmt: Format, shape: tuple[int, ...], name: str) -> np.ndarray:
    lowest, highest = _extremes(fmt)
    if name == "alternating":
        return np.where(np.indices(shape).sum(axis=0) % 2, highest, lowest)
    if name == "one_hot":
        hot = np.zeros(shape, np.int64)
        hot.flat[hot.size // 2 : hot.size // 2 + 1] = lowest or highest  # an array may be empty
        return hot
    return np.full(shape, {"lowest": lowest, "highest": highest, "zero": 0}[name], np.int64)


def _subnormal(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    fields = fmt.fields
    smallest_normal = 1 << fields.mantissa
    beside = np.array([0, 1, smallest_normal - 1, smallest_normal, smallest_normal + 1, fields.bias << fields.mantissa])
    return rng.choice(beside, shape) | rng.integers(0, 2, shape) * fields.sign


def _any_exponent(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, fmt.fields.highest, shape, endpoint=True) | rng.integers(0, 2, shape) * fmt.fields.sign


def _special(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    fields = fmt.fields
    bits = np.full(shape, fields.bias << fields.mantissa, np.int64)
    above = np.array([fields.highest + 1, fields.nan]) if fields.infinities else np.array([fields.nan])
    bits = np.where(rng.random(shape) < 0.05, rng.choice(above, shape), bits)
    return bits | rng.integers(0, 2, shape) * fields.sign


def _extremes(fmt: Format) -> tuple[int, int]:
    """The codes, or bit patterns, of the lowest and highest finite numbers."""
    if fmt.kind != "float":
        return fmt.lowest, fmt.highest
    return fmt.fields.highest | fmt.fields.sign, fmt.fields.highest
