"""Time to target: how long each algorithm trains until it is about as good as MAML becomes in the same setting."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metabench.record.quality import CurvePoint
from metabench.record.timing import LONGEST_S, SHORTEST_S
from metabench.report.axes import JUDGED, MACHINE, OWN_AXES, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import BASELINE, Bundle, axes_but, by_axes, telling_apart
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.report.marks import disturbed_mark
from metabench.report.numbers import duration_text, quality_text, time_text, trim, with_interval
from metabench.report.render.tables import Table, setting, techniques
from metabench.report.results import Run
from metabench.report.scores import judged
from metabench.report.sections.base import Column, axis_columns, section, table_of, technique_columns
from metabench.report.sections.columns import METRIC_WORDS
from metabench.statistics.crossing import Crossing, crossing
from metabench.statistics.intervals import scale_of
from metabench.statistics.ratios import Interval, time_interval
from metabench.statistics.scores import mean_of
from metabench.statistics.spread import ROUNDS_TO_TELL

SHARE = 0.95
"""Share of MAML's accuracy that is to be reached. An error must fall to MAML's error divided by this share."""
TITLE = in_title_order((*TASK, "engine", "precision", *MACHINE))
ALIKE = in_title_order((*JUDGED, "preset", "eval_tasks"))
GROUP = (*TITLE, *ALIKE)
OWN = tuple(axis for axis in (*SIZES, *OWN_AXES) if axis not in GROUP)
NOT_REACHED = "not reached"
NOTES = (
    "Between two points of a curve the logarithm of the error is interpolated linearly. seconds: of training and "
    "sampling, without evaluation.",
    "The mean over seeds is geometric; from three seeds on it has a 95 % interval over them. Seeds that did not reach "
    "the target count as failures.",
)
UNKNOWN = "Seeds with a score and no curve are left out, since nobody knows when they reached the target: {}."


@dataclass(frozen=True)
class ToTarget:
    """One training setting on its way to the target."""

    bundle: Bundle
    crossings: Mapping[int, Crossing]
    """Crossings of the seeds that reached the target, by seed."""
    tried: tuple[int, ...]
    """The seeds that were trained, those that failed among them; without those that have a score and no curve."""
    points: int
    """The fewest points of a curve."""

    @property
    def seeds(self) -> int:
        """How many seeds were tried."""
        return len(self.tried)

    @property
    def reached(self) -> bool:
        """Whether all seeds reached the target."""
        return 0 < self.seeds == len(self.crossings)


@dataclass(frozen=True)
class Target:
    """The lines of one setting, and what they are to reach."""

    metric: str
    value: float
    lines: tuple[ToTarget, ...]
    unknown: tuple[str, ...] = ()
    """The algorithms that have seeds with a score and no curve, of which nobody knows when they reached the target."""


@section("Time to target", place=20)
def target_tables(run: Run) -> Iterator[Table]:
    """A table for each setting in which MAML and another algorithm have training curves."""
    return (_table(target, run) for target in targets(run))


def targets(run: Run) -> list[Target]:
    """A target for each setting in which MAML and another algorithm were trained and their curves taken."""
    trained = [bundle for bundle in run.trained if bundle.asked_for("quality")]
    return [target for group in by_axes(trained, GROUP) if (target := _target(group))]


def _target(group: Sequence[Bundle]) -> Target | None:
    ends = {
        metric: [
            mean_of(ends, scale_of(metric))
            for bundle in group
            if _is_baseline(bundle) and (ends := _ends(bundle, metric))
        ]
        for metric in METRIC_WORDS
    }
    metric = next((metric for metric, found in ends.items() if found), None)
    if metric is None:
        return None
    lower = metric in LOWER_IS_BETTER
    value = min(ends[metric]) / SHARE if lower else max(ends[metric]) * SHARE
    if not 0 < value < math.inf:
        return None
    lines = tuple(line for bundle in group if (line := _line(bundle, metric, value)).tried)
    unknown = dict.fromkeys(bundle.algorithm for bundle in group if _without_curve(bundle, metric))
    return Target(metric, value, lines, tuple(unknown)) if len({line.bundle.algorithm for line in lines}) > 1 else None


def _is_baseline(bundle: Bundle) -> bool:
    return bundle.algorithm == BASELINE and not techniques(bundle.cell)


def _curves(bundle: Bundle, metric: str) -> dict[int, list[CurvePoint]]:
    """The curve of each seed, in the order of its iterations."""
    return {
        seed: sorted(row.quality.curve, key=lambda point: point.iteration)
        for seed, row in judged(bundle).items()
        if row.quality and row.quality.curve and row.quality.metric == metric
    }


def _without_curve(bundle: Bundle, metric: str) -> set[int]:
    """The seeds with a score whose curve no row has. Rows of earlier versions lack it where another row's training was
    theirs, and its curve is no substitute: that row was judged in another way."""
    return judged(bundle).keys() - _curves(bundle, metric).keys()


def _ends(bundle: Bundle, metric: str) -> list[float]:
    """Where the curves end, if they show any training."""
    curves = [curve for curve in _curves(bundle, metric).values() if len(curve) > 1]
    return [value for curve in curves if (value := curve[-1].value) is not None]


def _line(bundle: Bundle, metric: str, value: float) -> ToTarget:
    curves = _curves(bundle, metric)
    found = {seed: crossing(curve, value, metric in LOWER_IS_BETTER) for seed, curve in curves.items()}
    points = min((len(curve) for curve in curves.values()), default=0)
    tried = tuple(sorted(bundle.seeds() - _without_curve(bundle, metric)))
    return ToTarget(bundle, {seed: one for seed, one in found.items() if one}, tried, points)


def typical(line: ToTarget, name: str) -> Interval | None:
    """The geometric mean over seeds of `seconds` or `iterations`, with Student's interval from three seeds on.

    None where a seed did not reach the target, and where one was there before any training.
    """
    found = [float(getattr(one, name)) for one in line.crossings.values()]
    if not line.reached or min(found) <= 0:
        return None
    # a damaged row may hold any number, whose logarithm's interval would overflow
    return time_interval({n: [min(max(figure, SHORTEST_S), LONGEST_S)] for n, figure in enumerate(found)})


def _table(target: Target, run: Run) -> Table:
    cells = [line.bundle.cell for line in target.lines]
    columns: list[Column[ToTarget]] = [
        *(*axis_columns("algorithm"), *technique_columns(cells, TECHNIQUES)),
        *axis_columns(*telling_apart(cells, ("algorithm",), OWN)),
        Column("seconds", _seconds, score=lambda line: line.bundle.cell),
        Column("iterations", lambda line: _text(line, "iterations"), score=lambda line: line.bundle.cell),
        Column("seeds that reached it", lambda line: f"{len(line.crossings)} of {line.seeds}"),
        Column("trained for", lambda line: str(line.bundle.cell.iterations)),
        Column("points", lambda line: str(line.points)),
    ]
    shown = quality_text(Interval(target.value, target.value, target.value), target.metric).split(" [")[0]
    how = f"{'÷' if target.metric in LOWER_IS_BETTER else '×'} {SHARE:g}"
    return table_of(
        f"Time to target: {setting(cells[0], TITLE, run.data_names)}",
        f"Target: validation {METRIC_WORDS[target.metric]} {shown} ({BASELINE}'s final value {how}, mean over its "
        f"seeds); {setting(cells[0], ALIKE, {})}.",
        columns,
        sorted(target.lines, key=_order),
        lambda line: line.bundle.ids,
        [*NOTES, *([UNKNOWN.format(", ".join(target.unknown))] if target.unknown else [])],
    )


def _order(line: ToTarget) -> tuple[Any, ...]:
    """The line that reaches the target first comes first."""
    time = typical(line, "seconds")
    return (not line.reached, time.value if time else 0.0, line.bundle.rank, axes_but(line.bundle.cell))


def _seconds(line: ToTarget) -> str:
    """The seconds of training; marked where the time of a seed that reached the target was disturbed."""
    text = _text(line, "seconds")
    return text + disturbed_mark(line.bundle) if line.reached else text


def _text(line: ToTarget, name: str) -> str:
    if not line.crossings:
        return NOT_REACHED
    if not line.reached:
        return f"{NOT_REACHED} by {line.seeds - len(line.crossings)} of {line.seeds} seeds"
    figure = typical(line, name)
    if figure is None:
        return "before training"
    if line.seeds < ROUNDS_TO_TELL:  # no interval over so few
        return duration_text(figure.value) if name == "seconds" else trim(figure.value, 0, 0)
    return time_text(figure) if name == "seconds" else with_interval(figure)
