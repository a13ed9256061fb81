"""How figures look: one palette, and a look for each algorithm and engine of a run, which no figure changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from metabench.record.measurement import Measurement
from metabench.report.bundles import LOOP
from metabench.report.results import Run
from metabench.text import one_line

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first one comes with vl-convert, and the two after it have the same widths: a text fits wherever it is drawn."""
FONT_SIZE = 10
"""Pixels of most texts."""
INK, FAINT, GRID, PAPER = "#1a1a1a", "#6b6b6b", "#e6e6e6", "#ffffff"
LONGEST_LABEL = 200
SHADES = (
    ("#0072b2", "#5a1570", "#56b4e9", "#00304a", "#b583d1", "#3b4cc0", "#7fa6d6", "#2f8f9d"),
    ("#d55e00", "#e69f00", "#8f2d00", "#f0945a"),
    ("#009e73", "#00523c", "#74c69d", "#4f7f1f"),
    ("#8c510a", "#a3a52a", "#c49a5a", "#556b00", "#4a2c17"),
    ("#cc79a7", "#8f3b6e", "#e3a6c8"),
    ("#6b6b6b", "#a0a0a0", "#3d3d3d"),
    ("#b3a100", "#6e6300", "#d9c84a"),
    ("#1f6f8b", "#6fb7cf", "#0c3a4a"),
)
"""Hues after Okabe and Ito (2008), whose colours everyone tells apart, without their yellow, which is too light for a
line; and the shades of each."""
SERIES = (
    *(INK, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#7a6652", "#b3a100", "#5a1570", "#00523c"),
)
"""Hues for things that have no kinds."""
ON_DARK = {
    "#0072b2": "#1a7fc4",
    "#556b00": "#bbef8f",
    "#6e6300": "#c7cb93",
    "#8c510a": "#9c784d",
    "#8f3b6e": "#f5caf0",
    "#3b4cc0": "#913cf8",
    "#8f2d00": "#c96e38",
    "#00523c": "#8ff4c1",
    "#3d3d3d": "#d0d0d0",
    "#4d4d4d": "#6f6f6f",
    "#5a1570": "#b48cff",
    "#0c3a4a": "#61727f",
    "#4a2c17": "#e9b577",
    "#00304a": "#93ccfe",
}
"""What takes the place of colours that are too dark for a dark page: lighter, and as far as can be from all others."""
DASHES: tuple[tuple[float, ...], ...] = (
    (1, 0),
    (6, 2),
    (6, 2, 1.5, 2),
    (1.5, 1.5),
    (8, 2, 1.5, 2, 1.5, 2),
    (3, 2),
    (10, 4),
    (2, 4),
)
_STAR = "M0,-1.1L.26,-.36L1.05,-.34L.42,.14L.65,.89L0,.44L-.65,.89L-.42,.14L-1.05,-.34L-.26,-.36Z"
_HEXAGON = "M0,-.9L.78,-.45L.78,.45L0,.9L-.78,.45L-.78,-.45Z"
_X = "M-.85,-.5L-.5,-.85L0,-.35L.5,-.85L.85,-.5L.35,0L.85,.5L.5,.85L0,.35L-.5,.85L-.85,.5L-.35,0Z"
SHAPES = (
    *("circle", "square", "triangle-up", "diamond", "cross", "triangle-down"),
    *(_STAR, _X, "triangle-right", _HEXAGON, "triangle-left"),
)
KINDS = ("second order", "first order", "implicit order", "metric-based", "model-based", "baseline")
"""The kinds of algorithm with a hue of their own; any other kind takes the next hue that is free."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn: no figure tells lines apart by colour alone."""

    colour: str
    shape: str
    """One of Vega's names, or a path in a square from -1 to 1."""
    dash: tuple[float, ...] = DASHES[0]
    hollow: bool = False

    def hollowed(self, hollow: bool) -> "Look":
        """The look with marks that are empty inside, or as it is."""
        return replace(self, hollow=hollow)


@dataclass(frozen=True)
class Looks:
    """The looks of everything in a run, by name."""

    algorithms: Mapping[str, Look]
    engines: Mapping[str, Look]


def looks_of(run: Run) -> Looks:
    """A hue for each kind of algorithm, and in it a shade and a shape by order of appearance; engines in their order.

    The order is that of all of the run's rows in tables, so that a look is the same in every figure of the run.
    """
    found = sorted(run.timed, key=lambda bundle: bundle.rank)
    kinds: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for bundle in found:
        kinds.setdefault(kind_of(bundle.rows[0]), {}).setdefault(bundle.algorithm)
    algorithms = {
        name: Look(shade(number, turn), SHAPES[(number + turn) % len(SHAPES)], DASHES[number % len(DASHES)])
        for number, names in enumerate(kinds.values())
        for turn, name in enumerate(names)
    }
    return Looks(algorithms, engine_looks(bundle.cell.engine for bundle in found))


def kind_of(row: Measurement) -> str:
    """The family of the row's algorithm; of gradient-based ones, the order of their derivatives."""
    theory = row.theory
    return f"{theory.order} order" if theory.family == "gradient-based" else theory.family


def series(number: int) -> Look:
    """The look of the one with that number among things that have no kinds, such as engines and machines."""
    return Look(SERIES[number % len(SERIES)], SHAPES[number % len(SHAPES)], DASHES[number % len(DASHES)])


def shade(hue: int, number: int) -> str:
    """The colour with that number among those of a hue; both come round again."""
    shades = SHADES[hue % len(SHADES)]
    return shades[number % len(shades)]


def label(text: str) -> str:
    """A text of a run as it may stand in a figure: on one line, and of bounded length."""
    return one_line(text)[:LONGEST_LABEL]


def engine_looks(engines: Iterable[str]) -> dict[str, Look]:
    """A look for each engine by order of appearance; the first, in ink, is `loop`, the baseline of engines."""
    return {name: series(number) for number, name in enumerate(dict.fromkeys([LOOP, *engines]))}
