"""The rate that implementations reach, against their arithmetic intensity, below what the machine can do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metabench.record.measurement import Measurement, Work
from metabench.report.bundles import TRAINING_AXES, Bundle, axes_but, bundles, time_key
from metabench.report.document import data_names
from metabench.report.figures.picture import Picture
from metabench.report.figures.placing import add_axes, add_text
from metabench.report.figures.style import FAINT, INK, WIDTH, engine_colour, label, styled
from metabench.report.render.tables import setting
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

MARKERS = "os^DvP*X<>ph8d"
ROOF_AXES = ("device", "precision", "threads", "world_size", "machine")
MOST_WORKS = 12
GAP = 0.02
"""Between the letters of two pieces of work, as a share of the axis."""
LINE_TOP, LETTER_FOOT = 0.9, 0.955
"""Where the line of a piece of work leaves its place to reach its letter, as shares of the axis."""
TITLE = "Achieved rate against arithmetic intensity"
SAYS = (
    "Up is faster. Lines are what the machine itself reached in the same processes. "
    "Operations and bytes are those of loop's operators, one by one, whatever way an engine takes: one that keeps "
    "numbers in caches, or multiplies less often (Winograd's convolutions), can rise above them."
)
HEAD_INCHES, HEIGHT, BELOW_INCHES, FOOT_INCHES, LINE_INCHES = 0.45, 4.4, 0.6, 0.3, 0.16
EDGE_INCHES, LEFT_INCHES = 0.1, 0.75


@dataclass(frozen=True)
class Point:
    """One implementation at one piece of work."""

    work: str
    engine: str
    intensity: float
    """Floating-point operations a byte."""
    rate: Interval
    """Floating-point operations a second."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Roof:
    """What was measured on one device, in one precision, with some threads."""

    title: str
    points: tuple[Point, ...]
    matmul: float
    convolution: float
    bandwidth: float
    noisy: bool

    @property
    def works(self) -> list[str]:
        """The pieces of work, by intensity."""
        return list(dict.fromkeys(p.work for p in sorted(self.points, key=lambda p: p.intensity)))


def roofline_picture(run: Run) -> Picture | None:
    """None where nothing that was timed has its operations, its bytes and the machine's peaks."""
    roofs = roofs_of(run.measurements, data_names(run.measurements))
    if not roofs:
        return None
    machine = run.environment.summary
    return Picture("roofline", TITLE, SAYS, _data(roofs), lambda: draw_roofline(roofs, machine))


def roofs_of(rows: Sequence[Measurement], data: Mapping[str, str]) -> list[Roof]:
    """What is drawn. An engine's work is that of `loop`, so any cell of the same work may have measured it."""
    found = bundles(rows, time_key)
    works = {_work(b): work for b in found if (work := _complete(b))}
    groups: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in found:
        if bundle.step and _work(bundle) in works:
            groups.setdefault(tuple(bundle.cell[axis] for axis in ROOF_AXES), []).append(bundle)
    roofs = []
    for group in groups.values():
        measured = [works[_work(bundle)] for bundle in group]
        points = tuple(_point(bundle, works[_work(bundle)], data) for bundle in group)
        kept = list(dict.fromkeys(point.work for point in points))[:MOST_WORKS]
        peak = {
            name: max(getattr(work.peaks, name) for work in measured) for name in ("matmul", "convolution", "bandwidth")
        }
        roofs.append(
            Roof(
                label(setting(group[0].cell, ROOF_AXES, data)),
                tuple(point for point in points if point.work in kept),
                noisy=any(work.peaks.noisy for work in measured),
                **peak,
            )
        )
    return roofs


def _work(bundle: Bundle) -> tuple[Any, ...]:
    """Equal for the engines that do the same."""
    return axes_but(bundle.cell, "engine", "seed", "measure", *TRAINING_AXES)


def _complete(bundle: Bundle) -> Work | None:
    """Its operations, bytes and peaks, if all of them were measured."""
    works = [row.work for row in bundle.rows if row.status == "ok" and row.work]
    return next((w for w in works if w.flops and w.bytes and w.peaks.bandwidth), None)


def _point(bundle: Bundle, work: Work, data: Mapping[str, str]) -> Point:
    assert bundle.step is not None
    step, flops = bundle.step, float(work.flops)
    axes = ("task", "model", "inner_steps", "meta_batch", "query")
    name = label(f"{bundle.algorithm}: {setting(bundle.cell, axes, data)}")
    rate = Interval(flops / step.value, flops / step.high, flops / step.low if step.known else math.inf)
    cells = bundle.ids
    return Point(name, str(bundle.cell.engine), flops / (work.bytes or 1), rate, cells)


def _data(roofs: Sequence[Roof]) -> pd.DataFrame:
    columns = (
        *("setting", "work", "engine", "flop_per_byte", "flop_per_s", "low", "high"),
        *("matmul", "convolution", "bandwidth", "cells"),
    )
    return pd.DataFrame(
        [
            (
                *(r.title, p.work, p.engine, p.intensity, p.rate.value, p.rate.low, p.rate.high),
                *(r.matmul, r.convolution, r.bandwidth, " ".join(p.cells)),
            )
            for r in roofs
            for p in r.points
        ],
        columns=columns,
    )


def draw_roofline(roofs: Sequence[Roof], machine: str) -> Figure:
    """Both axes logarithmic; a panel for each setting of the machine."""
    below = [BELOW_INCHES + LINE_INCHES * max(len(r.works), len({p.engine for p in r.points})) for r in roofs]
    with styled():
        figure = Figure(figsize=(WIDTH, HEAD_INCHES + sum(HEIGHT + b for b in below) + FOOT_INCHES))
        add_text(figure, EDGE_INCHES, 0.2, TITLE, fontsize=13, fontweight="bold")
        top = HEAD_INCHES
        for roof, under in zip(roofs, below, strict=True):
            _draw_roof(roof, add_axes(figure, LEFT_INCHES, top + 0.3, WIDTH - LEFT_INCHES - 0.15, HEIGHT - 0.3))
            top += HEIGHT + under
        add_text(figure, EDGE_INCHES, top + FOOT_INCHES / 2, label(machine), fontsize=8, color=FAINT)
    return figure


def _draw_roof(roof: Roof, axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    ridge = max(roof.matmul, roof.convolution) / roof.bandwidth
    intensities = [point.intensity for point in roof.points]
    low, high = min([*intensities, ridge]) / 3, max([*intensities, ridge]) * 6
    rates = [point.rate.drawn.low / 1e9 for point in roof.points]
    top = max(roof.matmul, roof.convolution, *(point.rate.drawn.high for point in roof.points)) / 1e9
    axes.set_xlim(low, high)
    axes.set_ylim(min([*rates, roof.bandwidth * low / 1e9]) / 2, top * 3)
    slope = np.array([low, ridge])
    axes.plot(slope, slope * roof.bandwidth / 1e9, color=INK, linewidth=1)
    ceilings = [("matrix product", roof.matmul, "-", "top"), ("convolution", roof.convolution, "--", "top")]
    ceilings.sort(key=lambda ceiling: ceiling[1])
    for (name, rate, style, _), side in zip(ceilings, ("top", "bottom"), strict=True):
        axes.plot([rate / roof.bandwidth, high], [rate / 1e9] * 2, color=INK, linewidth=1, linestyle=style)
        offset = 2 if side == "bottom" else -2
        text = f"{name}: {rate / 1e9:.3g} GFLOP/s"
        axes.annotate(
            text, (high, rate / 1e9), (-2, offset), textcoords="offset points", ha="right", va=side, fontsize=7
        )
    axes.annotate(
        f"bandwidth: {roof.bandwidth / 1e9:.3g} GB/s",
        (low, low * roof.bandwidth / 1e9),
        (6, -2),
        textcoords="offset points",
        va="top",
        fontsize=7,
    )
    engines = list(dict.fromkeys(point.engine for point in roof.points))
    marker = {engine: MARKERS[i % len(MARKERS)] for i, engine in enumerate(engines)}
    for point in roof.points:
        drawn = point.rate.drawn
        axes.plot([point.intensity] * 2, [drawn.low / 1e9, drawn.high / 1e9], color=INK, linewidth=0.8)
        axes.plot(
            [point.intensity],
            [point.rate.value / 1e9],
            marker[point.engine],
            color=engine_colour(point.engine),
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linestyle="none",
        )
    letters = dict(zip(roof.works, ascii_lowercase, strict=False))
    _letter(roof, letters, axes)
    own = [Line2D([], [], color=engine_colour(e), marker=marker[e], linestyle="none", label=label(e)) for e in engines]
    works = [Line2D([], [], linestyle="none", label=f"{letter}  {work}") for work, letter in letters.items()]
    looks: dict[str, Any] = {"loc": "upper left", "frameon": False, "fontsize": 7}
    axes.add_artist(axes.legend(handles=own, bbox_to_anchor=(0, -0.13), **looks))
    axes.legend(handles=works, bbox_to_anchor=(0.16, -0.13), handlelength=0, **looks)
    axes.set_xlabel("floating-point operations a byte (of loop's operators)")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(roof.title + (" (peaks were noisy: they may be higher)" if roof.noisy else ""), loc="left")
    axes.grid(which="major")


def _letter(roof: Roof, letters: Mapping[str, str], axes: Axes) -> None:
    """A letter above each piece of work, at the top, no two on one another."""
    place = axes.transLimits.transform
    reached = 0.0
    for work, letter in letters.items():
        mine = [point for point in roof.points if point.work == work]
        x = float(np.log10(mine[0].intensity))
        at = max(float(place((x, 0))[0]), reached + GAP)
        reached = at
        axes.axvline(mine[0].intensity, ymax=LINE_TOP, color=FAINT, linewidth=0.5, linestyle=":", zorder=0)
        ends = [float(place((x, 0))[0]), at], [LINE_TOP, LETTER_FOOT]
        axes.plot(*ends, transform=axes.transAxes, color=FAINT, linewidth=0.5, linestyle=":", zorder=0)
        axes.text(at, 0.975, letter, transform=axes.transAxes, ha="center", va="center", fontsize=8, fontweight="bold")
