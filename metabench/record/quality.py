"""Scores, as a run records them: on held-out tasks after meta-training, on the way there, and drawn."""

import math
from typing import Annotated, TypeAlias

import msgspec

from metabench.record.axes import LARGEST
from metabench.record.cell import Amount, Name, Whole
from metabench.record.timing import Mean, Number, Record

MOST_FITTED = 1000
"""Points of a curve that is drawn; there are some hundred."""
MOST_SCORES = 1_000_000
"""Test tasks whose scores a row holds; there are some hundred."""
ROUNDING = 1e-3
"""How far the mean of scores may lie from that of the same scores, whose digits are cut, as a share of it."""
Points: TypeAlias = Annotated[list[Number], msgspec.Meta(max_length=MOST_FITTED)]


class Score(Mean, frozen=True, kw_only=True):
    """The score after some inner steps."""

    step: Whole


class CurvePoint(Record, frozen=True):
    """One point of a training curve: seconds are those spent training, evaluations not counted."""

    iteration: Whole
    seconds: Amount
    loss: Number | None = None
    value: Number | None = None
    """Mean score over the validation tasks."""


class Prediction(Record, frozen=True):
    """What is predicted after some inner steps."""

    step: Whole
    y: Points


class FittedTask(Record, frozen=True):
    """One held-out regression task, drawn."""

    support_x: Points
    support_y: Points
    y: Points
    predictions: Annotated[list[Prediction], msgspec.Meta(max_length=3)]


class Fits(Record, frozen=True):
    """What an algorithm fits to a few held-out regression tasks, at the places `x`."""

    x: Points
    tasks: Annotated[list[FittedTask], msgspec.Meta(max_length=10)]

    def __post_init__(self) -> None:
        for task in self.tasks:
            curves = [task.y, *(prediction.y for prediction in task.predictions)]
            if any(len(curve) != len(self.x) for curve in curves) or len(task.support_x) != len(task.support_y):
                raise ValueError("a curve has not as many x as y")


class TaskScores(Record, frozen=True):
    """The score of each test task after the last inner step, in the order in which the tasks are drawn."""

    unit: Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
    """What the numbers count: a task's score is its number times this. The unit of an accuracy is one right answer."""
    numbers: Annotated[list[Whole | Number], msgspec.Meta(max_length=MOST_SCORES)]

    @property
    def values(self) -> list[float]:
        """The scores, in the unit of the mean."""
        return [self.unit * number for number in self.numbers]


class Quality(Mean, frozen=True, kw_only=True):
    """How well an algorithm does on held-out tasks after meta-training."""

    metric: Name
    """`accuracy` (a share), or `mse`."""
    tasks: Whole
    iterations: Whole
    train_s: Amount
    eval_s: Amount | None = None
    """Seconds of all evaluations, those of the curve's points included; None in rows of earlier versions."""
    test_s: Amount | None = None
    """The part of them that the test tasks took."""
    batch_norm: Name
    trained_by: Name | None = None
    """Id of the configuration whose training it was, where that was another one. In rows of earlier versions the curve
    is in its row alone."""
    by_step: list[Score] = []
    curve: list[CurvePoint] = []
    resumed_at: list[Whole] = []
    """Iterations after which the training had been ended, and was gone on with from a checkpoint."""
    fits: Fits | None = None
    task_scores: TaskScores | None = None
    """None in rows of earlier versions, whose intervals are the mean ± 1.96 σ/√n, whatever the mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_scores:
            scores = self.task_scores.values
            mean = math.fsum(scores) / max(len(scores), 1)
            if len(scores) != self.tasks or not math.isclose(mean, self.value, rel_tol=ROUNDING):
                raise ValueError("the value is not the mean of the scores of the tasks")

    @property
    def steps(self) -> int | None:
        """The inner steps on a test task after which the score was taken; None where the row does not say."""
        return self.by_step[-1].step if self.by_step else None
