"""Writes timings into a folder: a page that opens offline, all figures as JSON, traces and pictures."""

import json
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from metabench.files import read_text, replace_file, writing
from metabench.profile.trace import Trace, parse
from metabench.profile.traced import WIDTH, Pictured, traced
from metabench.report.figures.base import FORMATS, PLOTS, Figure, Group, Panel, frame_of, image
from metabench.report.figures.marks import layer, rows_channel
from metabench.report.figures.phases import time_axis
from metabench.report.figures.style import INK
from metabench.report.numbers import Linked, time_text
from metabench.report.render.page import Part, page
from metabench.report.render.tables import Table
from metabench.timing.measuring import REST
from metabench.timing.plain_data import as_json
from metabench.timing.result import REPORT, StepResult, Timings
from metabench.timing.running import TRACES, trace_file
from metabench.timing.tables import marked_table, operators_table, parts_table, times_table, title
from metabench.timing.words import doubts, noise_text, sentences

FIGURES = "timings.json"
ROW = 30
COLOURS = ("#56b4e9", "#f0e442", "#cc79a7", "#e69f00", "#74c69d", "#9fc9e3", "#d9c84a", "#e3a6c8")
"""Light ones, so that names can be read on them."""
UNMARKED = "#bdbdbd"
LARGEST_TRACE = 1 << 30


def write_timings(timings: Timings, folder: Path) -> None:
    """report.html, timings.json, and the figures in plots/. Traces are there already. Raises `UserError`."""
    figures = [_times(timings)] if any(step.interval for step in timings.steps) else []
    parts = [Part("Times", "", (times_table(timings),), tuple(figures))]
    if where := parts_table(timings):
        parts.append(Part("Where the time goes", "", (where,)))
    for step in timings.steps:
        own = _pictures(timings, step, folder)
        tables = [table for table in (marked_table(step), operators_table(step)) if table]
        if tables or own:
            parts.append(Part(step.label, "", tables, own))
        figures += own
    parts.append(Part("Files", "", (_files(timings, folder),)))
    facts = [("answer", " ".join(sentences(timings))), ("machine", timings.machine)]
    facts += [("noise", noise)] if (noise := noise_text(timings)) else []
    drawn = {f"{figure.name}.{kind}": image(figure, kind) for figure in figures for kind in FORMATS}
    for name, content in drawn.items():
        replace_file(folder / PLOTS / name, content)
    for figure in figures:
        replace_file(folder / PLOTS / f"{figure.name}.csv", figure.csv().encode())
    _remove_others(timings, folder, {figure.name for figure in figures})
    replace_file(folder / FIGURES, (json.dumps(as_json(timings), indent=2, allow_nan=False) + "\n").encode())
    replace_file(folder / REPORT, page(title(timings), facts, doubts(timings), parts).encode())


def _remove_others(timings: Timings, folder: Path, drawn: Container[str]) -> None:
    """Remove the traces and pictures of steps that an earlier run left in the folder."""
    own = {_trace(step, folder) for step in timings.steps}
    with writing(folder):
        for file in (folder / TRACES).glob("[0-9]*.json"):
            if file not in own:
                file.unlink()
        for file in (folder / PLOTS).glob("[0-9]*-*.*"):
            if file.stem not in drawn:
                file.unlink()


def _trace(step: StepResult, folder: Path) -> Path | None:
    """The file with the recorded call of a step; None where none was recorded."""
    file = trace_file(folder, step.number)
    return file if step.whole.recorded and file.exists() else None


def _times(timings: Timings) -> Figure:
    """The median of each repetition, and the time of all of them; at least one step was timed."""
    rows = []
    for step in timings.steps:
        for place, run in enumerate(step.runs):
            if run.time and step.interval:
                call = run.time.call
                own = {"step": step.label, "repetition": run.round + 1, "seconds": call.median}
                drawn = step.interval.drawn
                all_of_it = {"low": drawn.low, "high": drawn.high}
                rows.append(
                    {**own, **all_of_it, "text": "" if place else str(time_text(step.interval)), "cells": step.label}
                )
    frame = frame_of(rows)
    names = [step.label for step in timings.steps if step.interval]
    x = time_axis(1.5 * frame["high"].max(), "a call")
    y = rows_channel("step", names)
    text = {"type": "text", "align": "left", "dx": 8, "color": INK}
    layers = [
        layer({"type": "rule", "color": INK, "strokeWidth": 2}, x=x.at("low"), x2={"field": "high"}, y=y),
        layer({"type": "point", "filled": True, "color": "#0072b2"}, x=x.at("seconds"), y=y),
        layer(text, x=x.at("high"), y=y, text={"field": "text"}),
    ]
    says = "A point is the median of one repetition. The line is the 95 % interval of all of them together."
    panel = Panel("", frame, layers, WIDTH - 160, ROW * len(names))
    return Figure("times", "Time of a call", says, timings.machine, [Group("", [panel], columns=1)])


def _pictures(timings: Timings, step: StepResult, folder: Path) -> list[Figure]:
    """The flame graph and the memory of the recorded call; none where it was not recorded."""
    if not (file := _trace(step, folder)):
        return []
    trace = parse(read_text(file, LARGEST_TRACE))
    machine = f"{step.label} on {timings.device}. {timings.machine}"
    names = _names(trace)
    if names == [REST]:  # one part has no name worth showing
        trace, names = _called(trace, step.label), [step.label]
    marked = [name for name in names if name != REST]
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(marked)} | {REST: UNMARKED}
    return traced(Pictured(trace, "call", machine, step.label, colours, f"{step.number}-"))


def _names(trace: Trace) -> list[str]:
    return list(dict.fromkeys(span.name for span in trace.phases))


def _called(trace: Trace, name: str) -> Trace:
    """The trace with its only part under another name."""
    operators = tuple(replace(each, stack=(name, *each.stack[1:])) for each in trace.operators)
    return replace(trace, phases=tuple(replace(span, name=name) for span in trace.phases), operators=operators)


def _files(timings: Timings, folder: Path) -> Table:
    traces = [(step, _trace(step, folder)) for step in timings.steps]
    rows: Sequence[tuple[str, str]] = [
        (Linked(FIGURES, FIGURES), "All figures of this page and every sample, in seconds and bytes."),
        *(
            (
                Linked(f"{TRACES}/{file.name}", f"{TRACES}/{file.name}"),
                f"One call of {step.label}, event by event: open it in ui.perfetto.dev (drag it there).",
            )
            for step, file in traces
            if file
        ),
    ]
    return Table("Files", "They lie in the folder of this page.", ("file", "use"), tuple(rows))
