"""What an algorithm costs against MAML, and what it gives for it: a table for each setting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metabench.grouping import grouped
from metabench.record.cell import Cell, varying
from metabench.report.axes import (
    JUDGED,
    LINE_TECHNIQUES,
    MACHINE,
    METHOD_AXES,
    OWN_AXES,
    TASK,
    TRAINING_AXES,
    in_title_order,
)
from metabench.report.bundles import BASELINE, Bundle, by_axes, time_key, values_of
from metabench.report.marks import MARKS
from metabench.report.numbers import NOTHING, duration_text, quality_text
from metabench.report.render.tables import Table, setting, techniques
from metabench.report.results import Run
from metabench.report.sections.base import Column, differing_notes, labels, matched_axes, section, table_of
from metabench.report.sections.columns import (
    Line,
    compared_columns,
    contrast_column,
    judged,
    metric_word,
    score_text,
    seeds_text,
)
from metabench.text import counted

GROUP = in_title_order((*TASK, "model", *MACHINE), but=("world_size",))
"""Axes of which each combination of values has a table of its own."""
ALIKE = {
    "engine": "on the same engine",
    "precision": "at the same precision",
    "world_size": "on as many processes",
}
"""Axes that have a column where they change, and on which a line and its baseline agree, as a note says it."""
SCORED = (*JUDGED, "eval_tasks")
"""The axes that say on what, and how, a training is tested."""
TOLD_STEPS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Steps whose scores a table has beside the last one: with all it would be too wide to read."""
UNMATCHED = " †"


@dataclass(frozen=True)
class Comparison:
    """The lines of one table: algorithms in one setting, each with the baseline that it is held against."""

    scored: bool
    """Whether they were to measure quality."""
    lines: tuple[Line, ...]


@section("Cost and quality", place=10)
def cost_tables(run: Run) -> Iterator[Table]:
    """Tables for each setting: cells that were to measure quality, their quality step by step, and all other cells."""
    for one in comparisons(run):
        yield cost_table(one, run)
        if one.scored:
            yield from _by_step(one.lines, run)


def comparisons(run: Run) -> list[Comparison]:
    """The comparisons of a run, in the order of their tables: first those that were to measure quality."""
    cost = {time_key(bundle.cell): bundle for bundle in run.timed}
    scored, without = [], []
    for group in sorted(by_axes(run.trained, GROUP), key=lambda group: _group_order(group[0].cell, run)):
        keys = dict.fromkeys(time_key(bundle.cell) for bundle in group)
        baselines = [cost[key] for key in keys if cost[key].algorithm == BASELINE]
        asking = [(bundle, cost[time_key(bundle.cell)]) for bundle in group if bundle.asked_for("quality")]
        if asking:
            scored.append(_comparison(True, asking, baselines))
        shown = {time_key(bundle.cell) for bundle, _ in asking}
        if others := [(cost[key], cost[key]) for key in keys if key not in shown]:
            without.append(_comparison(False, others, baselines))
    return [*scored, *without]


def _group_order(cell: Cell, run: Run) -> tuple[Any, ...]:
    size = run.model_sizes(cell).get(cell.model, 0)
    task = (*cell.distribution, cell.ways, cell.shots)
    return (*task, size, cell.model, values_of(cell, GROUP))


def _comparison(scored: bool, shown: list[tuple[Bundle, Bundle]], baselines: list[Bundle]) -> Comparison:
    # a line without a match is rather divided by what stands in the same table
    costs = [cost for _, cost in shown]
    baselines = sorted(baselines, key=lambda other: all(cost is not other for cost in costs))
    alike = grouped(baselines, lambda other: values_of(other.cell, ALIKE))
    trained = [own for own, _ in shown if own.asked_for("quality")]
    near = [alike.get(values_of(cost.cell, ALIKE), []) for cost in costs]
    matched = [_matched(cost, others) for cost, others in zip(costs, near, strict=True)]
    # where a way of doing it is matched at one size, none of its lines is held against another size
    ways = {_way(cost) for cost, baseline in zip(costs, matched, strict=True) if baseline}
    lines = []
    for (own, cost), others, baseline in zip(shown, near, matched, strict=True):
        mark = "" if baseline or _way(cost) in ways else UNMATCHED
        baseline = _unmatched(others) if mark else baseline
        lines.append(Line(own, cost, baseline, mark, _rival(own, baseline, trained)))
    if all(line.baseline in (None, line.cost) for line in lines):  # a ratio would be 1 in all lines
        lines = [replace(line, baseline=None) for line in lines]
    return Comparison(scored, tuple(lines))


def _way(bundle: Bundle) -> tuple[str, ...]:
    """What a line measures, whatever its sizes."""
    return bundle.algorithm, bundle.cell.engine, *techniques(bundle.cell, LINE_TECHNIQUES)


def _matched(bundle: Bundle, baselines: Sequence[Bundle]) -> Bundle | None:
    """The baseline of a line, where one has its sizes."""
    cell, plain = bundle.cell, _plain(baselines)
    if bundle.algorithm == BASELINE and (plain is baselines or not techniques(cell, LINE_TECHNIQUES)):
        return bundle
    axes = _matched_axes(cell) if plain is not baselines else [*_matched_axes(cell), *LINE_TECHNIQUES]
    matched = [other for other in plain if values_of(other.cell, axes) == values_of(cell, axes)]
    # of several, rather that with the same outer optimiser
    matched.sort(key=lambda other: values_of(other.cell, ("outer",)) != values_of(cell, ("outer",)))
    return next(iter(matched), None)


def _rival(own: Bundle, baseline: Bundle | None, trained: Sequence[Bundle]) -> Bundle | None:
    """The training of the baseline that was judged alike; of several the one that is most like the line's own."""
    if baseline is None or not own.asked_for("quality"):
        return None
    others = [
        other
        for other in trained
        if time_key(other.cell) == time_key(baseline.cell)
        and values_of(other.cell, SCORED) == values_of(own.cell, SCORED)
    ]
    if own in others:
        return own
    return min(others, key=lambda other: len(varying((own.cell, other.cell), TRAINING_AXES)), default=None)


def _plain(baselines: Sequence[Bundle]) -> Sequence[Bundle]:
    """The baselines without a technique, if there are any; else all of them."""
    return [other for other in baselines if not techniques(other.cell, LINE_TECHNIQUES)] or baselines


def _unmatched(baselines: Sequence[Bundle]) -> Bundle | None:
    return next((other for other in _plain(baselines) if other.samples), None)


def _matched_axes(cell: Cell) -> list[str]:
    """What must be equal for two algorithms to be matched, beyond the table's own setting and what is alike."""
    return matched_axes(cell, *GROUP, *ALIKE, *LINE_TECHNIQUES)


def _named(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The axes that name a line: the engine, too, where a table has several."""
    return ("algorithm", *varying(cells, ("engine",)))


def _titled(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The axes that the title of a table begins with."""
    return in_title_order((*GROUP, *ALIKE), but=varying(cells, tuple(ALIKE)))


def _has_ratio(line: Line) -> bool:
    return line.baseline is not None and (line.cost.step is not None or line.cost.peak is not None)


def _unmatched_note(lines: Sequence[Line]) -> str:
    """What the mark of a ratio to a baseline that is not matched means."""
    others = [line.baseline.cell for line in lines if line.baseline and line.mark]
    where = dict.fromkeys(setting(cell, _matched_axes(cell), {}) for cell in others)
    return f"† not matched: compared with {BASELINE} at {'; or at '.join(where)}."


def cost_table(one: Comparison, run: Run) -> Table:
    """The table of a comparison."""
    lines, scored = one.lines, one.scored
    cells = [line.bundle.cell for line in lines]
    kind = "Cost and quality" if scored else "Cost"
    told = ("iterations", "batch_norm", "eval_steps") if scored else ("iterations",)
    own = [axis for axis in OWN_AXES if axis not in told]
    titled = _titled(cells)
    named, fixed = labels(cells, titled, _named(cells), LINE_TECHNIQUES, own)
    says = "Time of one meta-iteration with its 95 % interval; ratios are paired by repetition."
    alike = " and ".join(ALIKE[axis] for axis in varying(cells, tuple(ALIKE)))
    notes = [f"Ratios are to {BASELINE} {alike}."] if alike and any(map(_has_ratio, lines)) else []
    return table_of(
        f"{kind}: {setting(cells[0], (*titled, *fixed), run.data_names)}",
        says if any(line.cost.step for line in lines) else "",
        [*named, *compared_columns(BASELINE), *(_quality_columns(lines) if scored else ())],
        lines,
        lambda line: line.ids,
        [*notes, *differing_notes(cells, METHOD_AXES)],
        marks={UNMATCHED: _unmatched_note(lines), **MARKS},
    )


def _quality_columns(lines: Sequence[Line]) -> list[Column[Line]]:
    def trained(line: Line, name: str) -> str:
        return str(getattr(line.quality, name) if line.quality else line.bundle.cell[name])

    return [
        Column(metric_word(lines), score_text, notes=_seeds_notes, score=judged),
        contrast_column(BASELINE, lines, paired=True),
        Column("seeds", seeds_text),
        Column("test steps", _steps, notes=_steps_notes),
        Column("iterations", lambda line: trained(line, "iterations")),
        Column("training", _training),
        Column("evaluation", _evaluation, droppable=True, notes=_evaluation_notes),
        Column("batch norm", lambda line: trained(line, "batch_norm").replace("none", NOTHING), droppable=True),
    ]


def _training(line: Line) -> str:
    """Seconds of training; nothing where there was none."""
    return duration_text(line.quality.train_s) if line.quality and line.quality.train_s else NOTHING


def _evaluation(line: Line) -> str:
    """Seconds of all evaluations; nothing where rows do not say."""
    return duration_text(line.quality.eval_s) if line.quality and line.quality.eval_s else NOTHING


def _evaluation_notes(lines: Sequence[Line]) -> list[str]:
    if not any(line.quality and line.quality.eval_s for line in lines):
        return []
    return ["evaluation: the time of all scores, of the curve's points and of the test tasks; no part of the training."]


def _steps(line: Line) -> str:
    """Number of inner steps on a test task after which the score was taken."""
    return str(max(line.quality.by_step)) if line.quality and line.quality.by_step else str(line.bundle.cell.eval_steps)


def _steps_notes(lines: Sequence[Line]) -> list[str]:
    shapes = {(line.bundle.cell.eval_tasks, queries_text(line.bundle.cell)) for line in lines}
    notes = ["test steps: the inner steps on a test task after which the score was taken."]
    if len(shapes) == 1 and any(line.quality for line in lines):
        (tasks, queries) = shapes.pop()
        notes.append(f"Tested on {tasks} tasks, with {queries}.")
    return notes


def queries_text(cell: Cell) -> str:
    """The query set of a held-out task, in words."""
    if cell.ways == 1:
        return counted(cell.eval_query, "query example")
    if cell.eval_queries == "balanced":
        return f"{counted(cell.eval_query, 'query example')} of each class"
    classes = {"independent": "the class of each drawn by itself", "single": "all of one class"}
    return f"{counted(cell.ways * cell.eval_query, 'query example')}, {classes[cell.eval_queries]}"


def _seeds_notes(lines: Sequence[Line]) -> list[str]:
    seeds = max((line.quality.seeds for line in lines if line.quality), default=0)
    if seeds > 1:
        mean = "geometric mean" if any(line.quality.metric != "accuracy" for line in lines if line.quality) else "mean"
        return [f"Quality: the {mean} over training seeds; its 95 % CI covers how seeds and test tasks differ."]
    return ["Quality: one training seed; 95 % CI over test tasks, seed-to-seed variance not included."][:seeds]


def _by_step(lines: Sequence[Line], run: Run) -> Iterator[Table]:
    """Quality after each inner step on test tasks, where there is more than one."""
    found = [line for line in lines if line.quality and len(line.quality.by_step) > 1]
    if not found:
        return

    def at(step: int) -> Column[Line]:
        def text(line: Line) -> str:
            known = line.quality and line.quality.by_step.get(step)
            return quality_text(known, line.quality.metric) if line.quality and known else NOTHING

        return Column(str(step), text, score=judged, told=("eval_steps", "iterations"))

    scores = [line.quality.by_step for line in found if line.quality]
    steps = sorted({step for by_step in scores for step in by_step if step in TOLD_STEPS or step == max(by_step)})
    cells = [line.bundle.cell for line in found]
    named, _ = labels(cells, _titled(cells), _named(cells), LINE_TECHNIQUES)
    yield table_of(
        f"Quality by adaptation step: {setting(cells[0], _titled(cells), run.data_names)}",
        f"{metric_word(found)} on test tasks after so many inner steps.",
        [*named, *map(at, steps)],
        found,
        lambda line: line.bundle.ids,
    )
