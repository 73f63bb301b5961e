"""Bench: what the tool itself costs. Every job runs in a fresh process; times are CPU-seconds after imports."""
