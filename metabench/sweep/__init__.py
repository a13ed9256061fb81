"""Sweeps: from a sweep file to cells, from a cell in a process of its own to a measurement, to a run folder."""
