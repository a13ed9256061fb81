"""Scores, as a run records them: on held-out tasks after meta-training, on the way there, and drawn."""

from typing import Annotated, TypeAlias

import msgspec

from metabench.record.cell import Amount, Name, Whole
from metabench.record.timing import Mean, Number, Record

MOST_FITTED = 1000
"""Points of a curve that is drawn; there are some hundred."""
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


class Quality(Mean, frozen=True, kw_only=True):
    """How well an algorithm does on held-out tasks after meta-training."""

    metric: Name
    """`accuracy` (a share), or `mse`."""
    tasks: Whole
    iterations: Whole
    train_s: Amount
    batch_norm: Name
    by_step: list[Score] = []
    curve: list[CurvePoint] = []
    fits: Fits | None = None
