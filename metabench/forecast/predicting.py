"""From a run to forecasts of its implementations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metabench.errors import UserError
from metabench.forecast.breaks import STRONG, WEAK, Break, breaks
from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import Check, Line, checks, lines
from metabench.forecast.model import Forecast, forecast
from metabench.report.render.tables import setting
from metabench.report.results import Run

SETTING_AXES = (
    *("task", "ways", "shots", "model", "query", "train_ways", "train_shots", "inner_steps", "precision"),
    *("first_order", "checkpoint", "inner_optimizer", "outer_clip"),
)
NOT_COUNTED = "its operations, bytes and operator calls were not counted at two meta-batch sizes in one process"


@dataclass(frozen=True)
class Predicted:
    """What is said of one line on some hardware."""

    line: Line
    forecasts: Mapping[str, tuple[Forecast, ...]]
    """By scaling."""
    breaks: tuple[Break, ...]


@dataclass(frozen=True)
class Prediction:
    """What is said of a run."""

    run: Run
    hardware: Hardware
    checks: tuple[Check, ...]
    predicted: tuple[Predicted, ...]
    """Of the lines whose work was counted."""
    left_out: tuple[str, ...]
    """Sentences: implementations without a forecast, and why."""


def predict(run: Run, hardware: Hardware, devices: Sequence[int], meta_batch: int | None = None) -> Prediction:
    """Forecasts of all lines of a run; of the largest meta-batch measured in their setting, if none is given.

    Raises `UserError` where nothing of the run can be forecast.
    """
    found = lines(run.measurements)
    largest: dict[str, int] = {}
    for line in found:
        where = setting(line.cell, SETTING_AXES, {})
        largest[where] = max(line.cell.meta_batch, largest.get(where, 0))
    predicted, left_out, why = [], [], "no cell of one process was timed"
    for line in found:
        where = setting(line.cell, SETTING_AXES, {})
        why = "" if line.work else NOT_COUNTED
        why = why or ("" if hardware.has_peak(line.precision) else f"{hardware.name} has no peak in {line.precision}")
        if why:
            left_out.append(f"No forecast for {line.name} ({where}): {why}.")
        else:
            predicted.append(_predicted(line, meta_batch or largest[where], devices, hardware))
    if not predicted:
        raise UserError(
            f"nothing of '{run.name}' can be forecast, for {why}: the sweep 'processes' measures what it takes"
        )
    return Prediction(run, hardware, tuple(checks(found)), tuple(predicted), tuple(left_out))


def _predicted(line: Line, tasks: int, devices: Sequence[int], hardware: Hardware) -> Predicted:
    assert line.work is not None
    choices = hardware.choices(line.precision)
    forecasts = {
        STRONG: tuple(forecast(line.work, tasks, number, tasks, choices) for number in devices),
        WEAK: tuple(forecast(line.work, tasks * number, number, tasks, choices) for number in devices),
    }
    return Predicted(line, forecasts, tuple(breaks(line, line.work, tasks, hardware)))
