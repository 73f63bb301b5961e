"""Drives and links as SimPy resources: what commands wait for, in simulated picoseconds. Its modules alone load SimPy."""
