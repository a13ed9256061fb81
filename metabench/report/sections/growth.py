"""The lines along which time and memory grow: with inner steps, model size and meta-batch size, all else equal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from metabench.report.axes import LINE_TECHNIQUES, MACHINE, SIZES, TASK, in_title_order
from metabench.report.bundles import Bundle, by_cost
from metabench.report.render.tables import setting
from metabench.report.results import Run

GROWING = {"inner_steps": "inner steps", "model": "model size", "meta_batch": "meta-batch size"}
TITLE = in_title_order((*TASK, *SIZES, "precision", *MACHINE))

AxisValue: TypeAlias = str | int
GrowthLine: TypeAlias = Mapping[AxisValue, Bundle]
"""The cells of one algorithm on one engine by their value of the axis that grows."""


def growing_lines(run: Run) -> Iterator[tuple[str, list[GrowthLine]]]:
    """Each axis that grows, with the lines of two values or more of one setting, in the order of their algorithms."""
    for axis in GROWING:
        for group in by_cost(run.timed, axis, "algorithm", "engine", "outer", *LINE_TECHNIQUES):
            lines = [{one.cell[axis]: one for one in line} for line in by_cost(group, axis) if len(line) > 1]
            if lines:
                # the bundles come sizes first, which would put a line without the smallest size last
                yield axis, sorted(lines, key=lambda line: min(bundle.rank for bundle in line.values()))


def title_axes(axis: str) -> list[str]:
    """The axes on which all lines of a setting agree."""
    return [name for name in TITLE if name != axis]


def growing_setting(axis: str, lines: Sequence[GrowthLine], data: Mapping[str, str]) -> str:
    """What all of the lines have in common, as a phrase."""
    return setting(first(lines[0]).cell, title_axes(axis), data)


def first(line: GrowthLine) -> Bundle:
    """The bundle that stands for a line: equal to the others but for what grows."""
    return next(iter(line.values()))
