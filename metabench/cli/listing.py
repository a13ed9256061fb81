"""What is there: every registered name with what it stands for, and the cells of a sweep before it runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from metabench.algorithms.base import ALGORITHMS, Algorithm, parameter_count
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.base import MODELS, ModelFactory
from metabench.registry import Registry
from metabench.report.numbers import Valued
from metabench.report.render.tables import Table
from metabench.sweep.builtin import builtin_sweeps
from metabench.tasks.base import TASKS


def listing(kinds: Iterable[str]) -> Iterator[Table]:
    """The tables of the given kinds; their notes name the plug-ins that could not be loaded."""
    for kind in kinds:
        yield TABLES[kind]()


def _registered(title: str, registry: Registry[Any], headers: Sequence[str], row: Callable[[Any], list[str]]) -> Table:
    rows = tuple((name, *row(entry), registry.origin(name)) for name, entry in registry)
    broken = (f"{registry.kind} '{name}' could not be loaded: {why}" for name, why in registry.broken.items())
    return Table(title, "", ("name", *headers, "from"), rows, tuple(broken))


def _algorithm(entry: type[Algorithm]) -> list[str]:
    return [entry.family, entry.order, ", ".join(entry.kinds), entry.source, ", ".join(sorted(entry.presets))]


def _parameters(build: ModelFactory, input_shape: tuple[int, ...], outputs: int) -> str:
    try:
        number = parameter_count(build(input_shape, outputs).init(torch.Generator()))
    except Unsupported:
        return ""
    return Valued(f"{number:,}", number)


def _sweeps() -> Table:
    rows = ((path.stem, path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")) for path in builtin_sweeps())
    return Table("Sweeps", "", ("name", "what it measures"), tuple(rows))


TABLES: Mapping[str, Callable[[], Table]] = {
    "algorithms": partial(
        _registered, "Algorithms", ALGORITHMS, ("family", "order", "tasks", "source", "presets"), _algorithm
    ),
    "engines": partial(_registered, "Engines", ENGINES, ("what it does",), lambda entry: [entry.summary]),
    "models": partial(
        _registered,
        "Models",
        MODELS,
        ("parameters, sinusoid", "parameters, 5-way images"),
        lambda build: [_parameters(build, (1,), 1), _parameters(build, (1, 28, 28), 5)],
    ),
    "tasks": partial(_registered, "Task distributions", TASKS, ("kind",), lambda entry: [entry.kind]),
    "sweeps": _sweeps,
}
