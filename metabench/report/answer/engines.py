"""How fast each engine is: the table of each setting, and ranges over its sizes."""

from collections.abc import Iterator, Sequence
from math import exp, log

from metabench.grouping import grouped
from metabench.report.answer.narrow import MOST_COLUMNS, Found, narrow, place
from metabench.report.answer.phrases import times
from metabench.report.bundles import LOOP, time_ratio_of
from metabench.report.marks import disturbed_mark
from metabench.report.noise import ratio_mark
from metabench.report.results import Run
from metabench.report.sections.engines import EngineLine, Layout, engines_tables, layouts, library
from metabench.statistics.ratios import Ratio

SECTION = "Engines against loop"
NAMES = ("algorithm", "model", "engine", "library")
"""Columns that name a row."""
ASIDE = ("error", "compiling")
"""Columns that the full table alone has."""
MOST_ENGINES = 2


def answered(run: Run) -> Found | None:
    """The answer of a run in which engines do the same work."""
    tables = []
    for full in engines_tables(run).tables if any(_timed(layout) for layout in layouts(run)) else ():
        if full.title.startswith(SECTION):
            sizes = [name for name in full.columns if name not in (*NAMES, *ASIDE)][: MOST_COLUMNS - 2]
            tables.append(narrow(full, place(full, run), full.says, sizes, NAMES))
    return Found("How fast is each engine?", tuple(tables), ()) if tables else None


def _timed(layout: Layout) -> bool:
    return any(bundle.samples for line in layout.lines for bundle in line.at.values())


def sentences(run: Run) -> Iterator[str]:
    """Ranges of how many times as fast the fastest engines are as `loop` on each task, and as the fastest peer."""
    found = [(layout, line) for layout in layouts(run) for line in layout.lines if line.engine != LOOP]
    engines = grouped(found, lambda pair: pair[1].engine)
    speeds = {name: speed for name, pairs in engines.items() if (speed := _speed(pairs))}
    fastest = sorted(speeds, key=lambda name: -speeds[name])
    ours = [name for name in fastest if not library(engines[name][0][1])]
    peers = [name for name in fastest if name not in ours]
    yield from (_said(name, engines[name]) for name in ours[:MOST_ENGINES])
    if ours and peers:
        yield from _against(ours[0], peers[0], engines)


def _ratios(pairs: Sequence[tuple[Layout, EngineLine]]) -> list[tuple[Ratio, bool]]:
    """Speed-ups over loop at all sizes, each with whether both sides may be called different."""
    return [
        (ratio, not ratio_mark(ratio, line.at[point].drift * layout.loop_at(line, point).drift))
        for layout, line in pairs
        for point in line.at
        if not disturbed_mark(line.at[point], layout.loop_at(line, point))
        if (ratio := layout.speed_up(line, point))
    ]


def _speed(pairs: Sequence[tuple[Layout, EngineLine]]) -> float:
    """The mean speed-up, for an order among engines; 0 where nothing was timed."""
    values = [ratio.value for ratio, _ in _ratios(pairs)]
    return exp(sum(map(log, values)) / len(values)) if values else 0.0


def _said(name: str, pairs: Sequence[tuple[Layout, EngineLine]]) -> str:
    def task(pair: tuple[Layout, EngineLine]) -> str:
        cell = next(iter(pair[1].at.values())).cell
        return pair[0].data.get(cell.problem, cell.problem)

    parts = [f"on {where} {_range(_ratios(same))}" for where, same in grouped(pairs, task).items() if _ratios(same)]
    return f"{name} against {LOOP}: {', '.join(parts)}."


def _range(found: Sequence[tuple[Ratio, bool]]) -> str:
    apart = [ratio for ratio, told in found if told]
    if not apart:
        return "no difference in time that can be told"
    some = "" if len(apart) == len(found) else f" where a difference can be told ({len(apart)} of {len(found)} sizes)"
    return f"{times(apart)} times as fast{some}"


def _against(best: str, peer: str, engines: dict[str, list[tuple[Layout, EngineLine]]]) -> Iterator[str]:
    """How the fastest engine stands against the fastest peer."""
    found = []
    for layout, line in engines[best]:
        for other in (other for where, other in engines[peer] if where is layout and other.label == line.label):
            for point in line.at.keys() & other.at.keys():
                mine, theirs = line.at[point], other.at[point]
                ratio = time_ratio_of(theirs, mine)
                if ratio and not disturbed_mark(mine, theirs):
                    found.append((ratio, not ratio_mark(ratio, mine.drift * theirs.drift)))
    if found:
        yield f"{best} against {peer}, on average the fastest peer: {_range(found)}."
