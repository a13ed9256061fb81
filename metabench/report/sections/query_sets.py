"""What the query set gives away: the same trainings, judged on query sets of other sizes and of other classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

from metabench.grouping import grouped
from metabench.record.cell import BatchNorm, Cell, EvalQueries
from metabench.report.axes import MACHINE, TASK, in_title_order
from metabench.report.bundles import Bundle, axes_but, by_axes, ids_of, telling_apart
from metabench.report.numbers import NOTHING, quality_text
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.scores import quality
from metabench.report.sections.base import Column, axis_columns, section, table_of

QUERIES = ("eval_queries", "batch_norm", "eval_query")
"""The axes that say what the queries of a held-out task are, and what each is normalised by."""
GROUP = in_title_order((*TASK, "model", "engine", "precision", *MACHINE))
SAYS = (
    "Accuracy on test tasks of the same trainings, with another query set in each column; 95 % intervals in brackets."
)
NOTES = (
    "A network that normalises by the statistics of its batch sees all queries of a task at once: what the set holds "
    "then tells of the classes of each.",
    "balanced: equally many of each class; independent: the class of each drawn by itself; of one class: which one is "
    "drawn. Each with the support set: no query sees another.",
)
QuerySet: TypeAlias = tuple[str, str, int]
"""Values of `QUERIES`, with the number of all queries of a task in place of that of each class."""


@dataclass(frozen=True)
class Leak:
    """A training, judged on several query sets."""

    bundles: Mapping[QuerySet, Bundle]

    @property
    def bundle(self) -> Bundle:
        """One of the bundles: read from it only what all agree on."""
        return next(iter(self.bundles.values()))


@section("What the query set gives away", place=15)
def query_set_tables(run: Run) -> Iterator[Table]:
    """A table for each setting in which a training was judged on several query sets."""
    scored = [b for b in run.trained if (found := quality(b)) and found.metric == "accuracy"]
    leaks: list[Leak] = []
    for same in grouped(scored, lambda b: axes_but(b.cell, "seed", *QUERIES)).values():
        judged = {query_set(bundle.cell): bundle for bundle in same}
        if len(judged) > 1:
            leaks.append(Leak(judged))
    groups = by_axes([leak.bundle for leak in leaks], GROUP)
    for group in groups:
        yield _table([leak for leak in leaks if any(leak.bundle is bundle for bundle in group)], run)


def query_set(cell: Cell) -> QuerySet:
    """What the queries of a cell's held-out tasks are."""
    return cell.eval_queries, cell.batch_norm, cell.ways * cell.eval_query


def in_words(one: QuerySet) -> str:
    """A query set as the title of a column."""
    classes, batch_norm, queries = one
    how = {"one-query": ", each with the support set", "running": ", by running statistics"}.get(batch_norm, "")
    if classes == "balanced":
        return f"{queries}{how or ' balanced'}"
    return f"{queries} {'of one class' if classes == 'single' else classes}{how}"


def usual_first(cell: Cell) -> tuple[int, int, int]:
    """An order of query sets: balanced ones first, of them the transductive, and of them the smallest."""
    return _order(query_set(cell))


def _order(one: QuerySet) -> tuple[int, int, int]:
    classes, batch_norm, queries = one
    return get_args(EvalQueries).index(classes), get_args(BatchNorm).index(batch_norm), queries


def _table(leaks: Sequence[Leak], run: Run) -> Table:
    cells = [leak.bundle.cell for leak in leaks]
    axes = [axis for axis in cells[0].axes if axis not in ("algorithm", "seed", *QUERIES, *GROUP)]
    named = axis_columns("algorithm", *telling_apart(cells, ("algorithm",), axes))
    sets = sorted({one for leak in leaks for one in leak.bundles}, key=_order)

    def column(one: QuerySet) -> Column[Leak]:
        def text(leak: Leak) -> str:
            found = quality(leak.bundles[one]) if one in leak.bundles else None
            return quality_text(found.score, found.metric) if found else NOTHING

        def judged(leak: Leak) -> Cell | None:
            return leak.bundles[one].cell if one in leak.bundles else None

        return Column(in_words(one), text, score=judged, told=(*QUERIES, "eval_steps", "iterations"))

    return table_of(
        f"What the query set gives away: {setting(cells[0], GROUP, run.data_names)}",
        SAYS,
        [*named, *map(column, sets)],
        leaks,
        lambda leak: ids_of(leak.bundles.values()),
        NOTES,
    )
