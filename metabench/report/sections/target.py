"""Time to target: how long each algorithm trains until it is about as good as MAML becomes in the same setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from metabench.record.measurement import LONGEST_S, SHORTEST_S, CurvePoint, Measurement
from metabench.report.bundles import Bundle, axes_but, bundles, sound_rows, telling_apart, training_key
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.report.numbers import duration_text, quality_text, time_text, trim, with_interval
from metabench.report.render.tables import Section, Table, axis_word, setting, technique_text, techniques
from metabench.report.sections.cost import METRIC_WORDS, REFERENCE
from metabench.statistics.ratios import ROUNDS_TO_TELL, Interval, time_interval

SHARE = 0.95
"""Of what MAML reaches; of an error, MAML's divided by it."""
GROUP_AXES = (
    *("task", "ways", "shots", "engine", "device", "precision", "threads", "world_size", "machine"),
    *("batch_norm", "preset", "eval_query", "eval_tasks"),
)
_OWN = (
    "model",
    "inner_steps",
    "meta_batch",
    "query",
    "train_ways",
    "train_shots",
    "inner_lr",
    "outer_lr",
    "iterations",
)
NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Crossing:
    """When the curve of one training seed first was at the target."""

    iterations: float
    seconds: float


@dataclass(frozen=True)
class ToTarget:
    """One training setting on its way to the target."""

    bundle: Bundle
    crossings: Mapping[int, Crossing]
    """By seed, of those that reached it."""
    seeds: int
    """How many were trained, those that failed among them."""
    points: int
    """The fewest points of a curve."""

    @property
    def reached(self) -> bool:
        """Whether all seeds did."""
        return 0 < self.seeds == len(self.crossings)


@dataclass(frozen=True)
class Target:
    """The lines of one setting, and what they are to reach."""

    metric: str
    value: float
    lines: tuple[ToTarget, ...]


def target_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """A table for each setting in which MAML and another algorithm have training curves."""
    return Section("Time to target", tuple(_table(target, data) for target in targets(rows)))


def targets(rows: Sequence[Measurement]) -> list[Target]:
    """A target for each setting in which MAML and another algorithm were trained and their curves taken."""
    groups: dict[tuple[str, ...], list[Bundle]] = {}
    for bundle in bundles(rows, training_key):
        if bundle.asked_for("quality"):
            groups.setdefault(tuple(str(bundle.cell[axis]) for axis in GROUP_AXES), []).append(bundle)
    return [target for group in groups.values() if (target := _target(group))]


def _target(group: Sequence[Bundle]) -> Target | None:
    ends = {
        metric: [fmean(ends) for bundle in group if _is_reference(bundle) and (ends := _ends(bundle, metric))]
        for metric in METRIC_WORDS
    }
    metric = next((metric for metric, found in ends.items() if found), None)
    if metric is None or len({bundle.algorithm for bundle in group}) < 2:
        return None
    lower = metric in LOWER_IS_BETTER
    value = min(ends[metric]) / SHARE if lower else max(ends[metric]) * SHARE
    lines = tuple(_line(bundle, metric, value) for bundle in group)
    return Target(metric, value, lines) if 0 < value < math.inf else None


def _is_reference(bundle: Bundle) -> bool:
    return bundle.algorithm == REFERENCE and not techniques(bundle.cell)


def _curves(bundle: Bundle, metric: str) -> dict[int, list[CurvePoint]]:
    """The curve of each seed, in the order of its iterations."""
    return {
        row.cell.seed: sorted(row.quality.curve, key=lambda point: int(point.iteration))
        for row in sound_rows(bundle.rows)
        if row.quality and row.quality.curve and row.quality.metric == metric
    }


def _ends(bundle: Bundle, metric: str) -> list[float]:
    """Where the curves end, if they show any training."""
    curves = [curve for curve in _curves(bundle, metric).values() if len(curve) > 1]
    return [value for curve in curves if (value := curve[-1].value) is not None]


def _line(bundle: Bundle, metric: str, value: float) -> ToTarget:
    curves = _curves(bundle, metric)
    found = {seed: crossing(curve, metric, value) for seed, curve in curves.items()}
    seeds = {row.cell.seed for row in bundle.rows if "quality" in row.cell.measure}
    points = min((len(curve) for curve in curves.values()), default=0)
    return ToTarget(bundle, {seed: one for seed, one in found.items() if one}, len(seeds), points)


def crossing(curve: Sequence[CurvePoint], metric: str, value: float) -> Crossing | None:
    """When a curve is first at least as good as `value`; None if it never is.

    Between two points the logarithm of the error (1 - accuracy, or the squared error) is taken to be a straight line:
    errors fall by factors. Where an error is 0, which has no logarithm, the error itself is.
    """
    before: tuple[CurvePoint, float] | None = None
    for point in curve:
        here = point.value
        if here is None:
            before = None  # not finite: nothing to draw a line from
            continue
        if here <= value if metric in LOWER_IS_BETTER else here >= value:
            part = 1.0 if before is None else _part(*(_error(one, metric) for one in (before[1], here, value)))
            start = before[0] if before else point
            iterations = start.iteration + part * (point.iteration - start.iteration)
            return Crossing(iterations, start.seconds + part * (point.seconds - start.seconds))
        before = (point, here)
    return None


def _error(value: float, metric: str) -> float:
    return value if metric in LOWER_IS_BETTER else 1 - value


def _part(start: float, end: float, at: float) -> float:
    """How far `at` lies on the way from `start` to `end`, of which it is between."""
    if min(start, end, at) > 0:
        start, end, at = math.log(start), math.log(end), math.log(at)
    if start == end:  # closer than the arithmetic can tell
        return 1.0
    return min(1.0, max(0.0, (start - at) / (start - end)))


def typical(line: ToTarget, name: str) -> Interval | None:
    """The geometric mean over seeds of `seconds` or `iterations`, with Student's interval from three seeds on.

    None where a seed did not reach the target, and where one was there before any training.
    """
    found = [float(getattr(one, name)) for one in line.crossings.values()]
    if not line.reached or min(found) <= 0:
        return None
    # a damaged row may hold any number, whose logarithm's interval would overflow
    return time_interval({n: [min(max(figure, SHORTEST_S), LONGEST_S)] for n, figure in enumerate(found)})


def _table(target: Target, data: Mapping[str, str]) -> Table:
    cells = [line.bundle.cell for line in target.lines]
    own = telling_apart(cells, ("algorithm",), _OWN)
    technical = any(techniques(cell) for cell in cells)
    lines = sorted(target.lines, key=_order)
    body = tuple(
        (
            line.bundle.algorithm,
            *([technique_text(line.bundle.cell)] if technical else []),
            *(str(line.bundle.cell[axis]) for axis in own),
            *(_text(line, name) for name in ("seconds", "iterations")),
            f"{len(line.crossings)} of {line.seeds}",
            str(line.bundle.cell.iterations),
            str(line.points),
        )
        for line in lines
    )
    word = METRIC_WORDS[target.metric]
    shown = quality_text(Interval(target.value, target.value, target.value), target.metric).split(" ± ")[0]
    shown += " %" if target.metric == "accuracy" else ""
    how = f"{100 * SHARE:g} % of what" if target.metric not in LOWER_IS_BETTER else f"1 ÷ {SHARE:g} of what"
    says = (
        f"Training until the validation {word} is first at {shown}: {how} {REFERENCE} has at its end, in the mean of "
        "its seeds."
    )
    notes = (
        "Between two points of a curve the logarithm of the error is taken as a straight line: few points, few digits.",
        "Seconds hold training and sampling, not evaluation.",
        "Mean over seeds (geometric); 95 % intervals over seeds, from three on. Who fails does not reach.",
    )
    columns = ("algorithm", *(["technique"] if technical else []), *(axis_word(axis) for axis in own))
    columns += ("seconds", "iterations", "seeds that reach it", "trained for", "points")
    title = f"Time to target: {setting(cells[0], GROUP_AXES, data)}"
    return Table(title, says, columns, body, notes, tuple(line.bundle.ids for line in lines))


def _order(line: ToTarget) -> tuple[Any, ...]:
    """Who is there first, first."""
    time = typical(line, "seconds")
    return (not line.reached, time.value if time else 0.0, line.bundle.rank, axes_but(line.bundle.cell, "measure"))


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
