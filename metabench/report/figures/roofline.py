"""The rate that implementations reach, against their arithmetic intensity, below what the machine can do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metabench.record.measurement import Work
from metabench.report.bundles import Bundle, by_axes, work_key
from metabench.report.figures import shown
from metabench.report.figures.axes import Axis, log_axis
from metabench.report.figures.base import Figure, Group, Panel, Spec, figure_of, frame_of
from metabench.report.figures.marks import End, beside, coloured, end_labels, key, layer, marked, with_interval
from metabench.report.figures.style import FAINT, INK, Look, looks_of
from metabench.report.render.tables import setting
from metabench.report.results import Run

ROOF_AXES = ("device", "precision", "threads", "world_size", "machine")
WORK_AXES = ("task", "model", "inner_steps", "meta_batch", "query")
MOST_WORKS = 12
PEAKS = {"matmul": "matrix product", "convolution": "convolution", "bandwidth": "bandwidth"}
WIDTH, HEIGHT = 460, 330
UNMARKED = Look(FAINT, "M0,0")
SAYS = (
    "Up is faster; a name at the right is of the piece of work whose fastest mark its line leads to. Black lines are "
    "what the machine itself reached in the same processes. Operations and bytes are those of loop's operators, one by "
    "one, whatever way an engine takes: one that keeps numbers in caches, or multiplies less often (Winograd's "
    "convolutions), can rise above them."
)


@shown(90)
def roofline(run: Run) -> Figure | None:
    """A panel for each device, precision and number of threads with operations, bytes and the machine's peaks.

    An engine's work is that of `loop`, so any cell of the same work may have measured it.
    """
    works = {work_key(b.cell): work for b in run.timed if (work := _complete(b))}
    found = [bundle for bundle in run.timed if bundle.step and work_key(bundle.cell) in works]
    groups = [[(bundle, works[work_key(bundle.cell)]) for bundle in group] for group in by_axes(found, ROOF_AXES)]
    panels = [_panel(group, run.data_names, looks_of(run).engines) for group in groups]
    title = "Achieved rate against arithmetic intensity"
    return figure_of(run, "roofline", title, SAYS, [Group("", panels, columns=1)])


def _complete(bundle: Bundle) -> Work | None:
    """Operations, bytes and peaks of a bundle, if all of them were measured."""
    works = [row.work for row in bundle.sound if row.work]
    return next((w for w in works if w.flops and w.bytes and w.peaks.bandwidth), None)


def _panel(group: Sequence[tuple[Bundle, Work]], data: Mapping[str, str], looks: Mapping[str, Look]) -> Panel:
    peaks = {name: max(float(getattr(work.peaks, name)) for _, work in group) for name in PEAKS}
    noisy = "The peaks were noisy: they may be higher." if any(work.peaks.noisy for _, work in group) else ""
    title = setting(group[0][0].cell, ROOF_AXES, data)
    rows = [{"setting": title, **_row(*pair, data), **peaks, "cells": " ".join(pair[0].ids)} for pair in group]
    frame = frame_of(rows)
    frame = frame[frame["work"].isin(frame["work"].unique()[:MOST_WORKS])]
    highest, ridge = (max(peaks["matmul"], peaks["convolution"]) / by for by in (1.0, peaks["bandwidth"]))
    low, high = min([*frame["flop_per_byte"], ridge]) / 3, max([*frame["flop_per_byte"], ridge]) * 6
    x = log_axis("floating-point operations a byte (of loop's operators)", [low, high], grid=True)
    rates = [*frame["flop_per_s"], *frame["low"][frame["low"] > 0], *frame["high"][frame["high"] < math.inf]]
    y = log_axis("floating-point operations a second", [*rates, 2 * highest, low * peaks["bandwidth"]], grid=True)
    engines = list(frame["engine"].unique())
    tops = frame.loc[frame.groupby("work")["flop_per_s"].idxmax()]
    ends = [End(*top, top[0]) for top in zip(tops["work"], tops["flop_per_byte"], tops["flop_per_s"], strict=True)]
    drawn = dict(looks) | {end.name: UNMARKED for end in ends}
    at = {"x": x.at("flop_per_byte"), "y": y.at("flop_per_s")}
    layers = [
        *_roof(peaks, x, at),
        layer("rule", with_interval(), x=at["x"], y=y.at("low"), y2={"field": "high"}, **coloured(drawn, "engine")),
        layer({"type": "point", "size": 50}, **at, **marked(drawn, "engine")),
        *key(engines, drawn),
        *end_labels(ends, drawn, x, y, WIDTH, HEIGHT),
    ]
    return Panel(title, frame, layers, WIDTH, HEIGHT, note=noisy)


def _row(bundle: Bundle, work: Work, data: Mapping[str, str]) -> dict[str, Any]:
    assert bundle.step is not None and work.bytes
    step, flops = bundle.step, float(work.flops)
    return {
        "work": f"{bundle.algorithm}: {setting(bundle.cell, WORK_AXES, data)}",
        "engine": bundle.cell.engine,
        "flop_per_byte": flops / work.bytes,
        "flop_per_s": flops / step.value,
        "low": flops / step.high,
        "high": flops / step.low if step.known else math.inf,
    }


def _roof(peaks: Mapping[str, float], x: Axis, at: Mapping[str, Spec]) -> list[Spec]:
    """The slope of the bandwidth, and from it on the two ceilings, the lower one dashed and named below its line."""
    bandwidth = peaks["bandwidth"]
    low, high = sorted(("matmul", "convolution"), key=lambda name: peaks[name])
    lines = [(name, (peaks[name] / bandwidth, peaks[name]), (x.limits[1], peaks[name])) for name in (low, high)]
    slope = (peaks[high] / bandwidth, peaks[high])
    lines.append(("bandwidth", slope, (x.limits[0], x.limits[0] * bandwidth)))
    layers = []
    for (name, *ends), dy, dash in zip(lines, (9, -7, 10), ([5, 3], [1, 0], [1, 0]), strict=True):
        points = [{"flop_per_byte": a, "flop_per_s": b} for a, b in ends]
        unit = "GB/s" if name == "bandwidth" else "GFLOP/s"
        align, dx = ("left", 6) if name == "bandwidth" else ("right", -3)
        words = f"{PEAKS[name]}: {peaks[name] / 1e9:.3g} {unit}"
        text = {"type": "text", "align": align, "dx": dx, "dy": dy, "text": words}
        line = {"type": "line", "color": INK, "strokeWidth": 1, "strokeDash": dash}
        layers += beside(points, [layer(line, **at)]) + beside(points[1:], [layer(text | {"color": INK}, **at)])
    return layers
