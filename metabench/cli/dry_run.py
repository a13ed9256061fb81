"""A sweep before it runs: its configurations, what was filled in, and about how long it will take."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from metabench.engines.base import ENGINES
from metabench.extras import INSTALL
from metabench.grouping import grouped
from metabench.record.cell import AXES, DISTRIBUTION, Cell, shape_text, varying
from metabench.report.numbers import BYTE_UNITS, in_unit
from metabench.report.render.fitting import fitted, wrapped
from metabench.report.render.tables import Table, table_json
from metabench.sweep.estimate import beyond_limit, expected, memory_bytes
from metabench.sweep.jobs import Job
from metabench.sweep.remaining import Remaining
from metabench.sweep.runner import plan
from metabench.sweep.spec import Settings, Sweep
from metabench.sweep.threads import threads_in_words
from metabench.text import counted, span

MOST_LINES = 40
NAMES = ("algorithm", "engine")
GROUPED = (*DISTRIBUTION, "ways", "shots", "model")
"""Axes that configurations of a group have in common."""
ALWAYS = ("inner_steps", "meta_batch")
"""Axes that are said of a group even where all its configurations have the same value."""
TRAINED = ("preset", "seed", "iterations")
"""Axes of a training that are said where they differ."""
MOST_VALUES = 6
ACCURACY = (
    "Times are guesses, mostly right within a factor of two; a run learns how far they are off. Peak memory is that "
    "of a meta-iteration, beside what its process holds."
)


def cells_table(sweep: Sweep, jobs: Sequence[Job]) -> Table:
    """The cells of a sweep with the axes on which they differ; notes say all others, and what was filled in."""
    first, *_ = cells = sweep.cells
    shown = [*NAMES, *(axis for axis in varying(cells, AXES) if axis not in NAMES)]
    rows = tuple((*(str(cell[axis]) for axis in shown), ", ".join(cell.measure)) for cell in cells)
    alike = ", ".join(f"{AXES[axis].word} {first[axis]}" for axis in AXES if axis not in shown and first[axis] != "")
    begin = sweep.title if sweep.title.endswith("?") else f"{sweep.title}:"
    title = f"{begin} {counted(len(cells), 'configuration')}, {counted(len(jobs), 'measurement')}"
    headers = (*(AXES[axis].word for axis in shown), "measured")
    return Table(title, "", headers, rows, (f"The same in all configurations: {alike}.", *sweep.filled_in))


def lacking_here(sweep: Sweep) -> list[str]:
    """Sentences on what this machine lacks for a sweep."""
    absent = Counter[str]()
    for name, number in Counter(cell.engine for cell in sweep.cells).items():
        engine = ENGINES.get(name)
        if not engine.is_installed:
            absent[engine.library] += number
    found = [_not_installed(library, number) for library, number in absent.items()]
    on_gpu = sum(cell.device == "cuda" for cell in sweep.cells)
    if on_gpu and not torch.cuda.is_available():
        found.append(f"There is no CUDA device here: {_not_measured(on_gpu)}.")
    return found


def _not_installed(library: str, number: int) -> str:
    said = f"{library} is not installed: {_not_measured(number)}."
    return f"{said} To install it: {INSTALL[library]}." if library in INSTALL else said


def _not_measured(number: int) -> str:
    return f"{counted(number, 'configuration')} cannot be measured"


def dry_run_json(sweep: Sweep, lacking: Sequence[str] = ()) -> dict[str, Any]:
    """The table of all cells for programs, with what the sweep is expected to take, and what cannot be measured."""
    jobs = plan(sweep)
    guess = {"expected_seconds": _seconds(jobs, sweep.settings), "expected_peak_bytes": _peak(sweep.cells)}
    return table_json(cells_table(sweep, jobs)) | guess | {"lacking": list(lacking)}


def dry_run_text(sweep: Sweep, width: int, full: bool, lacking: Sequence[str] = ()) -> str:
    """The sweep in at most 40 lines of so many columns; if `full`, with every configuration.

    `lacking` are sentences on what cannot be measured.
    """
    jobs = plan(sweep)
    table = cells_table(sweep, jobs)
    total = f"{table.title}, about {span(_seconds(jobs, sweep.settings))}"
    head = [*wrapped(f"{total}.", width), *wrapped(_longest(sweep), width)]
    if late := beyond_limit(sweep.cells, sweep.settings):
        head += wrapped(f"Too long: {late}.", width)
    alike, *filled_in = table.notes
    foot = [line for note in (*lacking, *filled_in) for line in wrapped(note, width, "  ")]
    foot += [*wrapped(f"Threads: {threads_in_words(sweep.cells)}.", width), *wrapped(ACCURACY, width)]
    if full:
        grid = fitted(table.columns, table.rows, width)
        return "\n".join([*head, "", grid, "", *wrapped(alike, width, "  "), *foot])
    foot.append("Every configuration: add --full. Nothing was measured.")
    blocks = _blocks(sweep, jobs, width)
    kept: list[str] = []
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        if len(head) + 1 + len(kept) + len(block) + (not last) + 1 + len(foot) > MOST_LINES:
            kept.append(f"… and {counted(len(blocks) - number, 'more group')} of configurations")
            break
        kept += block
    return "\n".join([*head, "", *kept, "", *foot])


def _blocks(sweep: Sweep, jobs: Sequence[Job], width: int) -> list[list[str]]:
    """A few lines on each group of configurations, those that take longest first."""
    groups, measured = grouped(sweep.cells, _group), grouped(jobs, lambda job: _group(job.cell))
    seconds = {group: _seconds(of_group, sweep.settings) for group, of_group in measured.items()}
    return [_block(groups[group], seconds[group], width) for group in sorted(groups, key=lambda each: -seconds[each])]


def _group(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell[axis] for axis in GROUPED)


def _block(cells: Sequence[Cell], seconds: float, width: int) -> list[str]:
    """A line on what a group takes, and what its configurations are."""
    first, peak = cells[0], _peak(cells)
    facts = [counted(len(cells), "configuration"), f"about {span(seconds)}"]
    facts.append(f"peak memory about {_size_text(peak)}" if peak else "peak memory not known")
    title = f"{first.problem} {shape_text(first.ways, first.shots)}, {first.model}: {', '.join(facts)}"
    algorithms, engines = (", ".join(dict.fromkeys(cell[name] for cell in cells)) for name in NAMES)
    differing = [axis for axis in varying(cells, AXES) if axis not in (*NAMES, *GROUPED)]
    shown = [axis for axis in AXES if axis in ALWAYS or (axis in differing and _is_asked_for(axis))]
    values = [f"{AXES[axis].word} {_values(cells, axis)}" for axis in shown]
    measures = dict.fromkeys(measure for cell in cells for measure in cell.measure)
    said = "; ".join([f"{algorithms} on {engines}", *values, f"measured: {', '.join(measures)}"])
    return [*wrapped(title, width), *("  " + line for line in wrapped(said, width - 2))]


def _is_asked_for(axis: str) -> bool:
    """Whether an axis belongs to what a sweep compares, and not to how each algorithm is trained best."""
    return AXES[axis].role not in ("training", "evaluation") or axis in TRAINED


def _values(cells: Sequence[Cell], axis: str) -> str:
    """The values on an axis; of many the first and the last."""
    values = [str(value) for value in sorted({cell[axis] for cell in cells})]
    return ", ".join(values) if len(values) <= MOST_VALUES else f"{values[0]} to {values[-1]} ({len(values)} values)"


def _longest(sweep: Sweep) -> str:
    """A sentence on the measurement that is expected to take longest."""
    guesses = [(expected(cell, sweep.settings).seconds, cell) for cell in sweep.cells]
    seconds, cell = max(guesses, key=lambda each: each[0])
    trained = f", {cell.iterations} iterations of training" if "quality" in cell.measure and cell.iterations else ""
    limit = sweep.settings.time_limit_s
    ended = f"; each is ended after {span(limit)} (time_limit_s)"
    return f"Longest measurement: about {span(min(seconds, limit))}, {cell.describe()}{trained}{ended}."


def _seconds(jobs: Sequence[Job], settings: Settings) -> float:
    return Remaining(jobs, settings, lambda: 0.0).seconds


def _peak(cells: Sequence[Cell]) -> float | None:
    """The most that a meta-iteration of any of the cells is expected to hold; None where that is known of none."""
    return max((found for cell in cells if (found := memory_bytes(cell)) is not None), default=None)


def _size_text(size: float) -> str:
    """A guess of a number of bytes, with two digits."""
    scale, unit = in_unit(size, BYTE_UNITS)
    return f"{float(f'{size / scale:.2g}'):g} {unit}"
