"""How long each piece of work takes on each machine, against the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure

from metabench.report.figures.picture import Picture
from metabench.report.figures.style import FAINT, label, styled
from metabench.report.results import Run
from metabench.report.sections.machines import machines_of, works_on_machines
from metabench.statistics.ratios import Interval

TITLE = "One meta-iteration on several machines"
SAYS = "Each mark is one piece of work: below the line it takes less time than on the machine of the horizontal axis."
MILLI = 1e3
SERIES = (("#d55e00", "o"), ("#0072b2", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P"))
"""A colour and a marker for each machine but the first; from the seventh on they come again."""


@dataclass(frozen=True)
class Mark:
    """One piece of work on a machine and on the first one, in seconds."""

    implementation: str
    machine: str
    seconds: Interval
    first: Interval
    cells: tuple[str, ...]


def machines_picture(run: Run) -> Picture | None:
    """None for a run of one machine."""
    marks = machine_marks(run)
    if not marks:
        return None
    first, *_ = machines_of(run.measurements)
    columns = ["implementation", "machine", "seconds", "low", "high", f"seconds_on_{first}", "cells"]
    data = [
        (m.implementation, m.machine, m.seconds.value, m.seconds.low, m.seconds.high, m.first.value, " ".join(m.cells))
        for m in marks
    ]
    return Picture("machines", TITLE, SAYS, pd.DataFrame(data, columns=columns), lambda: draw_machines(marks, first))


def machine_marks(run: Run) -> list[Mark]:
    """Every piece of work that was timed on the first machine and on another."""
    marks = []
    first = next(iter(machines_of(run.measurements)), "")
    for by_machine in works_on_machines(run.measurements):
        base = by_machine.get(first)
        for machine, bundle in by_machine.items():
            if machine != first and base and base.step and bundle.step:
                name = f"{bundle.algorithm}/{bundle.cell.engine}"
                cells = (*base.ids, *bundle.ids)
                marks.append(Mark(name, machine, bundle.step, base.step, cells))
    return marks


def draw_machines(marks: Sequence[Mark], first: str) -> Figure:
    """Time against time, both logarithmic, a colour and a marker for each machine."""
    with styled():
        figure = Figure(figsize=(6, 5), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        others = dict.fromkeys(mark.machine for mark in marks)
        for (colour, marker), machine in zip(cycle(SERIES), others, strict=False):
            own = [mark for mark in marks if mark.machine == machine]
            axes.plot(
                [MILLI * mark.first.value for mark in own],
                [MILLI * mark.seconds.value for mark in own],
                marker,
                color=colour,
                markersize=4,
                label=label(machine),
            )
        ends = [f(MILLI * m.first.value for m in marks) for f in (min, max)]
        axes.plot(ends, ends, color=FAINT, linewidth=1)
        axes.set_xlabel(f"milliseconds on {label(first)}")
        axes.set_ylabel("milliseconds on the other machine")
        axes.grid(True)
        axes.legend(frameon=False, fontsize=8)
    return figure
