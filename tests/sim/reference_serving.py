"""The serving engine once more, naively: plain Python, no SimPy, one iteration at a time, one list of tokens per request.

Written from the documented behaviour, not from the engine: block tables are lists of block numbers, and every request is touched
in every iteration. Slow, and only for comparison.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Item:
    index: int
    arrival: int
    prompt: int
    output: int
    times: list = field(default_factory=list)  # of every emitted token
    done: int = 0  # tokens of the present prefill
    target: int = 0
    table: list = field(default_factory=list)  # numbers of the blocks it holds
    cached: int = 0
    admitted: int = -1
    evictions: int = 0
    decoding: bool = False


class Node:
    """One replica."""

    def __init__(self, blocks, block):
        self.pool = list(range(blocks))
        self.all, self.block = blocks, block
        self.queue, self.active = [], []  # active: in order of admission
        self.until = None
        self.work = ()
        self.counts = Counter()
        self.linear, self.head = Counter(), Counter()
        self.gaps = []

    def lacks(self, item, tokens):
        """Blocks that ``item`` needs in addition to cache ``tokens`` tokens."""
        need = 0
        while (len(item.table) + need) * self.block < tokens:
            need += 1
        return need

    def hold(self, item, tokens):
        while len(item.table) * self.block < tokens:
            item.table.append(self.pool.pop())
        item.cached = tokens

    def drop(self, item):
        self.pool.extend(item.table)
        item.table.clear()
        item.cached = 0

    def decoding(self):
        return [item for item in self.active if item.decoding]

    def evict(self, item):
        self.active.remove(item)
        self.drop(item)
        item.decoding, item.done, item.target = False, 0, item.prompt + len(item.times)
        item.evictions += 1
        self.queue.insert(0, item)


def fcfs(node, policy, longest):
    """(chunks, whether to decode) of the next iteration."""
    budget = max(longest, 2048) if policy.max_batched_tokens is None else policy.max_batched_tokens
    kept = int(policy.watermark * node.all)
    chosen, tokens, blocks = [], 0, 0
    for item in node.queue:
        if len(node.active) + len(chosen) == policy.max_num_seqs:
            break
        more = node.lacks(item, item.target)
        alone = not node.active and not chosen
        if len(node.pool) - blocks - more < (0 if alone else kept):
            break
        if chosen and tokens + item.target > budget:
            break
        chosen.append((item, item.target))
        tokens += item.target
        blocks += more
    return chosen, not chosen


def chunked(node, policy, longest):
    decoding = node.decoding()
    blocks = sum(node.lacks(item, item.cached + 1) for item in decoding)
    if blocks > len(node.pool):
        return [], True
    left = policy.max_batched_tokens - len(decoding)
    chosen = []
    for item in [item for item in node.active if not item.decoding]:
        size = min(left, item.target - item.done)
        more = node.lacks(item, item.done + size)
        if size == 0 or blocks + more > len(node.pool):
            return chosen, True
        chosen.append((item, size))
        left -= size
        blocks += more
    for admitted, item in enumerate(node.queue):
        if left == 0 or len(node.active) + admitted == policy.max_num_seqs:
            break
        size = min(left, item.target)
        more = node.lacks(item, size)
        kept = int(policy.watermark * node.all) if node.active or admitted else 0
        if len(node.pool) - blocks - more < kept:
            break
        chosen.append((item, size))

        left -= size
        blocks += more
    return chosen, True


def begin(node, now, pricer, policy, longest):
    """Start the next iteration of an idle replica, if there is one."""
    while True:
        chunks, decode = (fcfs if policy.kind() == "fcfs" else chunked)(node, policy, longest)
        decoding = node.decoding() if decode else []
        if not chunks and not decoding:
            return
        while sum(node.lacks(item, item.cached + 1) for item in decoding) > len(node.pool):
            node.evict(node.active[-1])
            decoding = node.decoding()
        if chunks or decoding:
            break
    shapes = []
    for item, size in chunks:
        if item in node.queue:
            node.queue.remove(item)
            node.active.append(item)
            if item.admitted < 0:
                item.admitted = now
        shapes.append((size, item.done))
        node.hold(item, item.done + size)
    for item in decoding:
        node.hold(item, item.cached + 1)
    attended = sum(item.cached for item in decoding)
    tokens = len(decoding) + sum(size for size, _ in shapes)
    rows = len(decoding) + sum(item.done + size == item.target for item, size in chunks)
    price = pricer.step_ps(tokens, rows, shapes, len(decoding), attended)
    node.linear[tokens] += 1
    if rows:
        node.head[rows] += 1
    node.counts.update(
        decode_iterations=bool(decoding),
        decode_tokens=len(decoding),
        decode_context=attended,
        chunks=len(shapes),
        chunk_tokens=sum(size for size, _ in shapes),
        chunk_context=sum(size + past for size, past in shapes),
        chunk_pairs=sum(past + i + 1 for size, past in shapes for i in range(size)),
        busy_ps=price,
    )
    node.until = now + price
    node.work = (chunks, decoding)


def end(node, now):
    chunks, decoding = node.work
    node.until, node.work = None, ()
    emitting = list(decoding)
    for item, size in chunks:
        item.done += size
        if item.done == item.target:
            item.decoding = True
            emitting.append(item)
    for item in emitting:
        if item.times:
            node.gaps.append(now - item.times[-1])
        item.times.append(now)
        if len(item.times) == item.output:
            node.active.remove(item)
            node.drop(item)


def serve_naively(pricers, trace, policy, *, kv_tokens, block_tokens=16, max_context=None, router="round_robin"):
    """(items, nodes) after the trace; items that were rejected have no node's attention and no times."""
    total = kv_tokens // block_tokens
    nodes = [Node(total, block_tokens) for _ in pricers]
    longest = total * block_tokens + 1 if max_context is None else min(max_context, total * block_tokens + 1)
    items, place = [], {}
    for index, (arrival, prompt, output) in enumerate(zip(trace.arrival_ps, trace.prompt, trace.output, strict=True)):
        items.append(Item(index, int(arrival), int(prompt), int(output), target=int(prompt)))
    coming = [
        item
        for item in items
        if -(-(item.prompt + item.output - 1) // block_tokens) <= total
        and (max_context is None or item.prompt + item.output <= max_context)
    ]
    routed = 0
    while coming or any(node.until is not None for node in nodes):
        now = min([item.arrival for item in coming[:1]] + [node.until for node in nodes if node.until is not None])
        while coming and coming[0].arrival == now:
            item = coming.pop(0)
            loads = [len(node.queue) + len(node.active) for node in nodes]
            chosen = routed % len(nodes) if router == "round_robin" else loads.index(min(loads))
            routed += 1
            place[item.index] = chosen
            nodes[chosen].queue.append(item)
        for node in nodes:
            if node.until == now:
                end(node, now)
        for node, pricer in zip(nodes, pricers, strict=True):
            if node.until is None:
                begin(node, now, pricer, policy, longest)
    return items, nodes, place
