"""What is there: every registered name with what it stands for."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metabench.report.numbers import Valued
from metabench.report.render.tables import Table
from metabench.sweep.builtin import builtin_sweeps

# What is registered needs torch to be loaded; the list of sweeps does not.
if TYPE_CHECKING:
    from metabench.models.base import ModelFactory
    from metabench.registry import Registry

SENTENCE = re.compile(r"(.+?\.)(?:\s|$)")


def listing(kinds: Iterable[str], full: bool) -> Iterator[Table]:
    """The tables of the given kinds, of algorithms with all that is known if `full`.

    Their notes name the plug-ins that could not be loaded.
    """
    for kind in kinds:
        yield TABLES[kind](full)


def _algorithms(full: bool) -> Table:
    from metabench.algorithms.base import ALGORITHMS, Algorithm

    def row(entry: type[Algorithm]) -> list[str]:
        kinds = ", ".join(entry.kinds) if full or len(entry.kinds) == 1 else "both"
        known = [entry.family, entry.order, kinds, entry.source]
        return [*known, ", ".join(sorted(entry.presets))] if full else known

    headers = ("family", "order", "tasks", "source")
    return _registered("Algorithms", ALGORITHMS, (*headers, "presets") if full else headers, row)


def _engines(full: bool) -> Table:
    from metabench.engines.base import ENGINES, Engine

    def row(entry: Engine) -> list[str]:
        return [entry.summary, entry.library if entry.is_installed else f"{entry.library}, not installed"]

    return _registered("Engines", ENGINES, ("what it does", "needs"), row)


def _models(full: bool) -> Table:
    from metabench.models.base import MODELS

    headers = ("parameters, sinusoid", "parameters, 5-way images")
    return _registered(
        "Models", MODELS, headers, lambda build: [_parameters(build, (1,), 1), _parameters(build, (1, 28, 28), 5)]
    )


def _parameters(build: "ModelFactory", input_shape: tuple[int, ...], outputs: int) -> str:
    import torch

    from metabench.algorithms.base import parameter_count
    from metabench.errors import Unsupported

    try:
        number = parameter_count(build(input_shape, outputs).init(torch.Generator()))
    except Unsupported:
        return ""
    return Valued(f"{number:,}", number)


def _tasks(full: bool) -> Table:
    from metabench.tasks.base import TASKS

    return _registered("Task distributions", TASKS, ("kind",), lambda entry: [entry.kind])


def _registered(
    title: str, registry: "Registry[Any]", headers: Sequence[str], row: Callable[[Any], list[str]]
) -> Table:
    rows = tuple((name, *row(entry), registry.origin(name)) for name, entry in registry)
    broken = (f"{registry.kind} '{name}' could not be loaded: {why}" for name, why in registry.broken.items())
    return Table(title, "", ("name", *headers, "from"), rows, tuple(broken))


def _sweeps(full: bool) -> Table:
    rows = tuple((path.stem, _first_sentence(path.read_text(encoding="utf-8"))) for path in builtin_sweeps())
    return Table("Sweeps", "", ("name", "what it measures"), rows)


def _first_sentence(text: str) -> str:
    """The first sentence of the comment that a file begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    comment = " ".join(lines)
    found = SENTENCE.match(comment)
    return found[1] if found else comment


TABLES: Mapping[str, Callable[[bool], Table]] = {
    "algorithms": _algorithms,
    "engines": _engines,
    "models": _models,
    "tasks": _tasks,
    "sweeps": _sweeps,
}
