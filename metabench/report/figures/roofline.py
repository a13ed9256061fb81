"""The rate that implementations reach, against their arithmetic intensity, below what the machine can do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metabench.record.cell import DISTRIBUTION
from metabench.record.measurement import Work
from metabench.report.bundles import Bundle, by_axes, work_key
from metabench.report.figures import shown
from metabench.report.figures.axes import Axis, log_axis
from metabench.report.figures.base import Figure, Group, Panel, Spec, figure_of, frame_of, records, shared
from metabench.report.figures.marks import End, beside, coloured, end_labels, key, layer, marked, with_interval
from metabench.report.figures.style import FAINT, INK, Look, looks_of
from metabench.report.figures.tips import times_text, tip, told
from metabench.report.render.tables import setting
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

ROOF_AXES = ("device", "precision", "threads", "world_size", "machine")
WORK_AXES = (*DISTRIBUTION, "model", "inner_steps", "meta_batch", "query")
MOST_WORKS = 12
PEAKS = {"matmul": "matrix product", "convolution": "convolution", "bandwidth": "bandwidth"}
WIDTH, HEIGHT = 250, 240
UNMARKED = Look(FAINT, "M0,0")
SAYS = (
    "Higher is faster. A name at the right leads to the fastest mark of that work. Black lines: what the machine "
    "reached in the same processes; the slope is the bandwidth of its memory. Operations and bytes are those of loop's "
    "operators, for every engine. An engine that keeps numbers in caches, or multiplies less often (Winograd's "
    "convolutions), can therefore rise above the black lines."
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
    noisy = "The peaks were noisy: they may be higher" if any(work.peaks.noisy for _, work in group) else ""
    title = setting(group[0][0].cell, ROOF_AXES, data)
    rows = [{"setting": title, **_row(*pair, data), **peaks, "cells": " ".join(pair[0].ids)} for pair in group]
    frame = frame_of(rows)
    frame = frame[frame["work"].isin(frame["work"].unique()[:MOST_WORKS])]
    highest, ridge = (max(peaks["matmul"], peaks["convolution"]) / by for by in (1.0, peaks["bandwidth"]))
    low, high = min([*frame["flop_per_byte"], ridge]) / 3, max([*frame["flop_per_byte"], ridge]) * 12
    x = log_axis("floating-point operations a byte (of loop's operators)", [low, high], grid=True)
    rates = [*frame["flop_per_s"], *frame["low"][frame["low"] > 0], *frame["high"][frame["high"] < math.inf]]
    y = log_axis("floating-point operations a second", [*rates, 2 * highest, low * peaks["bandwidth"]], grid=True)
    engines = list(frame["engine"].unique())
    tops = frame.loc[frame.groupby("work")["flop_per_s"].idxmax()]
    common, short = shared([work.partition(": ")[2] for work in tops["work"]])
    texts = [
        f"{work.partition(': ')[0]}: {own}" if own else work.partition(": ")[0]
        for work, own in zip(tops["work"], short, strict=True)
    ]
    ends = [End(*top) for top in zip(tops["work"], tops["flop_per_byte"], tops["flop_per_s"], texts, strict=True)]
    drawn = dict(looks) | {end.name: UNMARKED for end in ends}
    at = {"x": x.at("flop_per_byte"), "y": y.at("flop_per_s")}
    layers = [
        *_roof(peaks, x, at),
        layer("rule", with_interval(), x=at["x"], y=y.at("low"), y2={"field": "high"}, **coloured(drawn, "engine")),
        layer({"type": "point", "size": 50}, **at, **marked(drawn, "engine")),
        *key(engines, drawn),
        *end_labels(ends, drawn, x, y, WIDTH, HEIGHT),
    ]
    note = ". ".join(text for text in (common, noisy) if text)
    return Panel(title, frame, layers, WIDTH, HEIGHT, note=note, tips=[_tip(row) for row in records(frame)])


def _tip(row: Mapping[str, Any]) -> str:
    rate, algorithm = told(row, "flop_per_s"), row["work"].partition(": ")[0]
    giga = Interval(*(end / 1e9 for end in (rate.value, rate.low, rate.high)))
    intensity = f"{row['flop_per_byte']:.3g} operations a byte"
    return tip(f"{algorithm}/{row['engine']}", f"{times_text(giga)} GFLOP/s", intensity, row["work"].partition(": ")[2])


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
    start, ridge = x.limits[0], peaks[high] / bandwidth
    lines.append(("bandwidth", (start, start * bandwidth), (ridge, peaks[high])))
    named = {name: end for name, _, end in lines}
    middle = start**0.3 * ridge**0.7  # on the slope, where there is room at its left
    named["bandwidth"] = (middle, middle * bandwidth)
    layers = []
    for (name, *ends), dy, dash in zip(lines, (9, -7, -3), ([5, 3], [1, 0], [1, 0]), strict=True):
        points, text_at = ([{"flop_per_byte": a, "flop_per_s": b} for a, b in of] for of in (ends, [named[name]]))
        rate = f"{peaks[name] / 1e9:.3g}"
        words = f"{rate} GB/s" if name == "bandwidth" else f"{PEAKS[name]}: {rate} GFLOP/s"
        text = {"type": "text", "align": "right", "dx": -4, "dy": dy, "text": words, "color": INK}
        line = {"type": "line", "color": INK, "strokeWidth": 1, "strokeDash": dash}
        layers += beside(points, [layer(line, **at)]) + beside(text_at, [layer(text, **at)])
    return layers
