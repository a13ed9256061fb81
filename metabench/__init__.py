"""metabench: a benchmark and profiling suite for meta-learning."""

from metabench.version import __version__

__all__ = ["__version__"]
