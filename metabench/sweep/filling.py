"""What a sweep leaves open: filled in alike for all cells that stand together, and put in words."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from metabench import sources
from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.presets import ALIKE, BY_NAME, NO_AXES, Preset, most_specific
from metabench.record.cell import AXES, PARTICULAR, Cell, data_of
from metabench.tasks.base import TASKS

REFERENCE = "maml"
"""The algorithm whose presets say what is alike for all, and stand in for those that another lacks."""
POINTS = 10
"""Support points of a regression task, where the default of the axis is for images."""
SAID = (*ALIKE, "model", "inner_lr", "inner_steps", "outer_lr")
"""Axes that are said even where their value is the default."""


@dataclass(frozen=True)
class Filling:
    """Where the values come from that a sweep leaves open in a cell."""

    algorithm: str
    task: str
    preset: str
    named: bool
    """Whether the sweep names the preset."""
    owner: str
    """The algorithm whose preset it is: the reference, where the algorithm has none for the task."""
    like: Mapping[str, str]
    """The task that a preset is for, by its algorithm: the owner or the reference."""
    values: Mapping[str, Any]
    """What presets fill in, by axis."""


def fill(
    point: Mapping[str, Any], threads: Callable[[Mapping[str, Any]], int], measure: tuple[Any, ...]
) -> tuple[Cell, Filling]:
    """The cell of a point of a sweep, and where its other values come from.

    What a sweep asks for holds in training and in testing. A preset that it names is taken whole. If it names none,
    the reference's preset says how large the work is for all algorithms, held-out tasks are as training tasks, and an
    algorithm's own preset gives only what belongs to its method. `threads` says how many threads such a cell has, if
    the point does not.
    """
    algorithm = ALGORITHMS.get(point["algorithm"])
    source = TASKS.get(point["task"])
    kind = source.kind
    given = {**point, "ways": 1, "train_ways": 1} if kind == "regression" else dict(point)
    foreign = {name for name in PARTICULAR if name not in source.axes}
    given = {name: value for name, value in given.items() if name not in foreign}
    if algorithm.order == "none":  # cells that differ in the steps of an inner loop they don't have would be the same
        given |= {"inner_steps": 0, "eval_steps": 0}
    named = "preset" in point
    defaults = {name: axis.default for name, axis in AXES.items() if axis.default is not None}
    defaults |= {"shots": POINTS} if kind == "regression" else {}
    chosen = {**defaults, **given}
    owner, of_task, whole = _preset(point["algorithm"], chosen)
    own = whole if named else whole.plain or whole
    like = {owner: of_task}
    foreign |= {"split"} if of_task != point["task"] else set()  # a published split is that of one data set
    taken = _fields(own, but=foreign if named else BY_NAME)
    if not named:
        _, of_task, reference = _preset(REFERENCE, chosen)
        like[REFERENCE] = of_task
        work = {name: getattr(reference, name) for name in ALIKE}
        work["iterations"] = reference.alike_iterations or work["iterations"]
        # a method that learns nothing would only wait for its training
        taken |= {name: value for name, value in work.items() if own.iterations or name != "iterations"}
    values = defaults | taken | given
    for shape in ("ways", "shots"):
        values[f"train_{shape}"] = values[f"train_{shape}"] or values[shape]
    asked = 0 if named else given.get("query", 0)
    as_published = 100 if kind == "regression" else values["shots"]  # MAML's authors: as many queries as shots
    testing = {"eval_steps": values["inner_steps"], "eval_query": asked or as_published}
    testing |= {"eval_rotation": values["rotation"]}
    values |= {name: value for name, value in testing.items() if name not in {**taken, **given}}
    values["threads"] = values["threads"] or threads(values)
    values |= {name: float(values[name]) for name, axis in AXES.items() if axis.kind is float}
    left_open = {name: value for name, value in taken.items() if name not in given}
    found = Filling(point["algorithm"], point["task"], chosen["preset"], named, owner, like, left_open)
    return Cell(**values, measure=measure), found


def _preset(name: str, chosen: Mapping[str, Any]) -> tuple[str, str, Preset]:
    """The preset of an algorithm for a setting, whose and for which task it is: else the reference's, else its usual.

    An algorithm without one for the task takes its own for the nearest task of the suite.
    """
    usual = AXES["preset"].default
    relative = _relative(chosen["task"], tuple(data_of(chosen).items()), str(sources.folder()))
    for owner, preset in ((name, chosen["preset"]), (REFERENCE, chosen["preset"]), (REFERENCE, usual)):
        presets = ALGORITHMS.get(owner).presets
        for task in (chosen["task"], relative):
            found = most_specific(presets, preset, task, chosen["ways"], chosen["shots"])
            if found:
                return owner, task, found
    raise AssertionError(f"{REFERENCE} has a preset for every kind of task")


@cache
def _relative(task: str, data: tuple[tuple[str, Any], ...], base: str) -> str:
    """The task whose presets another one takes, by its data, which lie in a folder from `base`: looked at once."""
    return TASKS.get(task).relative(dict(data))


def _fields(preset: Preset, but: Iterable[str]) -> dict[str, Any]:
    """The values of a preset by axis; a shape of 0 says nothing."""
    left_out = {*NO_AXES, *but, *(name for name in BY_NAME if name != "eval_steps" and not getattr(preset, name))}
    return {name: value for name, value in asdict(preset).items() if name not in left_out}


def in_words(fillings: Iterable[Filling]) -> list[str]:
    """What was filled in and where it comes from: a sentence for each way; nothing of what cannot be run."""
    found = [one for one in fillings if TASKS.get(one.task).kind in ALGORITHMS.get(one.algorithm).kinds]
    said = []
    if alike := _by_task([one for one in found if not one.named], ALIKE, of=REFERENCE):
        said.append(f"Filled in for all algorithms, from {REFERENCE}'s preset: {alike}.")
    if named := dict.fromkeys(_said_preset(one) for one in found if one.named):
        said.append(f"Filled in for each algorithm, from its preset by the name that is given: {'; '.join(named)}.")
    lacking: dict[str, dict[str, None]] = {}
    for algorithm in dict.fromkeys(one.algorithm for one in found if one.owner != one.algorithm):
        borrowed = [one for one in found if one.algorithm == algorithm != one.owner]
        rest = [axis for axis in AXES if axis not in ALIKE or any(one.named for one in borrowed)]
        lacking.setdefault(_by_task(borrowed, rest), {})[algorithm] = None
    for values, algorithms in lacking.items():
        names = ", ".join(algorithms)
        said.append(f"Filled in for {names} (no preset of its own), from {REFERENCE}'s: {values}.")
    return said


def _by_task(fillings: Iterable[Filling], axes: Iterable[str], of: str = "") -> str:
    """The values on some axes, task by task, from presets of `of`, or else of their owner."""
    axes = list(axes)
    tasks: dict[str, dict[str, dict[str, None]]] = {}
    for one in fillings:
        for axis in axes:
            if axis in one.values and (axis in SAID or one.values[axis] != AXES[axis].default):
                where = _said_task(one.task, one.like[of or one.owner])
                tasks.setdefault(where, {}).setdefault(axis, {})[str(one.values[axis])] = None
    return "; ".join(
        ", ".join(f"{AXES[axis].word} {' or '.join(values)}" for axis, values in found.items()) + f" ({task})"
        for task, found in tasks.items()
    )


def _said_preset(one: Filling) -> str:
    """The name of a preset, with its task where that is another one."""
    of_task = one.like[one.owner]
    return one.preset if of_task == one.task else f"{one.preset} ({_said_task(one.task, of_task)})"


def _said_task(task: str, preset_of: str) -> str:
    """A task, with that whose presets it takes."""
    return task if task == preset_of else f"{task}, which takes those of {preset_of}"
