"""What a page takes in the compute core beside its words, entries and results: the registers on the way, in cycles."""

CONFIG = 1
"""The config word."""
READY = 10
"""From the first cycle of a page until its first entry and its successor are decoded: 9 copies of the threshold, and a register.
A vector of fewer words waits for it."""
OVERHEAD = 4
"""A word into its register, its products, their sum; and the status word."""
