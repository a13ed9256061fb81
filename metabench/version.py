"""The version of metabench."""

__version__ = "0.1.0"
