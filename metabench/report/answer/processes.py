"""How much faster several processes are than one: the tables of one meta-batch that is shared, and what they say."""

from collections.abc import Iterator

from metabench.grouping import grouped
from metabench.report.answer.narrow import Found, narrow, place
from metabench.report.answer.phrases import times
from metabench.report.bundles import time_key, time_ratio_of
from metabench.report.marks import disturbed_mark
from metabench.report.noise import ratio_mark
from metabench.report.results import Run
from metabench.report.sections.parallel import STRONG, parallel_tables
from metabench.statistics.ratios import Ratio

FIGURES = ("step time", "speed-up", "efficiency", "communication")
NAMES = ("implementation", "processes")


def answered(run: Run) -> Found | None:
    """The answer of a run in which one process and several share the same meta-batch."""
    if not any(row.cell.world_size > 1 for row in run.measurements):
        return None
    full = [table for table in parallel_tables(run).tables if table.title.startswith(STRONG.title)]
    tables = tuple(narrow(one, place(one, run), one.says, FIGURES, NAMES) for one in full)
    return Found("How much faster are several processes than one?", tables, tuple(_sentences(run))) if tables else None


def _sentences(run: Run) -> Iterator[str]:
    """Ranges of speed-ups over one process, by implementation and number of processes."""
    found: dict[tuple[str, int], list[tuple[Ratio, bool]]] = {}
    for same in grouped(run.timed, lambda bundle: time_key(bundle.cell, "world_size")).values():
        one = next((bundle for bundle in same if bundle.cell.world_size == 1), None)
        for other in (bundle for bundle in same if one and bundle is not one and not disturbed_mark(bundle, one)):
            if one and (ratio := time_ratio_of(one, other)):
                told = not ratio_mark(ratio, one.drift * other.drift)
                found.setdefault((other.cell.implementation, other.cell.world_size), []).append((ratio, told))
    for (name, number), ratios in found.items():
        apart = [ratio for ratio, told in ratios if told]
        some = "" if len(apart) == len(ratios) else f" where a difference can be told ({len(apart)} of {len(ratios)})"
        said = f"{times(apart)} times as fast as one{some}" if apart else "no difference from one that can be told"
        yield f"{number} processes of {name}: {said}."
