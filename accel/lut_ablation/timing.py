"""Pipeline depths and widths of the ablation's tile, each written once for its RTL and its cost."""

TABLE_STAGE = 1
"""Cycles from an activation word to the first plane where tables are built: the table registers."""
FILL = 2
"""Cycles beside planes and table stage: the config word, and the word of sums."""
RUN_BITS = 32
"""Width of the counter of invocations in one run."""
