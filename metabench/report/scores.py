"""How good trainings are: scores over seeds, and what two trainings differ by on the same test tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from metabench.record.cell import DISTRIBUTION
from metabench.record.measurement import Measurement
from metabench.record.quality import Quality as Judged
from metabench.record.timing import Mean
from metabench.report.bundles import Bundle, values_of
from metabench.statistics.intervals import ends, scale_of
from metabench.statistics.ratios import Interval
from metabench.statistics.scores import difference, over_seeds, paired_difference, paired_quotient, quotient

TESTED_ON = (
    *(*DISTRIBUTION, "ways", "shots", "eval_query", "eval_queries", "eval_rotation", "eval_classes", "eval_tasks"),
)
"""The axes that decide which tasks a training is tested on; no seed is among them."""


@dataclass(frozen=True)
class Quality:
    """How well an implementation does after meta-training, over seeds."""

    metric: str
    score: Interval
    by_step: Mapping[int, Interval]
    seeds: int
    iterations: int
    train_s: float
    """Median over the seeds."""
    eval_s: float | None
    """Median over the seeds of the seconds of all evaluations; None where a row does not say."""
    batch_norm: str


@dataclass(frozen=True)
class Contrast:
    """What a training differs by from another."""

    figure: Interval
    """The difference of two accuracies, or the quotient of two errors."""
    seeds: int
    """How many training seeds both have."""
    paired: bool
    """Whether it was formed task by task, on the same test tasks."""


def quality(bundle: Bundle) -> Quality | None:
    """The quality over the seeds of a bundle of one training setting; None where none was measured."""
    parts = [row.quality for row in judged(bundle).values() if row.quality]
    if not parts:
        return None
    scale = scale_of(parts[0].metric)
    by_step = [{point.step: score_of(part, point) for point in part.by_step} for part in parts]
    evaluated = [part.eval_s for part in parts if part.eval_s is not None]
    steps = set.intersection(*(set(scores) for scores in by_step))
    return Quality(
        metric=parts[0].metric,
        score=over_seeds([score_of(part) for part in parts], scale),
        by_step={step: over_seeds([scores[step] for scores in by_step], scale) for step in sorted(steps)},
        seeds=len(parts),
        iterations=parts[0].iterations,
        train_s=median(part.train_s for part in parts),
        eval_s=median(evaluated) if len(evaluated) == len(parts) else None,
        batch_norm=", ".join(sorted({part.batch_norm for part in parts})),
    )


def contrast(new: Bundle, base: Bundle) -> Contrast | None:
    """What two trainings differ by over their common seeds: accuracies by their difference, errors by their quotient.

    None without a common seed, and for errors that are 0.
    """
    pairs = _pairs(new, base)
    if any(scale_of(part.metric) == "share" for pair in pairs for part in pair):
        return gain(new, base)
    scores = [(score_of(mine), score_of(theirs)) for mine, theirs in pairs]
    if not pairs or min(score.low for pair in scores for score in pair) <= 0:
        return None
    if sides := _same_tasks(new, base):
        return Contrast(paired_quotient(*sides), len(pairs), paired=True)
    return Contrast(over_seeds([quotient(*pair) for pair in scores], "positive"), len(pairs), paired=False)


def gain(new: Bundle, base: Bundle) -> Contrast | None:
    """The mean over common training seeds of the difference in quality; None without a common seed.

    Formed task by task where both sides have the scores of the same test tasks. Rows of earlier versions lack them:
    their intervals are put together as if the tasks were not the same, which makes the interval too wide.
    """
    pairs = _pairs(new, base)
    if not pairs:
        return None
    if sides := _same_tasks(new, base):
        return Contrast(paired_difference(*sides), len(pairs), paired=True)
    found = [difference(score_of(mine), score_of(theirs)) for mine, theirs in pairs]
    return Contrast(over_seeds(found, "any"), len(pairs), paired=False)


def judged(bundle: Bundle) -> dict[int, Measurement]:
    """The row of each training seed that was judged, by seed.

    A seed that was trained twice, as in runs that were merged, is one seed still: its first training counts.
    """
    rows = [row for row in bundle.sound if row.quality]
    rows.sort(key=lambda row: (row.started, row.repetition), reverse=True)
    return {row.cell.seed: row for row in rows}


def left_out(bundle: Bundle) -> int:
    """How many scores are of a training seed that has an earlier one."""
    return sum(row.quality is not None for row in bundle.sound) - len(judged(bundle))


def on_other_data(new: Bundle, base: Bundle) -> bool:
    """Whether the data of two trainings are known not to be the same."""
    mine, theirs = ({row.data.content_hash for row in judged(side).values() if row.data} for side in (new, base))
    return bool(mine and theirs) and mine != theirs


def scores_of(bundle: Bundle) -> dict[int, Interval]:
    """The final score of each training seed that has one, with its interval over test tasks."""
    return {seed: score_of(row.quality) for seed, row in judged(bundle).items() if row.quality}


def score_of(part: Judged, point: Mean | None = None) -> Interval:
    """The final score of a row, or that of one of its steps, with its interval over test tasks.

    Rows of earlier versions have the mean ± 1.96 σ/√n, which may leave what a score can be: they get the ends that they
    would have today.
    """
    point = point or part
    if part.task_scores:
        return Interval(point.value, point.low, point.high)
    low, high = ends(point.value, (point.high - point.low) / 2, max(part.tasks, 1), part.metric)
    return Interval(point.value, low, high)


def _both(new: Bundle, base: Bundle) -> list[tuple[Measurement, Measurement]]:
    """The rows of the training seeds that both have."""
    mine, theirs = judged(new), judged(base)
    return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]


def _pairs(new: Bundle, base: Bundle) -> list[tuple[Judged, Judged]]:
    """The qualities of the training seeds that both have."""
    return [(mine.quality, theirs.quality) for mine, theirs in _both(new, base) if mine.quality and theirs.quality]


def _same_tasks(new: Bundle, base: Bundle) -> tuple[list[list[float]], list[list[float]]] | None:
    """The scores of each side by common seed and test task; None where the tasks are not known to be the same."""
    sides: tuple[list[list[float]], list[list[float]]] = ([], [])
    tested = set()
    for rows in _both(new, base):
        for row, side in zip(rows, sides, strict=True):
            scores = row.quality.task_scores if row.quality else None
            side.append(scores.values if scores else [])
            tested.add((row.data and row.data.content_hash, len(side[-1]), *values_of(row.cell, TESTED_ON)))
    return sides if len(tested) == 1 and all(side[0] for side in sides) else None
