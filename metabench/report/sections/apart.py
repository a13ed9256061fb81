"""What takes how long beside the whole meta-iteration: its backward pass, a held-out task, a network's derivatives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from metabench.report.apart import (
    ALIKE_TESTED,
    adapting,
    differentiating,
    is_disturbed,
    ratio_of_parts,
    samples_by_round,
    seconds_of,
    twice_over_once,
)
from metabench.report.axes import LINE_TECHNIQUES, MACHINE, TASK, in_title_order
from metabench.report.bundles import BASELINE, Bundle, by_axes, ids_of, status, status_and_reason
from metabench.report.marks import DISTURBED
from metabench.report.noise import ratio_text
from metabench.report.numbers import NOTHING, time_text
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, HasBundle, labels, section, table_of
from metabench.report.sections.columns import relative
from metabench.report.sections.growth import AxisValue, GrowthLine, first, growing_lines, growing_setting, title_axes
from metabench.report.sections.scaling import exponent_text, figures_by_round, partly_notes, stands_on
from metabench.statistics.laws import Law, fit

STEPS = "inner_steps"
TESTED = in_title_order((*TASK, "model", *MACHINE, "precision", "eval_query", "batch_norm"))
"""Axes of which each combination of values has a table of held-out tasks."""
NETWORK = in_title_order((*TASK, *MACHINE, "precision", "query", "train_ways", "train_shots", "meta_batch"))
"""Axes of which each combination of values has a table of networks."""


@section("Timed apart", place=45)
def apart_tables(run: Run) -> Iterator[Table]:
    """Tables of what was measured of it, for each setting."""
    yield from _backward_passes(run)
    for group in by_axes(adapting(run), TESTED):
        yield _held_out_task(group, run)
    for group in by_axes(differentiating(run), NETWORK):
        yield _double_backward(group, run)


# --- the backward pass of a meta-iteration ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Passes:
    """The backward passes of one implementation at several numbers of inner steps."""

    line: GrowthLine

    @property
    def bundle(self) -> Bundle:
        return first(self.line)


def _backward_passes(run: Run) -> Iterator[Table]:
    for axis, lines in growing_lines(run):
        found = [{steps: one for steps, one in line.items() if seconds_of(one, "backward")} for line in lines]
        rows = [_Passes(line) for line in found if len(line) > 1]
        if axis == STEPS and rows:
            yield _backward_table(rows, growing_setting(axis, lines, run.data_names))


def _backward_table(rows: Sequence[_Passes], where: str) -> Table:
    steps = sorted({steps for row in rows for steps in row.line}, key=int)

    def at(number: AxisValue) -> Column[_Passes]:
        return Column(str(number), lambda row: _seconds(row.line.get(number), "backward"))

    named, _ = labels([row.bundle.cell for row in rows], title_axes(STEPS), ("algorithm", "engine"), LINE_TECHNIQUES)
    exponents = Column[_Passes]("exponent", _exponent, droppable=True)
    return table_of(
        f"Backward pass with inner steps: {where}",
        "Time of the phase outer backward of one meta-iteration with its 95 % interval, by the number of inner steps.",
        [*named, *map(at, steps), exponents],
        rows,
        lambda row: ids_of(row.line.values()),
        [
            "exponent: the power of the inner steps by which it grows; what is fixed lowers it.",
            *partly_notes(law for row in rows if (law := _law(row))),
        ],
    )


def _law(row: _Passes) -> Law | None:
    at = {float(steps): bundle for steps, bundle in row.line.items()}
    return fit(figures_by_round(at, "backward"), row.bundle.noise)


def _exponent(row: _Passes) -> str:
    law = _law(row)
    return exponent_text(law.exponent) + stands_on(law) if law else NOTHING


def _seconds(bundle: Bundle | None, figure: str) -> str:
    found = seconds_of(bundle, figure) if bundle else None
    return time_text(found) if found else NOTHING


# --- one held-out task -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """A line of a table, and the one that its time is divided by."""

    bundle: Bundle
    baseline: Bundle | None = None


def _held_out_task(group: Sequence[Bundle], run: Run) -> Table:
    lines = [_Line(bundle, _baseline(bundle, group)) for bundle in group]
    cells = [bundle.cell for bundle in group]
    named, _ = labels(cells, (*TESTED, *ALIKE_TESTED), ("algorithm",), LINE_TECHNIQUES, own=())
    columns: list[Column[_Line]] = [
        *named,
        Column("test steps", lambda line: str(line.bundle.cell.eval_steps)),
        _failure(),
        Column("a task", _marked(lambda line: _seconds(line.bundle, "adaptation"), "adaptation"), droppable=True),
        Column(relative("time", BASELINE), _over_baseline, droppable=True),
        Column("adaptation", lambda line: _seconds(line.bundle, "support"), droppable=True),
        Column("predictions", lambda line: _seconds(line.bundle, "query"), droppable=True),
    ]
    return table_of(
        f"One held-out task: {setting(cells[0], TESTED, run.data_names)}",
        "Time from the support set of a held-out task to the predictions on its query set, with its 95 % interval; "
        "ratios are paired by repetition.",
        columns,
        lines,
        lambda line: ids_of((line.bundle, line.baseline)),
        [
            "The plain loop adapts to a task alone, without a graph, whatever engine trains.",
            "adaptation: the inner loop on the support set. predictions: those of adapted parameters. Both are timed "
            "by themselves.",
        ],
    )


def _baseline(bundle: Bundle, group: Sequence[Bundle]) -> Bundle | None:
    """The baseline with as many inner steps; for what has no inner loop, the only baseline there is."""
    found = [other for other in group if other.algorithm == BASELINE]
    alike = [other for other in found if other.cell.eval_steps == bundle.cell.eval_steps]
    if bundle.cell.eval_steps == 0 and not alike:
        alike = found if len(found) == 1 else []
    return bundle if bundle in alike else alike[0] if alike else None


def _over_baseline(line: _Line) -> str:
    if line.baseline is None or line.baseline is line.bundle:
        return "1" if line.baseline and samples_by_round(line.bundle, "adaptation") else NOTHING
    ratio = ratio_of_parts(line.bundle, line.baseline, "adaptation")
    if ratio is None:
        return NOTHING
    return ratio_text(ratio) + (DISTURBED if is_disturbed((line.bundle, line.baseline), "adaptation") else "")


def _failure() -> Column[HasBundle]:
    """What happened, where anything did."""
    return Column(
        "status", lambda line: "" if status(line.bundle) == "ok" else status_and_reason(line.bundle), droppable=True
    )


def _marked(text: Callable[[_Line], str], measure: str) -> Callable[[_Line], str]:
    """The text of a figure, with a mark where it is disturbed."""

    def marked(line: _Line) -> str:
        found = text(line)
        return found + DISTURBED if found != NOTHING and is_disturbed((line.bundle,), measure) else found

    return marked


# --- a network differentiated twice ----------------------------------------------------------------------------------


def _double_backward(group: Sequence[Bundle], run: Run) -> Table:
    lines = [_Line(bundle) for bundle in group]
    examples = {row.double_backward.examples for one in group for row in one.sound if row.double_backward}

    def ratio(line: _Line) -> str:
        found = twice_over_once(line.bundle)
        return ratio_text(found) if found else NOTHING

    columns: list[Column[_Line]] = [
        Column("network", lambda line: line.bundle.cell.model),
        _failure(),
        Column("gradient", _marked(lambda line: _seconds(line.bundle, "once"), "double_backward"), droppable=True),
        Column("with penalty", _marked(lambda line: _seconds(line.bundle, "twice"), "double_backward"), droppable=True),
        Column("ratio", _marked(ratio, "double_backward"), droppable=True),
    ]
    many = f", {max(examples)} examples" if len(examples) == 1 else ""
    return table_of(
        f"Double backward: {setting(group[0].cell, NETWORK, run.data_names)}{many}",
        "Time of the gradient of a loss, and with that of a penalty on its gradient in the inputs, which "
        "differentiates the network twice; with 95 % intervals, the ratio's formed within repetitions.",
        columns,
        lines,
        lambda line: line.bundle.ids,
        ["All examples of a meta-batch make one batch. No inner loop is around it."],
    )
