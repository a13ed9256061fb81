"""The figures of a profile: its phases, its flame graph, its memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from metabench.measure.marks import SAMPLING
from metabench.profile.measuring import Profile
from metabench.profile.tables import where
from metabench.profile.trace import Trace, folded, levels
from metabench.profile.trust import is_vague, told_share
from metabench.record.timing import PHASES
from metabench.report.figures.axes import Axis, even_axis
from metabench.report.figures.base import Figure, Group, Panel, Spec, frame_of
from metabench.report.figures.marks import beside, layer, only, rows_channel
from metabench.report.figures.phases import COLOURS, phase_channel, phase_ink, time_axis
from metabench.report.figures.style import INK, PAPER
from metabench.report.numbers import bytes_text, duration_text
from metabench.report.phases import phase_word
from metabench.statistics.ratios import Interval

LEAST_SHARE = 0.002
"""Share of the whole: a narrower piece of a flame graph is not seen."""
LEAST_LETTERS = 4
LETTER = 5.2  # pixels, on average, of the type in a flame graph
WIDTH, ROW = 760, 26


def pictures(profile: Profile) -> list[Figure]:
    """All that there is something for."""
    made = [_phases(profile)]
    if profile.trace.operators:
        made.append(_flame(profile))
    if any(level.bytes for level in levels(profile.trace)):
        made.append(_memory(profile))
    return made


def _figure(profile: Profile, name: str, title: str, says: str, panel: Panel) -> Figure:
    machine = f"{profile.cell.implementation}: {where(profile)}. {profile.machine}"
    return Figure(name, title, says, machine, [Group("", [panel], columns=1)])


def _phases(profile: Profile) -> Figure:
    rows = []
    for name, part in profile.phases.seconds.items():
        time = Interval(part.value, part.low, part.high)
        shown = f"at most {duration_text(time.high)}" if is_vague(time) else str(duration_text(time.value))
        share = "" if name == SAMPLING else f", {told_share(time, profile.phases.total)}"
        own = {"seconds": part.value, "low": part.low, "high": part.high}
        rows.append({"phase": phase_word(name), **own, "text": f"{shown}{share}", "cells": profile.cell.id})
    frame = frame_of(rows)
    x, y = time_axis(1.2 * frame["high"].max()), rows_channel("phase", list(frame["phase"]))
    text = {"type": "text", "align": "left", "dx": 6, "color": INK}
    layers = [
        layer({"type": "bar", "height": 14}, x=x.at("seconds"), y=y, color=_coloured(frame) | {"legend": None}),
        layer({"type": "rule", "color": INK}, x=x.at("low"), x2={"field": "high"}, y=y),
        layer(text, x=x.at("high"), y=y, text={"field": "text"}),
    ]
    says = "Time of each phase of one meta-iteration, with 95 % intervals; sampling of tasks comes on top."
    panel = Panel("", frame, layers, WIDTH - 160, ROW * len(frame))
    return _figure(profile, "phases", "Where the time of a meta-iteration goes", says, panel)


def _coloured(frame: pd.DataFrame, channel: Callable[[Sequence[str]], Spec] = phase_channel) -> Spec:
    """The channel of the phases that a frame has, by the words that they have in it."""
    used = [name for name in COLOURS if phase_word(name) in set(frame["phase"])]
    made = channel(used)
    return made | {"scale": made["scale"] | {"domain": [phase_word(name) for name in used]}}


class Piece(NamedTuple):
    """A piece of a flame graph: how deep it lies, where it begins and how wide it is, in seconds."""

    phase: str
    depth: int
    name: str
    start: float
    seconds: float


def _flame(profile: Profile) -> Figure:
    found = pieces(profile.trace)
    depth, whole = 1 + max(piece.depth for piece in found), sum(piece.seconds for piece in found if piece.depth == 0)
    rows = [{**piece._asdict(), "end": piece.start + piece.seconds, "cells": profile.cell.id} for piece in found]
    frame = frame_of(rows)
    x, y = time_axis(whole, "of the recorded iteration"), Axis("", "linear", (-0.5, depth - 0.5), drawn=False)
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
        layer(rect, *sides, only("datum.depth === 0"), **across, color=_coloured(frame) | {"legend": None}),
        layer(
            rect | {"opacity": 0.5},
            *sides,
            only("datum.depth > 0"),
            **across,
            color=_coloured(frame) | {"legend": None},
        ),
        *beside(words, [layer(written, only("datum.depth === 0"), **at, fill=_coloured(frame, phase_ink))]),
        *beside(words, [layer(written | {"color": INK}, only("datum.depth > 0"), **at)]),
    ]
    says = (
        "The shortest recorded iteration: phases at the bottom, above them the operators called in them; the width is "
        "time, the profiler's own work included. A phase with nothing above it is outside of operators, in Python."
    )
    return _figure(profile, "flame", "Phases and their operators", says, Panel("", frame, layers, WIDTH, 24 * depth))


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


def _memory(profile: Profile) -> Figure:
    found = levels(profile.trace)
    top = max(found, key=lambda level: level.bytes)
    ends = [*(level.moment for level in found[1:]), profile.trace.seconds]
    rows = [
        {
            "moment": level.moment,
            "bytes": level.bytes,
            "phase": phase_word(level.phase),
            "until": end,
            "cells": profile.cell.id,
        }
        for level, end in zip(found, ends, strict=True)
    ]
    frame = frame_of(rows)
    x = time_axis(profile.trace.seconds, "of the recorded iteration")
    y = even_axis("live memory", top.bytes, "memory")
    right = top.moment > profile.trace.seconds / 2
    peak = [
        {"moment": top.moment, "bytes": top.bytes, "text": f"peak {bytes_text(top.bytes)}, in {phase_word(top.phase)}"}
    ]
    text = {"type": "text", "align": "right" if right else "left", "dx": -6 if right else 6, "dy": -8, "color": INK}
    at = {"x": x.at("moment"), "y": y.at("bytes")}
    layers = [
        layer({"type": "rect", "strokeWidth": 0}, **at, x2={"field": "until"}, y2={"datum": 0}, color=_coloured(frame)),
        layer({"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 0.7}, **at),
        *beside(
            peak,
            [layer({"type": "point", "filled": True, "color": INK}, **at), layer(text, **at, text={"field": "text"})],
        ),
    ]
    says = "Bytes of tensors live in the shortest recorded iteration above those at its start; the colour is the phase."
    panel = Panel("", frame, layers, WIDTH - 60, 240)
    return _figure(profile, "memory", "Live memory over a meta-iteration", says, panel)
