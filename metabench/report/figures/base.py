"""A figure: a data frame, and a specification in Vega-Lite that draws its rows and nothing else.

A text of a run is data in a specification, or a title: it never becomes part of an expression, which Vega would run.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from textwrap import wrap
from typing import Any, TypeAlias

import pandas as pd

from metabench.report.figures.style import FAINT, FONT, GRID, INK, PAPER, label
from metabench.report.results import Run
from metabench.statistics.ratios import Interval
from metabench.text import one_line

Spec: TypeAlias = dict[str, Any]
PLOTS = "plots"
"""The folder of figures within that of a run."""
FORMATS = ("svg", "png")
WIDTH = 900  # pixels, about: a figure of several columns
SHARPNESS = 2.0  # pixels of a PNG for each of the figure
BESIDE = 190  # pixels, about, beside the axes of a panel, for numbers and names
NARROW = 400  # pixels of the shortest lines of a caption
MOST_PANELS = 16
LONGEST_TEXT = 1000
PART = ", "
"""What stands between the parts of a setting in words."""
LETTER = 5.6  # pixels, on average, of a letter of 11 pixels
CONFIG: Spec = {
    "font": FONT,
    "background": PAPER,  # not transparent: readable on a dark page
    "padding": 12,
    "aria": False,  # the page describes its figures
    "view": {"stroke": None},
    "concat": {"spacing": 26},
    "title": {
        "anchor": "start",
        "color": INK,
        "fontSize": 11,
        "fontWeight": "normal",
        "offset": 8,
        "limit": 2000,
        "subtitleColor": FAINT,
        "subtitleFontSize": 11,
    },
    "axis": {
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": GRID,
        "tickSize": 4,
        "labelPadding": 3,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 10,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 6,
        "labelLimit": 220,
        "titleLimit": 400,
    },
    "axisX": {"labelFlush": False},
    "legend": {"labelColor": INK, "labelFontSize": 10},
    "text": {"color": INK, "fontSize": 10},
    "point": {"size": 36, "opacity": 1, "strokeWidth": 1.2},
    "line": {"strokeWidth": 1.6},
    "rule": {"strokeWidth": 1.2},
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its part of the figure's frame, and the layers that draw it."""

    title: str
    rows: pd.DataFrame
    layers: Sequence[Spec]
    width: int
    height: int
    transform: Sequence[Spec] = ()
    note: str = ""
    """A line below the title."""
    tips: Sequence[str] = ()
    """What each row says when a reader points at its mark, in lines; made of the row's columns where it is empty."""


@dataclass(frozen=True)
class Group:
    """Panels below one heading, row by row."""

    title: str
    panels: Sequence[Panel]
    columns: int = 2
    legend: Mapping[str, str] = field(default_factory=dict)
    """Words and their colours, where all panels mean the same by a colour: the legend is drawn once."""


@dataclass(frozen=True)
class Subject:
    """What a cell measures: a reader hides and shows marks by it."""

    algorithm: str
    engine: str
    task: str


@dataclass(frozen=True)
class Figure:
    """What is drawn; its files are `NAME.svg`, `NAME.png` and `NAME.csv`."""

    name: str
    title: str
    """What it shows, as a heading."""
    says: str
    """How to read it, in a few sentences."""
    machine: str
    groups: Sequence[Group]
    subjects: Mapping[str, Subject] = field(default_factory=dict)
    """What each cell of the column `cells` measures, by its id; empty where nothing can be hidden."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows; the column `cells` names the rows of results.csv behind each."""
        return pd.concat([panel.rows for group in self.groups for panel in group.panels], ignore_index=True)

    def csv(self) -> str:
        """The frame as the content of a file."""
        return self.frame.to_csv(index=False, lineterminator="\n")

    @cached_property
    def svg(self) -> str:
        """The whole picture. Nothing is ever fetched."""
        return drawn(self.spec)

    @cached_property
    def spec(self) -> Spec:
        """Specification in Vega-Lite, a dataset for each panel; of very many panels it has the first, and says so."""
        left, groups = MOST_PANELS, []
        for group in self.groups:
            groups.append(replace(group, panels=group.panels[:left]))
            left -= len(groups[-1].panels)
        panels = [panel for group in groups for panel in group.panels]
        lost = sum(len(group.panels) for group in self.groups) - len(panels)
        says = self.says + (f" {lost} more panels are in the CSV alone." if lost else "")
        names = {id(panel): str(number) for number, panel in enumerate(panels)}
        across = max(
            min(group.columns, len(group.panels)) * (group.panels[0].width + BESIDE) for group in groups if group.panels
        )
        lines = [line for text in (says, self.machine) for line in wrapped(text, min(max(across, NARROW), WIDTH))]
        caption = {**heading(lines), "orient": "bottom", "color": FAINT, "offset": 14}
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "config": CONFIG,
            "datasets": {names[id(panel)]: records(panel.rows) for panel in panels},
            "title": {**heading([label(self.title)]), "fontSize": 16, "fontWeight": "bold", "offset": 14},
            "vconcat": [{"title": caption, "vconcat": [_group(g, names) for g in groups if g.panels]}],
        }


def _group(group: Group, names: Mapping[int, str]) -> Spec:
    across = WIDTH // min(group.columns, len(group.panels))
    looks = ("color", "stroke", "fill", "shape", "strokeDash")
    return {
        **({"title": {**heading(wrapped(group.title, WIDTH)), "fontSize": 12}} if group.title else {}),
        "columns": group.columns,
        "concat": [
            {
                "data": {"name": names[id(panel)]},
                **_title(panel, min(across - 90, panel.width + 170)),
                "width": panel.width,
                "height": panel.height,
                **({"transform": list(panel.transform)} if panel.transform else {}),
                "layer": list(panel.layers),
            }
            for panel in group.panels
        ],
        "resolve": {"scale": dict.fromkeys(looks, "shared" if group.legend else "independent")},
    }


def _title(panel: Panel, pixels: int) -> Spec:
    note = wrapped(label(panel.note), pixels) if panel.note else ()
    return {"title": {**heading(wrapped(panel.title, pixels), note), "frame": "group"}} if panel.title else {}


def figure_of(run: Run, name: str, title: str, says: str, groups: Sequence[Group], timed: bool = True) -> Figure | None:
    """The figure, or None where no panel has anything; `timed` where it shows times that may have been disturbed."""
    if not any(group.panels for group in groups):
        return None
    disturbed = {row.id: row.cell.implementation for row in run.measurements if row.time and row.time.disturbed}
    subjects = {row.id: Subject(row.cell.algorithm, row.cell.engine, row.cell.problem) for row in run.measurements}
    made = Figure(name, title, says, run.environment.summary, groups, subjects)
    shown = {cell for cells in made.frame["cells"] for cell in cells.split()} & disturbed.keys() if timed else set()
    if not shown:
        return made
    names = ", ".join(sorted({disturbed[cell] for cell in shown}))
    said = f"{says} Disturbed, most likely by other programs, so that they say little: times of {names} (see the CSV)."
    return replace(made, says=said, groups=[replace(g, panels=[_told(p, shown) for p in g.panels]) for g in groups])


def _told(panel: Panel, disturbed: Set[str]) -> Panel:
    """The panel with a column that says which of its rows stand on a disturbed time."""
    found = [bool(disturbed & set(cells.split())) for cells in panel.rows["cells"]]
    return replace(panel, rows=panel.rows.assign(disturbed=found))


def heading(lines: Sequence[str], note: Sequence[str] = ()) -> Spec:
    """A title of several lines, and fainter lines below it."""
    below = {"subtitle": list(note), "subtitleLineHeight": 14} if note else {}
    return {"text": list(lines), "lineHeight": 14, **below}


def wrapped(text: str, pixels: float) -> list[str]:
    """A text in lines of about that width."""
    return wrap(one_line(text)[:LONGEST_TEXT], max(12, int(pixels / LETTER))) or [""]


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of at least one row, whose texts may be drawn; the ids in `cells` stay as they are."""
    frame = pd.DataFrame(list(rows))
    for column in frame.columns.drop("cells", errors="ignore"):
        frame[column] = [label(value) if isinstance(value, str) else value for value in frame[column]]
    return frame


def shared(phrases: Sequence[str]) -> tuple[str, list[str]]:
    """What several settings have in common, and what is left of each; of one setting nothing is left."""
    parts = [phrase.split(PART) for phrase in phrases]
    common = [part for part in parts[0] if all(part in other for other in parts)] if parts else []
    return PART.join(common), [PART.join(part for part in own if part not in common) for own in parts]


def ends_of(figure: Interval | None, name: str = "value", prefix: str = "") -> dict[str, float | None]:
    """A figure and the ends of its interval, as columns: NAME, `low` and `high`; None where there is none."""
    columns = {name: "value", f"{prefix}low": "low", f"{prefix}high": "high"}
    return {column: getattr(figure, end, None) for column, end in columns.items()}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON has them: what is missing, or not finite, is null."""
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [dict(zip(frame.columns, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drawn(spec: Spec) -> str:
    """The SVG that Vega draws of a specification. Nothing is ever fetched."""
    import vl_convert  # a tenth of a second, for which no other command should wait

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def image(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file: `svg`, `png` or `pdf`."""
    import vl_convert

    if kind == "svg":
        return figure.svg.encode()
    made = vl_convert.svg_to_pdf(figure.svg) if kind == "pdf" else vl_convert.svg_to_png(figure.svg, scale=SHARPNESS)
    return bytes(made)
