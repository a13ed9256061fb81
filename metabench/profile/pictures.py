"""The pictures of a profile: its phases, its flame graph, its memory."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.measure.marks import SAMPLING
from metabench.profile.measuring import Profile
from metabench.profile.tables import where
from metabench.profile.trace import Level, Trace, folded, levels
from metabench.record.measurement import PHASES
from metabench.report.figures.phases import phase_colour, phase_ink
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import FAINT, INK, WIDTH, label, styled
from metabench.report.numbers import BYTE_UNITS, bytes_text, duration_text

LEAST_SHARE = 0.002
"""Of the whole: a narrower piece of a flame graph is not seen."""
LEAST_LETTERS = 4
LETTER_INCHES = 0.072
"""Of the type in a flame graph."""


def pictures(profile: Profile) -> list[Picture]:
    """All that there are figures for."""
    made = [_phases(profile)]
    if profile.trace.operators:
        made.append(_flame(profile))
    if any(level.bytes for level in levels(profile.trace)):
        made.append(_memory(profile))
    return made


def _figure(profile: Profile, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    figure.supxlabel(
        f"{label(profile.cell.implementation)}: {label(where(profile))}\n{label(profile.machine)}",
        fontsize=7,
        color=FAINT,
        x=0.01,
        ha="left",
    )
    return figure, axes


def _phases(profile: Profile) -> Picture:
    seconds = profile.phases.seconds
    data = pd.DataFrame(
        [(name, figure.value, figure.low, figure.high) for name, figure in seconds.items()],
        columns=["phase", "seconds", "low", "high"],
    )
    data["cells"] = profile.cell.id
    says = "Time of each phase of one meta-iteration, with 95 % intervals; sampling of tasks comes on top."
    return Picture("phases", "Where the time of a meta-iteration goes", says, data, lambda: _draw_phases(profile))


def _draw_phases(profile: Profile) -> Figure:
    found = profile.phases.seconds
    with styled():
        figure, axes = _figure(profile, 1.1 + 0.28 * len(found))
        for row, (name, part) in enumerate(found.items()):
            axes.barh(row, part.value * 1e3, color=phase_colour(name), height=0.7)
            axes.plot([part.low * 1e3, part.high * 1e3], [row, row], color=INK, linewidth=1)
            share = "" if name == SAMPLING else f", {100 * part.value / profile.phases.total:.0f} %"
            text, at = f"{duration_text(part.value)}{share}", (part.high * 1e3, row)
            axes.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(found)), list(found))
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlim(0, max(part.high for part in found.values()) * 1e3 * 1.2)
        axes.set_xlabel("ms per meta-iteration")
        axes.tick_params(axis="y", length=0)
    return figure


class Piece(NamedTuple):
    """A piece of a flame graph: how deep it lies, where it begins and how wide it is, in seconds."""

    phase: str
    depth: int
    name: str
    start: float
    seconds: float


def _flame(profile: Profile) -> Picture:
    found = pieces(profile.trace)
    data = pd.DataFrame(found, columns=list(Piece._fields))
    data["cells"] = profile.cell.id
    says = (
        "The recorded iteration: phases at the bottom, above them the operators called in them; the width is time, the "
        "profiler's own work included. A phase with nothing above it is outside of operators: Python and bookkeeping."
    )
    return Picture("flame", "Phases and their operators", says, data, lambda: _draw_flame(profile, found))


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
            found.append(Piece(stack[0], len(stack) - 1, stack[-1], start, widths[stack]))
    return found


def _draw_flame(profile: Profile, found: Sequence[Piece]) -> Figure:
    depth = 1 + max(piece.depth for piece in found)
    whole = sum(piece.seconds for piece in found if piece.depth == 0)
    room = (WIDTH - 0.3) / whole / LETTER_INCHES  # letters a second
    with styled():
        figure, axes = _figure(profile, 1.0 + 0.26 * depth)
        for piece in found:
            left, width, colour = piece.start * 1e3, piece.seconds * 1e3, phase_colour(piece.phase)
            shade = 1.0 if piece.depth == 0 else 0.55
            axes.barh(piece.depth, width, left=left, height=0.92, color=colour, ec="white", linewidth=0.5, alpha=shade)
            fits = int(piece.seconds * room) - 1
            if fits >= LEAST_LETTERS:
                name = piece.name.removeprefix("aten::").removeprefix("autograd::engine::evaluate_function: ")
                text = name if len(name) <= fits else name[: fits - 1] + "…"
                ink = phase_ink(piece.phase) if piece.depth == 0 else INK
                at = (left + width / 2, piece.depth)
                axes.text(*at, label(text), ha="center", va="center", fontsize=7, color=ink)
        axes.set_xlim(0, whole * 1e3)
        axes.set_ylim(-0.5, depth - 0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("ms of the recorded iteration")
    return figure


def _memory(profile: Profile) -> Picture:
    found = levels(profile.trace)
    data = pd.DataFrame(found, columns=["moment", "bytes", "phase"])
    data["cells"] = profile.cell.id
    says = "Bytes of tensors live in one recorded iteration above those at its start; the colour is the phase."
    return Picture("memory", "Live memory over a meta-iteration", says, data, lambda: _draw_memory(profile, found))


def _draw_memory(profile: Profile, found: list[Level]) -> Figure:
    top = max(found, key=lambda level: level.bytes)
    scale, unit = next((pair for pair in BYTE_UNITS if top.bytes >= pair[0]), BYTE_UNITS[-1])
    with styled():
        figure, axes = _figure(profile, 3.4)
        ends = [*(level.moment for level in found[1:]), profile.trace.seconds]
        names = [name for name in profile.phases.seconds if any(level.phase == name for level in found)]
        moments = [level.moment * 1e3 for level in found] + [ends[-1] * 1e3]
        values = [level.bytes / scale for level in found] + [found[-1].bytes / scale]
        phases = [level.phase for level in found] + [found[-1].phase]
        for name in names:
            inside = [phase == name for phase in phases]
            axes.fill_between(
                moments, values, step="post", where=inside, color=phase_colour(name), linewidth=0, label=name
            )
        axes.step(moments, values, where="post", color=INK, linewidth=0.5)
        text = f"peak {bytes_text(top.bytes)}, in {top.phase}"
        right = top.moment > profile.trace.seconds / 2
        axes.annotate(
            text,
            (top.moment * 1e3, top.bytes / scale),
            (-6 if right else 6, 6),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8,
        )
        axes.plot([top.moment * 1e3], [top.bytes / scale], "o", color=INK, markersize=3)
        axes.set_xlim(0, profile.trace.seconds * 1e3)
        axes.set_ylim(0, top.bytes / scale * 1.15)
        axes.set_xlabel("ms of the recorded iteration")
        axes.set_ylabel(f"live {unit}")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure
