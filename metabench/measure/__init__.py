"""Measuring: time, memory, phases, work, energy and launches of a meta-iteration."""
