"""Times that are no whole meta-iterations: the backward pass, one held-out task, a network differentiated twice."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from metabench.record.cell import Measure, axes_of
from metabench.record.measurement import Measurement, Repetition
from metabench.record.timing import Mean, Summary
from metabench.report.bundles import Bundle, axes_but, bundles
from metabench.report.results import Run
from metabench.statistics.ratios import Interval, Ratio, ratio_interval, step_interval, time_interval, with_noise

Part: TypeAlias = Summary | Mean
BACKWARD = "outer backward"
"""The phase in which the meta-gradient goes back through the adaptation."""
READ: Mapping[str, Callable[[Measurement], Part | None]] = {
    "backward": lambda row: row.phases.seconds.get(BACKWARD) if row.phases else None,
    "adaptation": lambda row: row.adaptation.whole.seconds if row.adaptation else None,
    "support": lambda row: row.adaptation.support.seconds if row.adaptation else None,
    "query": lambda row: row.adaptation.query.seconds if row.adaptation else None,
    "once": lambda row: row.double_backward.once.seconds if row.double_backward else None,
    "twice": lambda row: row.double_backward.twice.seconds if row.double_backward else None,
}
"""Where each figure stands in a measurement."""


ALIKE_TESTED = ("seed", "eval_tasks", "engine", "inner_steps", "meta_batch", "query", *axes_of("training"))
"""Axes that change nothing of what a held-out task costs: how the meta-parameters were learned, and on what."""
ALIKE_NETWORK = (
    *("algorithm", "engine", "inner_steps", "seed"),
    *(axis for axis in axes_of("technique", "training", "evaluation") if axis != "precision"),
)
"""Axes that change nothing of what it takes to differentiate the network."""


def adapting(run: Run) -> list[Bundle]:
    """The rows that were to measure `adaptation`, those together whose held-out tasks cost the same."""
    return bundles(_asked_for("adaptation", run), lambda cell: axes_but(cell, *ALIKE_TESTED), run.noise)


def differentiating(run: Run) -> list[Bundle]:
    """The rows that were to measure `double_backward`, those together that have the same network and examples."""
    return bundles(_asked_for("double_backward", run), lambda cell: axes_but(cell, *ALIKE_NETWORK), run.noise)


def _asked_for(measure: Measure, run: Run) -> list[Measurement]:
    """All rows of the cells that any row was to measure it of."""
    cells = {row.id for row in run.measurements if measure in row.cell.measure}
    return [row for row in run.measurements if row.id in cells]


def parts_of(bundle: Bundle, figure: str) -> list[tuple[Repetition, Part]]:
    """What each row measured of a figure, with its run and round, but for a phase too short to be seen."""
    found = sorted((row.repetition, row.id, part) for row in bundle.sound if (part := READ[figure](row)))
    return [(number, part) for number, _, part in found if isinstance(part, Summary) or part.low > 0]


def samples_by_round(bundle: Bundle, figure: str) -> dict[Repetition, list[float]]:
    """Seconds by run and round: samples of the clock, or of a phase the one figure that an iteration has of it."""
    found: dict[Repetition, list[float]] = {}
    for number, part in parts_of(bundle, figure):
        found.setdefault(number, []).extend(part.samples if isinstance(part, Summary) else [part.value])
    return found


def seconds_of(bundle: Bundle, figure: str) -> Interval | None:
    """The time with its interval, which holds how processes differ; None where it was not measured."""
    parts = [part for _, part in parts_of(bundle, figure)]
    if len(parts) != 1:
        return time_interval(samples_by_round(bundle, figure), bundle.noise)
    (part,) = parts
    if isinstance(part, Summary):
        return step_interval(part, bundle.noise)
    return with_noise(Interval(part.value, part.low, part.high), bundle.noise)


def ratio_of_parts(bundle: Bundle, other: Bundle, figure: str) -> Ratio | None:
    """How many times as long one takes as the other, formed within common rounds; None where one was not timed."""
    return ratio_interval(samples_by_round(bundle, figure), samples_by_round(other, figure), noise=bundle.noise)


def twice_over_once(bundle: Bundle) -> Ratio | None:
    """How many times as long it takes to differentiate twice as once.

    Both are of one process: how processes differ is seen by what its ratio does from round to round alone.
    """
    return ratio_interval(samples_by_round(bundle, "twice"), samples_by_round(bundle, "once"))


def is_disturbed(found: Sequence[Bundle], measure: str) -> bool:
    """Whether other programs disturbed `adaptation` or `double_backward` of any of them."""
    parts = (getattr(row, measure) for bundle in found for row in bundle.sound)
    return any(part.disturbed for part in parts if part)
