"""Measuring: clock, memory, statistics, machine fingerprint, correctness gate."""
