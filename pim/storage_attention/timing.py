"""Depths of the engine's pipelines, each written once for RTL and price, and the cycles of its phases.

    KERNEL     from a word that passes the filter until its sums are in their memory: word, operands, product, addends, sum, write
    SCALAR     registers of the scalar pipe: operands, sum, product (3), what is looked up (4), result
    rank       a pass over n words takes n + RANK_PASS cycles, the one that marks what is selected n + RANK_MARK
    look       a cycle in which a page is looked up: its filter is set, or it is skipped
    step       one scalar after the other through the scalar pipe: an issue and its result

A page takes a cycle per word, whether words are dropped or not; a kept word of keys takes two, as the dot product takes a word
every second cycle. So cycles follow from the numbers of pages that are read.
"""

from __future__ import annotations

from typing import Any

from pim.pim_bank.timing import DEPTHS

DOT = DEPTHS["fp16"]
KERNEL_MULTIPLY, KERNEL_ADD = 1, 1
"""Registers inside of a lane's multiplier and adder."""
WRITE = 1
"""The register in front of a memory: its bits fan out to every word."""
KERNEL = 2 + KERNEL_MULTIPLY + 1 + KERNEL_ADD + WRITE
"""Cycles after the last word in which the kernel is busy."""
REUSE = KERNEL_ADD + 2 + WRITE
"""Words until a sum may be added to again."""
SCALAR_ADD, SCALAR_MULTIPLY, SPECIAL = 1, 2, 4
SCALAR = 1 + (SCALAR_ADD + 1) + (SCALAR_MULTIPLY + 1) + SPECIAL
"""Cycles from what enters the scalar pipe to its result, all registers counted."""
SCAN = 1
"""The register behind a memory that is read."""
TERM, TOTAL = 1, 2
"""What is added up, and the adder of the sums: two, so that one per cycle is taken."""
OUTPUT_MULTIPLY, OUTPUT_ADD, OUT = 2, 1, 1
RANK_PASS, RANK_MARK = 3, 2 + WRITE
CHANNEL_BITS, TOKEN_BITS = 15, 32
"""Bits of what is ranked: magnitudes of FP16 numbers, scores in FP32."""
CONFIG = 1
TEMPERATURE_STEPS, SHARE_STEPS, GAIN_STEPS = 4, 3, 2
"""Scalars on the way to 1 / tau, to alpha and 1 - alpha, and to what the sums of values are multiplied by."""


def rank_cycles(bits: int, words: Any) -> Any:
    """Bit by bit, highest first, and then the marks."""
    return bits * (words + RANK_PASS) + words + RANK_MARK


def norm_cycles(words: int, lanes: int) -> int:
    """Two dot products of ``words`` words, and their way to the end of the pipeline."""
    return 2 * words * DOT.accumulate + DOT.stages(lanes) - 1


def step_cycles(steps: int) -> int:
    return steps * (SCALAR + 1)


def softmax_cycles(elements: Any) -> Any:
    """Exponentials of so many elements, one per cycle, and their sum."""
    return elements + SCAN + SCALAR + TERM + TOTAL - 1


def output_cycles(head_dim: int) -> int:
    return head_dim + SCAN + SCALAR + OUTPUT_ADD + 1 + OUT


def score_page_cycles(pages: Any, read: Any, words: int) -> Any:
    """Pages whose words are added into the sums of the kernel: ``read`` of ``pages``, of ``words`` words."""
    return pages + read * words + KERNEL


def key_drain(lanes: int) -> int:
    """Cycles from the last word of keys until its score is in memory."""
    return DOT.stages(lanes) - 1 + WRITE


def key_page_cycles(pages: Any, read: Any, words: int, kept: Any, lanes: int) -> Any:
    """Pages for dot products, ``kept`` words in all."""
    return pages + read * words + kept * (DOT.accumulate - 1) + key_drain(lanes)
