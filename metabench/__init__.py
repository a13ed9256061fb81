"""metabench: a benchmark and profiling suite for meta-learning."""

__version__ = "0.1.0"
