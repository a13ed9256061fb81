"""What marks say when a reader points at them."""

import math
from collections.abc import Mapping
from typing import Any

from metabench.report.numbers import bytes_text, exact, quality_text, time_text, with_interval
from metabench.statistics.ratios import Interval


def tip(*lines: str) -> str:
    """The lines that say something; the first one is the name of what is shown."""
    return "\n".join(line for line in lines if line)


def told(row: Mapping[str, Any], name: str = "value", prefix: str = "") -> Interval:
    """The figure whose value and ends are columns of a row, which may lack the ends."""
    low, high = (row.get(f"{prefix}{end}") for end in ("low", "high"))
    return Interval(row[name], *((0.0, math.inf) if low is None or high is None else (low, high)))


def seconds_text(figure: Interval) -> str:
    """A time, with its interval where that is known."""
    return _known(time_text(figure), figure)


def score_text(figure: Interval, metric: str) -> str:
    """A score and what it is, with its interval where that is known."""
    name = {"mse": "mean squared error"}.get(metric, metric)
    if figure.known:
        return f"{name} {quality_text(figure, metric)}"
    return f"{name} {exact(100 * figure.value)} %" if metric == "accuracy" else f"{name} {exact(figure.value)}"


def memory_text(count: float) -> str:
    """Bytes in a unit that reads well."""
    return bytes_text(round(count))


def times_text(figure: Interval) -> str:
    """A factor, with its interval where that is known."""
    return _known(with_interval(figure), figure)


def number_text(value: float) -> str:
    """A number of three digits; a whole one as it is."""
    return f"{value:,.0f}" if value == round(value) else str(exact(value))


def _known(text: str, figure: Interval) -> str:
    return str(text) if figure.known else text.partition(" [")[0]
