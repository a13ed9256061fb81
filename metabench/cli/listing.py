"""What `metabench list` shows: every registered name with what it stands for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.registry import Registry
from metabench.report.numbers import Valued
from metabench.report.render.tables import Table
from metabench.sweep.builtin import builtin_sweeps
from metabench.tasks.base import TASKS


def listing(kinds: Iterable[str]) -> Iterator[Table]:
    """The tables of the given kinds; their notes name the plug-ins that could not be loaded."""
    for kind in kinds:
        yield TABLES[kind]()


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> Table:
    return Table(title, "", tuple(columns), tuple(map(tuple, rows)), tuple(notes))


def _algorithms() -> Table:
    rows = [
        [
            *(name, entry.family, entry.order, ", ".join(entry.kinds), entry.source),
            *(", ".join(sorted(entry.presets)), ALGORITHMS.origin(name)),
        ]
        for name, entry in ALGORITHMS
    ]
    headers = ["name", "family", "order", "tasks", "source", "presets", "from"]
    return _table("Algorithms", headers, rows, _broken(ALGORITHMS))


def _engines() -> Table:
    rows = [[name, entry.summary, ENGINES.origin(name)] for name, entry in ENGINES]
    return _table("Engines", ["name", "what it does", "from"], rows, _broken(ENGINES))


def _models() -> Table:
    import torch

    from metabench.algorithms.base import parameter_count

    rows = []
    for name, build in MODELS:
        sizes: list[str] = []
        for shape, outputs in (((1,), 1), ((1, 28, 28), 5)):
            try:
                number = parameter_count(build(shape, outputs).init(torch.Generator()))
                sizes.append(Valued(f"{number:,}", number))
            except Unsupported:
                sizes.append("")
        rows.append([name, *sizes, MODELS.origin(name)])
    return _table("Models", ["name", "parameters, sinusoid", "parameters, 5-way images", "from"], rows, _broken(MODELS))


def _tasks() -> Table:
    rows = [[name, entry.kind, TASKS.origin(name)] for name, entry in TASKS]
    return _table("Task distributions", ["name", "kind", "from"], rows, _broken(TASKS))


def _sweeps() -> Table:
    rows = [[path.stem, path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")] for path in builtin_sweeps()]
    return _table("Sweeps", ["name", "what it measures"], rows)


def _broken(registry: Registry[Any]) -> list[str]:
    return [f"{registry.kind} '{name}' could not be loaded: {why}" for name, why in registry.broken.items()]


TABLES: Mapping[str, Callable[[], Table]] = {
    "algorithms": _algorithms,
    "engines": _engines,
    "models": _models,
    "tasks": _tasks,
    "sweeps": _sweeps,
}
