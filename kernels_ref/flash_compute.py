"""Golden kernels of a compute core on a NAND die: a page of INT8 weights, mended as far as its code goes, times a vector.

`page_gemv` is what the core gives, bit for bit, its counters included; `ideal_page_gemv` is the mathematics, of weights without
a wrong bit. Both are equal as long as wrong bits are within the power of the code: of each bit of the threshold at most four
copies, of each entry's address and code at most one bit, of each bit of a protected value at most one copy, and none of other
values, which have no copies. Of those a wrong one that is above the threshold becomes 0; any other stays.

A page is one string of bits here: the values, 8 bits each and row by row (rows filled up with zeros to whole words of ``macs``
values), then nine copies of the threshold, then the entries. It is written down independently of `pim.outlier_ecc`, whose
docstring gives the layout and its source, Cambricon-LLM, MICRO'24 (arXiv 2409.15654).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from workloads.page_gemv import PageGemv

COPIES = 9


def ideal_page_gemv(op: PageGemv, weights: np.ndarray, vector: np.ndarray) -> Tensor:
    """sum_c W[r, c] x[c], int64 [rows]."""
    w, x = (torch.as_tensor(np.asarray(a, np.int64)) for a in (weights, vector))
    return (w * x).sum(-1)


def page_gemv(
    op: PageGemv,
    weights: np.ndarray,
    vector: np.ndarray,
    flips: np.ndarray,
    *,
    macs: int = 2,
    page_values: int = 1 << 14,
    permille: int = 10,
) -> tuple[np.ndarray, np.ndarray]:
    """The sums [rows] and the counts [6] of a page with the bits ``flips`` wrong.

    The counts: bits of the threshold whose copies differ, addresses corrected, protected values with unequal copies, values cut
    to zero, entries lost, protected values in doubt. With no wrong bit all are 0.
    """
    values = pad(torch.as_tensor(np.asarray(weights, np.int64)), (0, -op.columns % macs)).flatten()
    protected = max(1, values.numel() * permille // 1000)
    width = (page_values - 1).bit_length()
    bits = encoded(values, protected, width)
    positions = torch.as_tensor(np.asarray(flips, np.int64)) % bits.numel()
    wrong = torch.bincount(positions, minlength=bits.numel()) % 2
    found, counts = decoded((bits + wrong) % 2, values.numel(), width)
    decoded_rows = found.view(op.rows, -1)[:, : op.columns]
    sums = ideal_page_gemv(op, decoded_rows.numpy(), vector)
    return sums.to(torch.int32).to(torch.int64).numpy(), np.array(counts, np.int64)


def encoded(values: Tensor, protected: int, width: int) -> Tensor:
    """The bits of a page of INT8 ``values`` and of its spare area, for addresses of ``width`` bits."""
    # A key that no two values share: by magnitude, and of equal ones by the lower address.
    keys = values.abs() * values.numel() + torch.arange(values.numel() - 1, -1, -1)
    addresses = keys.topk(protected).indices.sort().values
    threshold = values[addresses].abs().min()
    checks = check_matrix(width)
    address_bits = to_bits(addresses, width)
    parity = address_bits @ checks[:width] % 2
    copy = to_bits(values[addresses], 8)
    entries = torch.cat([address_bits, parity, copy, copy], dim=1)
    return torch.cat([to_bits(values, 8).flatten(), to_bits(threshold.repeat(COPIES), 8).flatten(), entries.flatten()])


def decoded(bits: Tensor, count: int, width: int) -> tuple[Tensor, list[int]]:
    """The INT8 values [count] that a page's ``bits`` stand for, and the six counts."""
    page, spare = bits[: 8 * count].view(count, 8), bits[8 * count :]
    copies, checks = spare[: 8 * COPIES].view(COPIES, 8), check_matrix(width)
    code = checks.shape[1]
    entries = spare[8 * COPIES :].view(-1, width + code + 16)
    ones = copies.sum(0)
    threshold = from_bits((2 * ones > COPIES).long())
    words = entries[:, : width + code]
    syndromes = words @ checks % 2  # of which each row of `checks` is that of one wrong bit
    match = (syndromes[:, None] == checks).all(-1)
    repaired = ((words + match) % 2)[:, :width]
    addresses = from_bits(repaired).tolist()
    usable = [bool(u) and a < count for u, a in zip(match.any(1) | (syndromes == 0).all(1), addresses, strict=True)]
    result = _signed(from_bits(page))
    kept = torch.zeros(count, dtype=torch.bool)
    uneven = doubtful = lost = 0
    last = -1
    for i, address in enumerate(addresses):
        # What follows tells which of two addresses out of order is wrong: one that fits behind the last good one is believed.
        overtaken = i + 1 < len(addresses) and usable[i + 1] and last < addresses[i + 1] <= address
        if not usable[i] or address <= last or overtaken:
            lost += 1
            continue
        last = address
        three = torch.stack([page[address], entries[i, -16:-8], entries[i, -8:]])
        apart = [int((three[a] != three[b]).sum()) for a, b in ((0, 1), (0, 2), (1, 2))]
        uneven += any(apart)
        doubtful += all(apart) or (apart[2] == 0 and apart[0] >= 2)
        result[address] = _signed(from_bits((three.sum(0) >= 2).long()))
        kept[address] = True
    clip = (result.abs() > threshold) & ~kept
    result[clip] = 0
    differing = int(((ones > 0) & (ones < COPIES)).sum())
    corrected = int(match.any(1).sum())
    return result, [differing, corrected, uneven, int(clip.sum()), lost, doubtful]


def check_matrix(width: int) -> Tensor:
    """Hamming's check matrix, [width + code bits, code bits]: what each wrong bit makes of the syndrome, address bits first."""
    code = next(h for h in range(1, 32) if 2**h > width + h)
    places = range(1, width + code + 1)
    ordered = [p for p in places if p & (p - 1)] + [1 << i for i in range(code)]
    return to_bits(torch.tensor(ordered), code)


def to_bits(numbers: Tensor, width: int) -> Tensor:
    """[n, width], lowest bit first; of negative numbers the two's complement."""
    return numbers.unsqueeze(-1) >> torch.arange(width) & 1


def from_bits(bits: Tensor) -> Tensor:
    """The numbers of which the last axis holds the bits, lowest first."""
    return (bits << torch.arange(bits.shape[-1])).sum(-1)


def _signed(codes: Tensor) -> Tensor:
    """INT8 from codes 0 to 255."""
    return codes.to(torch.uint8).view(torch.int8).long()
