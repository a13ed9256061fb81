"""Measuring: time, memory, phases, work, energy, instructions and launches of a meta-iteration."""
