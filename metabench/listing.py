"""What `metabench list` shows: every registered name with what it stands for."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.registry import Registry
from metabench.sweep.builtin import builtin_sweeps
from metabench.tasks.base import TASKS


class Listing(NamedTuple):
    """A table of names."""

    title: str
    headers: list[str]
    rows: list[list[Any]]
    notes: list[str]
    """Plug-ins that could not be loaded."""


def listing(kinds: Iterable[str]) -> Iterator[Listing]:
    """The tables of the given kinds."""
    for kind in kinds:
        yield {"algorithms": _algorithms, "engines": _engines, "models": _models, "tasks": _tasks, "sweeps": _sweeps}[
            kind
        ]()


def _algorithms() -> Listing:
    rows = [
        [
            *(name, entry.family, entry.order, ", ".join(entry.kinds), entry.source),
            *(", ".join(sorted(entry.presets)), ALGORITHMS.origin(name)),
        ]
        for name, entry in ALGORITHMS
    ]
    headers = ["name", "family", "order", "tasks", "source", "presets", "from"]
    return Listing("Algorithms", headers, rows, _broken(ALGORITHMS))


def _engines() -> Listing:
    rows = [[name, entry.summary, ENGINES.origin(name)] for name, entry in ENGINES]
    return Listing("Engines", ["name", "what it does", "from"], rows, _broken(ENGINES))


def _models() -> Listing:
    import torch

    from metabench.algorithms.base import parameter_count

    rows = []
    for name, build in MODELS:
        sizes = []
        for shape, outputs in (((1,), 1), ((1, 28, 28), 5)):
            try:
                sizes.append(f"{parameter_count(build(shape, outputs).init(torch.Generator())):,}")
            except Unsupported:
                sizes.append("")
        rows.append([name, *sizes, MODELS.origin(name)])
    return Listing(
        "Models", ["name", "parameters, sinusoid", "parameters, 5-way images", "from"], rows, _broken(MODELS)
    )


def _tasks() -> Listing:
    rows = [[name, entry.kind, TASKS.origin(name)] for name, entry in TASKS]
    return Listing("Task distributions", ["name", "kind", "from"], rows, _broken(TASKS))


def _sweeps() -> Listing:
    rows = [[path.stem, path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")] for path in builtin_sweeps()]
    return Listing("Sweeps", ["name", "what it measures"], rows, [])


def _broken(registry: Registry[Any]) -> list[str]:
    return [f"{registry.kind} '{name}' could not be loaded: {why}" for name, why in registry.broken.items()]
