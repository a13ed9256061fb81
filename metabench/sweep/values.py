"""Which values the axes of a sweep file, a search or a command may have."""

from collections.abc import Mapping, Sequence
from typing import Any

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.errors import UserError, unknown
from metabench.models.base import MODELS
from metabench.record.axes import LARGEST_WHOLE, quoted
from metabench.record.cell import AXES
from metabench.registry import Registry
from metabench.tasks.base import TASKS, check_split

REGISTRIES: Mapping[str, Registry[Any]] = {"algorithm": ALGORITHMS, "engine": ENGINES, "task": TASKS, "model": MODELS}
"""Axes whose values are names of what is registered."""
SETTABLE = frozenset(name for name, axis in AXES.items() if axis.settable)


def check(axis: str, value: Any) -> None:
    """Raise `UserError` unless a sweep file may put `value` on `axis`."""
    declared = AXES[axis]
    if isinstance(value, str) and axis in REGISTRIES:
        REGISTRIES[axis].get(value)
    elif axis == "preset":
        names = {key.split("/")[0] for algorithm in ALGORITHMS.known().values() for key in algorithm.presets}
        if not isinstance(value, str) or value not in names:
            raise unknown("preset", name_of(value), names)
    elif declared.choices and value not in declared.choices:
        raise unknown(axis, name_of(value), declared.choices)
    elif declared.kind is int and isinstance(value, int) and value > LARGEST_WHOLE:
        raise UserError(f"axis '{axis}' takes whole numbers up to {LARGEST_WHOLE:,}, not {quoted(value)}")
    elif takes := declared.fault(value):
        raise UserError(f"axis '{axis}' takes {takes}, not {quoted(value)}")


def check_takers(axis: str, values: Sequence[Any], tasks: Sequence[str]) -> None:
    """Raise `UserError` unless one of the tasks takes each of the values of an axis that not all tasks have.

    Where no task is named, none takes them.
    """
    sources = [TASKS.get(task) for task in tasks]
    if not any(axis in source.axes for source in sources):
        takers = ", ".join(name for name, source in TASKS if axis in source.axes)
        instead = f", not for {', '.join(tasks)}" if tasks else ": name one of them"
        raise UserError(f"axis '{axis}' is for the tasks {takers}{instead}")
    for value in values if axis == "split" else ():
        check_split(value, sources)


def name_of(value: Any) -> str:
    """What should be a name, in short."""
    return value if isinstance(value, str) else quoted(value)
