"""The figures of one recorded call: its flame graph, and its live memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from metabench.profile.trace import Trace, folded, levels
from metabench.record.timing import PHASES
from metabench.report.figures.axes import Axis, even_axis
from metabench.report.figures.base import Figure, Group, Panel, Spec, frame_of
from metabench.report.figures.marks import beside, layer, only
from metabench.report.figures.phases import COLOURS, phase_channel, phase_ink, time_axis
from metabench.report.figures.style import INK, PAPER
from metabench.report.numbers import bytes_text
from metabench.report.phases import phase_word

LEAST_SHARE = 0.002
"""Share of the whole: a narrower piece of a flame graph is not seen."""
LEAST_LETTERS = 4
LETTER = 5.2  # pixels, on average, of the type in a flame graph
WIDTH = 760


@dataclass(frozen=True)
class Pictured:
    """A recorded call, and how its figures are called."""

    trace: Trace
    what: str
    """What was called once, such as `meta-iteration`."""
    machine: str
    """What it was measured on."""
    cells: str
    """Id of the rows behind it."""
    colours: Mapping[str, str] = field(default_factory=lambda: COLOURS)
    """Colour of each phase, in their order."""
    prefix: str = ""
    """What the names of its files begin with."""

    def figure(self, name: str, title: str, says: str, panel: Panel) -> Figure:
        """A figure of one panel."""
        return Figure(self.prefix + name, title, says, self.machine, [Group("", [panel], columns=1)])


def coloured(frame: pd.DataFrame, colours: Mapping[str, str] = COLOURS) -> Spec:
    """The channel of the colours of the phases that a frame has, by the words that they have in it."""
    used = _used(frame, colours)
    return _in_words(phase_channel(used, colours), used)


def _inked(frame: pd.DataFrame, colours: Mapping[str, str]) -> Spec:
    """The channel of what is written on the phases."""
    used = _used(frame, colours)
    return _in_words(phase_ink(used), used)


def _used(frame: pd.DataFrame, colours: Mapping[str, str]) -> list[str]:
    return [name for name in colours if phase_word(name) in set(frame["phase"])]


def _in_words(channel: Spec, used: list[str]) -> Spec:
    """A channel of phases with the words that they have for a reader."""
    return channel | {"scale": channel["scale"] | {"domain": [phase_word(name) for name in used]}}


def traced(pictured: Pictured) -> list[Figure]:
    """All that there is something for."""
    made = [_flame(pictured)] if pictured.trace.operators else []
    return made + ([_memory(pictured)] if any(level.bytes for level in levels(pictured.trace)) else [])


class Piece(NamedTuple):
    """A piece of a flame graph: how deep it lies, where it begins and how wide it is, in seconds."""

    phase: str
    depth: int
    name: str
    start: float
    seconds: float


def _flame(pictured: Pictured) -> Figure:
    found = pieces(pictured.trace)
    depth, whole = 1 + max(piece.depth for piece in found), sum(piece.seconds for piece in found if piece.depth == 0)
    rows = [{**piece._asdict(), "end": piece.start + piece.seconds, "cells": pictured.cells} for piece in found]
    frame = frame_of(rows)
    x, y = time_axis(whole, "of the recorded call"), Axis("", "linear", (-0.5, depth - 0.5), drawn=False)
    sides = [{"calculate": f"datum.depth {end} 0.46", "as": name} for name, end in (("below", "-"), ("above", "+"))]
    across = {"x": x.at("start"), "x2": {"field": "end"}, "y": y.at("below"), "y2": {"field": "above"}}
    rect = {"type": "rect", "stroke": PAPER, "strokeWidth": 0.5}
    words = [
        {"phase": piece.phase, "depth": piece.depth, "middle": piece.start + piece.seconds / 2, "text": text}
        for piece in found
        if (text := _fitting(piece.name, int(piece.seconds / whole * WIDTH / LETTER) - 1))
    ]
    at = {"x": x.at("middle"), "y": y.at("depth"), "text": {"field": "text"}}
    written = {"type": "text", "fontSize": 9}
    layers = [
        layer(
            rect,
            *sides,
            only("datum.depth === 0"),
            **across,
            color=coloured(frame, pictured.colours) | {"legend": None},
        ),
        layer(
            rect | {"opacity": 0.5},
            *sides,
            only("datum.depth > 0"),
            **across,
            color=coloured(frame, pictured.colours) | {"legend": None},
        ),
        *beside(words, [layer(written, only("datum.depth === 0"), **at, fill=_inked(frame, pictured.colours))]),
        *beside(words, [layer(written | {"color": INK}, only("datum.depth > 0"), **at)]),
    ]
    says = (
        "The shortest recorded call: phases at the bottom, above them the operators called in them; the width is "
        "time, the profiler's own work included. A phase with nothing above it is outside of operators, in Python."
    )
    return pictured.figure("flame", "Phases and their operators", says, Panel("", frame, layers, WIDTH, 24 * depth))


def _fitting(name: str, letters: int) -> str:
    """The part of a name that fits; empty where that is too little."""
    name = name.removeprefix("aten::").removeprefix("autograd::engine::evaluate_function: ")
    if letters < LEAST_LETTERS:
        return ""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def pieces(trace: Trace) -> list[Piece]:
    """The flame graph: calls with the same stack together, wider ones first, phases in the order of `PHASES`."""
    widths: dict[tuple[str, ...], float] = {}
    for stack, seconds in folded(trace).items():
        for depth in range(1, len(stack) + 1):
            widths[stack[:depth]] = widths.get(stack[:depth], 0.0) + seconds
    order = {phase: i for i, phase in enumerate(PHASES)}
    starts: dict[tuple[str, ...], float] = {(): 0.0}
    found = []
    for stack in sorted(widths, key=lambda s: (len(s), order.get(s[0], len(order)), s[:-1], -widths[s], s)):
        start = starts[stack[:-1]]
        starts[stack[:-1]] = start + widths[stack]
        starts[stack] = start
        if widths[stack] >= LEAST_SHARE * trace.seconds:
            name = stack[-1] if len(stack) > 1 else phase_word(stack[0])
            found.append(Piece(phase_word(stack[0]), len(stack) - 1, name, start, widths[stack]))
    return found


def _memory(pictured: Pictured) -> Figure:
    found = levels(pictured.trace)
    top = max(found, key=lambda level: level.bytes)
    ends = [*(level.moment for level in found[1:]), pictured.trace.seconds]
    rows = [
        {
            "moment": level.moment,
            "bytes": level.bytes,
            "phase": phase_word(level.phase),
            "until": end,
            "cells": pictured.cells,
        }
        for level, end in zip(found, ends, strict=True)
    ]
    frame = frame_of(rows)
    x = time_axis(pictured.trace.seconds, "of the recorded call")
    y = even_axis("live memory", top.bytes, "memory")
    right = top.moment > pictured.trace.seconds / 2
    peak = [
        {"moment": top.moment, "bytes": top.bytes, "text": f"peak {bytes_text(top.bytes)}, in {phase_word(top.phase)}"}
    ]
    text = {"type": "text", "align": "right" if right else "left", "dx": -6 if right else 6, "dy": -8, "color": INK}
    at = {"x": x.at("moment"), "y": y.at("bytes")}
    layers = [
        layer(
            {"type": "rect", "strokeWidth": 0},
            **at,
            x2={"field": "until"},
            y2={"datum": 0},
            color=coloured(frame, pictured.colours),
        ),
        layer({"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 0.7}, **at),
        *beside(
            peak,
            [layer({"type": "point", "filled": True, "color": INK}, **at), layer(text, **at, text={"field": "text"})],
        ),
    ]
    says = "Bytes of tensors live in the shortest recorded call above those at its start; the colour is the phase."
    panel = Panel("", frame, layers, WIDTH - 60, 240)
    return pictured.figure("memory", f"Live memory over a {pictured.what}", says, panel)
