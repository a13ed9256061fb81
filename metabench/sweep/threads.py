"""How many threads a cell has where a sweep leaves it open."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from metabench.algorithms.base import parameter_count
from metabench.models.base import MODELS
from metabench.record.cell import Cell

SMALL_NETWORK = 5_000
"""A network for vectors with fewer parameters has one thread where nothing is said."""


def threads_for(axes: Mapping[str, Any], cores: int, models: Iterable[str]) -> int:
    """One where all `models` that stand together are small networks, or else this process's share of the cores.

    A small network's operators are over before a second thread has taken its part.
    """
    small = axes["device"] == "cpu" and all((_parameters(name) or SMALL_NETWORK) < SMALL_NETWORK for name in models)
    return 1 if small else max(1, cores // axes["world_size"])


@cache
def _parameters(model: str) -> int | None:
    """How many numbers a network holds that takes one to one; None for one that takes images."""
    try:
        return parameter_count(MODELS.get(model)((1,), 1).init(torch.Generator()))
    except Exception:  # of a plug-in, which may raise anything: its cell says so in its row
        return None


def threads_in_words(cells: Sequence[Cell]) -> str:
    """How many threads the cells have, by their models: `1 for mlp-40x2; 2 for conv4-64`."""
    models: dict[int, dict[str, None]] = {}
    for cell in cells:
        models.setdefault(cell.threads, {})[cell.model] = None
    return "; ".join(f"{threads} for {', '.join(names)}" for threads, names in sorted(models.items()))
