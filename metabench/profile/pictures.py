"""The figures of a profile: its phases, its flame graph, its memory."""

from metabench.measure.marks import SAMPLING
from metabench.profile.measuring import Profile
from metabench.profile.tables import where
from metabench.profile.traced import WIDTH, Pictured, coloured, traced
from metabench.profile.trust import is_vague, told_share
from metabench.report.figures.base import Figure, Group, Panel, frame_of
from metabench.report.figures.marks import layer, rows_channel
from metabench.report.figures.phases import time_axis
from metabench.report.figures.style import INK
from metabench.report.numbers import duration_text
from metabench.report.phases import phase_word
from metabench.statistics.ratios import Interval

ROW = 26


def pictures(profile: Profile) -> list[Figure]:
    """All that there is something for."""
    return [_phases(profile), *traced(Pictured(profile.trace, "meta-iteration", _machine(profile), profile.cell.id))]


def _machine(profile: Profile) -> str:
    return f"{profile.cell.implementation}: {where(profile)}. {profile.machine}"


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
        layer({"type": "bar", "height": 14}, x=x.at("seconds"), y=y, color=coloured(frame) | {"legend": None}),
        layer({"type": "rule", "color": INK}, x=x.at("low"), x2={"field": "high"}, y=y),
        layer(text, x=x.at("high"), y=y, text={"field": "text"}),
    ]
    says = "Time of each phase of one meta-iteration, with 95 % intervals; sampling of tasks comes on top."
    panel = Panel("", frame, layers, WIDTH - 160, ROW * len(frame))
    title = "Where the time of a meta-iteration goes"
    return Figure("phases", title, says, _machine(profile), [Group("", [panel], columns=1)])
