"""Forecasts of the implementations of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metabench.errors import UserError
from metabench.forecast.against import Compared, compare_with
from metabench.forecast.breaks import STRONG, WEAK, Break, breaks
from metabench.forecast.checking import Check, checks
from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import MeasuredLine, lines
from metabench.forecast.model import Forecast, forecast
from metabench.forecast.text import SETTING_AXES
from metabench.report.render.tables import setting
from metabench.report.results import Run

NOT_COUNTED = "its operations, bytes and operator calls were not counted at two meta-batch sizes in one process"


@dataclass(frozen=True)
class Predicted:
    """The forecasts of one line."""

    line: MeasuredLine
    forecasts: Mapping[str, tuple[Forecast, ...]]
    """Forecasts by the kind of scaling: `strong` or `weak`."""
    breaks: tuple[Break, ...]


@dataclass(frozen=True)
class Prediction:
    """All that is predicted from a run."""

    run: Run
    hardware: Hardware
    checks: tuple[Check, ...]
    compared: tuple[Compared, ...]
    predicted: tuple[Predicted, ...]
    """The lines whose work was counted."""
    left_out: tuple[str, ...]
    """Sentences: implementations without a forecast, and why."""


def predict(
    run: Run, hardware: Hardware, devices: Sequence[int], meta_batch: int | None = None, against: Sequence[Run] = ()
) -> Prediction:
    """Forecasts of all lines of a run; of the largest meta-batch measured in their setting, if none is given.

    `against` are runs of that hardware, with which the forecasts for one device are compared. Raises `UserError` where
    nothing can be predicted.
    """
    found = lines(run.measurements)
    largest: dict[str, int] = {}
    for line in found:
        where = setting(line.cell, SETTING_AXES, {})
        largest[where] = max(line.cell.meta_batch, largest.get(where, 0))
    predicted, left_out, why = [], [], "no configuration of one process was timed"
    for line in found:
        where = setting(line.cell, SETTING_AXES, {})
        why = _missing(line, hardware)
        if why or not line.work:
            left_out.append(f"No forecast for {line.name} ({where}): {why}.")
            continue
        tasks, choices = meta_batch or largest[where], hardware.choices(line.cell.precision)
        forecasts = {
            STRONG: tuple(forecast(line.work, tasks, number, tasks, choices) for number in devices),
            WEAK: tuple(forecast(line.work, tasks * number, number, tasks, choices) for number in devices),
        }
        predicted.append(Predicted(line, forecasts, tuple(breaks(line, line.work, tasks, hardware))))
    if not predicted:
        raise UserError(
            f"nothing of '{run.name}' can be forecast, for {why}: the sweep 'processes' measures what it takes"
        )
    compared = compare_with(against, found, hardware)
    return Prediction(run, hardware, tuple(checks(found)), tuple(compared), tuple(predicted), tuple(left_out))


def _missing(line: MeasuredLine, hardware: Hardware) -> str:
    """Why a line has no forecast; empty where it has one."""
    if not line.work:
        return NOT_COUNTED
    precision = line.cell.precision
    return "" if hardware.has_peak(precision) else f"{hardware.name} has no peak in {precision}"
