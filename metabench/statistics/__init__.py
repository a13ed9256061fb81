"""Estimates with their uncertainty; what is a textbook's is SciPy's."""
