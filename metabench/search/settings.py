"""What a search is asked for, put together and checked; and the configuration of each trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.errors import UserError, unknown
from metabench.files import as_struct
from metabench.record.cell import AXES, PARTICULAR, Cell, axes_of
from metabench.record.searching import Asked, Value, read_asked
from metabench.search.sampling import Sampler
from metabench.search.space import Parameter, Space, read_space, split, usual_space
from metabench.sweep.filling import fill
from metabench.sweep.judging import metric_of
from metabench.sweep.values import check, check_takers
from metabench.tasks.base import TASKS

PRESET = "quick"
"""Preset whose values are taken on the axes that a search leaves open."""
TRAINING_SEED = 1000
"""Seed of all trainings: none that a sweep is likely to have, so that a confirmation is on others."""
UNKNOWN_YET = "loop"
"""Engine of a configuration before one is chosen."""
ADAPTED_BY = {"eval_steps", "eval_batch"}
"""Axes of the evaluation that say how a held-out task adapts: they may be searched, as inner steps may."""
ALIKE = {"seed", "threads", *axes_of("task", "evaluation")} - ADAPTED_BY
"""Axes that have one value in all trials: what decides the held-out tasks and how they are judged, the seed, and how
fast a training goes."""


@dataclass(frozen=True)
class Settings:
    """A search whose every part has been checked. Raises `UserError` when it is made."""

    asked: Asked

    def __post_init__(self) -> None:
        if self.asked.engine:
            ENGINES.get(self.asked.engine)
        if not self.space:
            raise UserError("the search has nothing to choose from: every axis is fixed")
        for axis, value in self.asked.first.items():
            if axis not in self.space:
                raise unknown("axis that is searched", axis, self.space)
            check(axis, value)
            if self.space[axis].nearest(value) != value:
                raise UserError(f"the first trial cannot have {axis} = {value}: the search does not choose that")
        open_axes = [*(axis for axis in ("task", "threads") if axis not in self.fixed), *self.space]
        if axis := next((axis for axis in open_axes if axis in ALIKE), ""):
            raise UserError(
                f"axis '{axis}' of a search takes one value, so that its trials can be compared: give it one"
            )
        if "rotation" in self.space and "eval_rotation" not in self.fixed:
            raise UserError(
                "where a search chooses 'rotation', axis 'eval_rotation' would follow it: give it one value"
            )
        task = str(self.fixed["task"])
        if ALGORITHMS.get(self.asked.algorithm).kinds and TASKS.get(task).kind not in self.kinds:
            raise UserError(f"{self.asked.algorithm} is for {' and '.join(self.kinds)} tasks, not for {task}")
        if not ALGORITHMS.get(self.asked.algorithm).query_loss and self._may_be("inner_steps", 0):
            raise UserError(f"{self.asked.algorithm} learns by its inner loop alone: let inner_steps be 1 or more")
        for axis in PARTICULAR:
            if axis in self.asked.axes:
                check_takers(axis, [self.fixed[axis]] if axis in self.fixed else [], [task])
        _ = self.start

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of task that the algorithm can learn."""
        return ALGORITHMS.get(self.asked.algorithm).kinds

    @cached_property
    def parts(self) -> tuple[dict[str, Value], dict[str, Parameter]]:
        """Axes with one value, and axes that are searched."""
        return split(self.asked.axes)

    @property
    def fixed(self) -> dict[str, Value]:
        return self.parts[0]

    @property
    def space(self) -> dict[str, Parameter]:
        return self.parts[1]

    @cached_property
    def start(self) -> Cell:
        """The configuration of the preset, before anything is searched."""
        return self._filled({})

    @property
    def first(self) -> dict[str, Value]:
        """The parameters of the first trial, where it is not moved into the space: those asked for, or the preset's."""
        return {axis: self.asked.first.get(axis, self.start[axis]) for axis in self.space}

    @property
    def timed(self) -> bool:
        """Whether the time of a training says how many iterations it has."""
        return "iterations" not in self.asked.axes

    @property
    def metric(self) -> str:
        return metric_of(TASKS.get(self.start.task).kind)

    @property
    def sampler(self) -> Sampler:
        return Sampler(self.asked, self.space, self.metric == "accuracy")

    def cell(self, parameters: Mapping[str, Value]) -> Cell:
        """The configuration of a trial; its iterations and its engine are not known yet, unless they are asked for."""
        return self._filled(parameters)

    def _may_be(self, axis: str, value: Value) -> bool:
        """Whether a trial can have that value."""
        if axis in self.space:
            return self.space[axis].nearest(value) == value
        return bool(self.start[axis] == value)

    def _filled(self, parameters: Mapping[str, Value]) -> Cell:
        engine = {"engine": self.asked.engine or UNKNOWN_YET}
        point = {"algorithm": self.asked.algorithm, "preset": PRESET, **engine, **self.fixed, **parameters}
        if "inner_steps" in point and "eval_steps" not in point:
            # As many steps more than in training as the preset has: none where learned rates are too large for more.
            preset = self._cell({axis: value for axis, value in point.items() if axis != "inner_steps"})
            point["eval_steps"] = int(point["inner_steps"]) + max(0, preset.eval_steps - preset.inner_steps)
        return self._cell(point)

    def _cell(self, point: Mapping[str, Value]) -> Cell:
        cell, _ = fill(dict(point), lambda _: int(self.fixed["threads"]), ("quality",))
        return cell


def settings_for(
    algorithm: str, axes: Mapping[str, Any], file: Path | None, assignments: Space, **rest: Any
) -> Settings:
    """A search for the hyper-parameters of an algorithm.

    The usual space, then the axes of a TOML file, then those of the command line: the last that names an axis counts.
    Raises `UserError`, with the nearest valid choice.
    """
    ALGORITHMS.get(algorithm)
    own = {**(read_space(file) if file else {}), **assignments}
    task = {**axes, **own}["task"]
    if not isinstance(task, str):
        raise UserError("axis 'task' of a search takes one name")
    shape = {} if TASKS.get(task).kind == "regression" else {name: AXES[name].default for name in ("ways", "shots")}
    given = {"seed": TRAINING_SEED, "threads": 1, **shape, **axes, **own}
    point = {"algorithm": algorithm, "preset": PRESET, "task": task}
    plain = {axis: value for axis, value in given.items() if axis in AXES and not isinstance(value, (list, dict))}
    start, _ = fill({**plain, **point}, lambda _: 1, ("quality",))
    usual = usual_space(algorithm, TASKS.get(task).kind, start.model)
    table = {"algorithm": algorithm, **{name: value for name, value in rest.items() if value is not None}}
    return Settings(as_struct({**table, "axes": {**given, **usual, **axes, **own}}, Asked, "setting of a search"))


def again(file: Path, **rest: Any) -> Settings:
    """The search of a `search.toml`, with other settings where they are given. Raises `UserError`."""
    table = msgspec.to_builtins(read_asked(file)) | {name: value for name, value in rest.items() if value is not None}
    return Settings(as_struct(table, Asked, "setting of a search"))
