"""What a technique changes, all else equal: time, memory and quality against the same cell without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    Quality,
    axes_but,
    bundles,
    ids_of,
    order,
    quality,
    scores_by_seed,
    status_and_reason,
    telling_apart,
    time_key,
    training_key,
    varying,
)
from metabench.report.noise import NoiseFloor, same_notes
from metabench.report.numbers import NOTHING, Valued, bytes_text, quality_text
from metabench.report.render.tables import (
    TECHNIQUE_AXES,
    Section,
    Table,
    axis_word,
    setting,
    technique_text,
    techniques,
    without_empty_columns,
)
from metabench.report.sections.cost import METRIC_WORDS, memory_ratio, step_text, time_ratio
from metabench.report.sections.device import device_columns, device_notes
from metabench.statistics.ratios import Interval, difference, over_seeds

GROUP_AXES = ("task", "ways", "shots", "model", "device", "threads", "world_size", "machine")
"""One table for each combination of these."""


@dataclass(frozen=True)
class _Line:
    """A cell with a technique, and the same without, as far as that was measured."""

    own: Bundle
    cost: Bundle
    without: Bundle | None
    """Whose time and memory are divided by."""
    quality: Quality | None
    gain: Interval | None
    """Of quality over the same without."""
    untrained: Bundle | None
    """Whose quality is subtracted."""


_Column: TypeAlias = tuple[str, Callable[[_Line], str]]


def techniques_section(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> Section:
    """A table for each setting in which anything was measured both with a technique and without any."""
    cost = bundles(rows, time_key)
    trained = [bundle for bundle in bundles(rows, training_key) if bundle.asked_for("quality")]
    without = {_work(bundle.cell): bundle for bundle in cost if not techniques(bundle.cell)}
    groups: dict[tuple[Any, ...], list[_Line]] = {}
    for bundle in cost:
        if techniques(bundle.cell):
            judged = [one for one in trained if time_key(one.cell) == time_key(bundle.cell)]
            for own in judged or [bundle]:
                other = _same_without(own, trained)
                gain = _gain(own, other) if other else None
                line = _Line(own, bundle, without.get(_work(bundle.cell)), quality(own), gain, other)
                groups.setdefault(tuple(own.cell[axis] for axis in GROUP_AXES), []).append(line)
    matched = [group for group in groups.values() if any(line.without for line in group)]
    return Section("Techniques", tuple(_table(group, data, floor) for group in matched))


def _work(cell: Cell) -> tuple[Any, ...]:
    """Equal for cells whose meta-iterations are the same but for techniques."""
    return axes_but(cell, "seed", "measure", *TRAINING_AXES, *TECHNIQUE_AXES)


def _same_without(own: Bundle, trained: Sequence[Bundle]) -> Bundle | None:
    """The training that is the same but for techniques.

    Another inner optimiser has its own scale of rates, so there, and nowhere else, `inner_lr` may differ.
    """
    others = [
        other
        for other in trained
        if not techniques(other.cell) and _training(other.cell, own.cell) == _training(own.cell, other.cell)
    ]
    others.sort(key=lambda other: other.cell.inner_lr != own.cell.inner_lr)
    return others[0] if others else None


def _gain(own: Bundle, other: Bundle) -> Interval | None:
    """The mean over common seeds of the difference in quality.

    Held-out tasks are the same, but scores are not recorded task by task: the intervals are added as if they were not.
    """
    scores, against = scores_by_seed(own), scores_by_seed(other)
    found = [difference(scores[seed], against[seed]) for seed in sorted(scores.keys() & against.keys())]
    return over_seeds(found) if found else None


def _training(cell: Cell, other: Cell) -> tuple[Any, ...]:
    free = () if cell.inner_optimizer == other.inner_optimizer else ("inner_lr",)
    return axes_but(cell, "seed", "measure", *TECHNIQUE_AXES, *free)


def _table(lines: list[_Line], data: Mapping[str, str], floor: NoiseFloor | None) -> Table:
    lines.sort(key=lambda line: (line.own.rank, techniques(line.own.cell), order(line.own.cell)))
    cells = [line.own.cell for line in lines]
    left_out = {"algorithm", "engine", "outer", "seed", "measure", *GROUP_AXES, *TRAINING_AXES, *TECHNIQUE_AXES}
    axes = [axis for axis in cells[0].axes if axis not in left_out]
    changing = varying(cells, axes)
    labels = ("algorithm", "engine", *TECHNIQUE_AXES, *changing)
    changing += telling_apart(cells, labels, ("outer", *TRAINING_AXES))
    labelling: list[_Column] = [
        ("algorithm", lambda line: line.own.algorithm),
        ("engine", lambda line: str(line.own.cell.engine)),
        ("technique", lambda line: technique_text(line.own.cell)),
        *((axis_word(axis), _axis_value(axis)) for axis in changing),
        ("status", lambda line: status_and_reason(line.own)),
    ]
    measured: list[_Column] = [
        ("step time", lambda line: step_text(line.cost)),
        ("time ÷ without", lambda line: time_ratio(line.cost, line.without, floor) if line.without else NOTHING),
        *device_columns(_sound),
        ("peak memory", lambda line: bytes_text(line.cost.peak.bytes) if line.cost.peak else NOTHING),
        ("memory ÷ without", lambda line: memory_ratio(line.cost, line.without) if line.without else NOTHING),
        *_quality_columns(lines),
    ]
    body = [[text(line) for _, text in (*labelling, *measured)] for line in lines]
    titles = [title for title, _ in (*labelling, *measured)]
    kept, shown = without_empty_columns(titles, body, [title for title, _ in measured])
    fixed = [axis for axis in axes if axis not in changing]
    return Table(
        f"Techniques: {setting(cells[0], (*GROUP_AXES, *fixed), data)}",
        "Against the same cell with no technique at all, with 95 % intervals; ratios of times are formed in a round.",
        kept,
        shown,
        (*same_notes(shown), *_notes(lines)),
        tuple(ids_of((line.own, line.cost, line.without, line.untrained)) for line in lines),
    )


def _sound(line: _Line) -> list[Measurement]:
    return line.cost.sound


def _axis_value(axis: str) -> Callable[[_Line], str]:
    return lambda line: str(line.own.cell[axis])


def _quality_columns(lines: Sequence[_Line]) -> list[_Column]:
    metrics = {line.quality.metric for line in lines if line.quality}
    word = METRIC_WORDS.get(min(metrics), min(metrics)) if len(metrics) == 1 else "quality"
    return [
        (word, lambda line: quality_text(line.quality.score, line.quality.metric) if line.quality else NOTHING),
        (f"{word} - without", lambda line: _gain_text(line.gain, line.quality)),
        ("seeds", lambda line: str(line.quality.seeds) if line.quality else NOTHING),
    ]


def _gain_text(gain: Interval | None, measured: Quality | None) -> str:
    if gain is None or measured is None:
        return NOTHING
    text = quality_text(gain, measured.metric)
    return text if gain.value < 0 else Valued(f"+{text}", text.value)


def _notes(lines: Sequence[_Line]) -> list[str]:
    notes = []
    if any(line.gain for line in lines):
        notes.append("Differences of quality: of the same training seeds; in accuracy, in percentage points.")
    if any(0 < line.own.cell.first_order < 1 for line in lines):
        notes.append("Time and memory are those of the last iteration: of a share of first order, the second order's.")
    methods = dict.fromkeys(line.cost.peak.method for line in lines if line.cost.peak)
    if methods:
        notes.append(f"Peak memory of one meta-iteration, by: {'; '.join(methods)}.")
    notes += device_notes(row for line in lines for row in line.cost.sound)
    own = varying([line.own.cell for line in lines], ("outer", *TRAINING_AXES))
    if own:
        notes.append(f"Not the same in all rows (see results.csv): {', '.join(axis_word(axis) for axis in own)}.")
    return notes
