"""Panels of figures as SVG that may stand in a page: text stays text, and nothing in it can run or be fetched.

Vega draws a panel, and what it drew is built anew from elements and attributes that are known to do nothing. Each mark
of a row of the frame has the row's number, so that a page can tell what the mark shows, and hide it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from metabench.report.figures import marks
from metabench.report.figures.base import CONFIG, Panel, Spec, drawn, records
from metabench.report.figures.style import FAINT, FONT_SIZE, GRID, INK, ON_DARK, PAPER, label

ELEMENTS = ("svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath")
GEOMETRY = ("d", "transform", "x", "y", "x1", "y1", "x2", "y2", "dx", "dy", "width", "height", "viewBox")
COLOURS = ("fill", "stroke")
LOOKS = (
    *("stroke-width", "stroke-dasharray", "stroke-miterlimit", "opacity", "fill-opacity", "stroke-opacity"),
    *("text-anchor", "font-size", "font-weight"),
)
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}|[a-z]{3,20}|rgba?\([\d., %]+\)")
NEEDLESS = {"opacity": "1", "text-anchor": "start", "font-weight": "normal", "font-size": f"{FONT_SIZE}px"}
"""What an attribute is without being said."""
NEUTRAL = {INK: "ink", FAINT: "faint", GRID: "grid", PAPER: "paper"}
"""The colours that follow those of the page."""
LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e[-+]?\d+)?|-?\d+(?:\.\d+)?e[-+]?\d+")
CLIP = re.compile(r"url\(#([\w-]+)\)")
MOVED = re.compile(r"translate\((-?[\d.]+),\s?(-?[\d.]+)\)")
POINTED_AT = ("mark-symbol", "mark-rect", "mark-rule")
"""Kinds of marks that show one row each."""
ROW = "_row"
"""The column that Vega hands on to each mark: a row's number, with `LABEL` before it where the mark is its name."""
LABEL = "label "


@dataclass(frozen=True)
class Drawn:
    """One panel, drawn."""

    panel: Panel
    root: Element
    width: float
    height: float
    left: float
    """How far right of the left edge the axes begin."""


def draw_panel(panel: Panel, prefix: str, legend: bool = True) -> Drawn:
    """The panel as a tree; its ids begin with `prefix`. `legend`: with what says which colour means what."""
    found = ElementTree.fromstring(drawn(panel_spec(panel, legend)))
    width, height = (float(found.attrib[name]) for name in ("width", "height"))
    root = Element("svg")
    builder = _Builder(panel, prefix)
    for child in found:
        if not (_tag(child) == "rect" and child.attrib.get("fill") == PAPER):  # the page is its background
            root.extend(builder.safe(child, "", False))
    moved = MOVED.search(root[-1].attrib.get("transform", "")) if len(root) else None
    return Drawn(panel, root, width, height, float(moved[1]) if moved else 0.0)


def panel_spec(panel: Panel, legend: bool = True) -> Spec:
    """Specification of the panel alone, without its title, in which each mark knows the number of its row."""
    first = first_rows(panel)
    rows = [row | {ROW: str(number)} for number, row in enumerate(records(panel.rows))]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "config": CONFIG | {"aria": True, "padding": 3},
        "data": {"name": "rows"},
        "datasets": {"rows": rows},
        "width": panel.width,
        "height": panel.height,
        **({"transform": list(panel.transform)} if panel.transform else {}),
        "layer": [_keyed(one, first, legend) for one in panel.layers if legend or one.get("description") != marks.KEY],
    }


def first_rows(panel: Panel) -> dict[str, int]:
    """The number of the first row in which each text of the frame stands."""
    found: dict[str, int] = {}
    for column in panel.rows.columns.drop("cells", errors="ignore"):
        for number, value in enumerate(panel.rows[column]):
            if isinstance(value, str) and value:
                found.setdefault(value, number)
    return found


def tips_of(panel: Panel) -> Sequence[str]:
    """What each row of the panel says when a reader points at its mark."""
    return panel.tips or [
        "\n".join(f"{name}: {_value(value)}" for name, value in row.items() if name != "cells" and value is not None)
        for row in records(panel.rows)
    ]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _keyed(layer: Spec, first: Mapping[str, int], legend: bool) -> Spec:
    """The layer with the key of each mark. Vega hands it on as a description."""
    channels = layer["encoding"]
    if not legend:
        channels = {name: one | {"legend": None} if "legend" in one else one for name, one in channels.items()}
    made = layer | {"encoding": {"description": {"field": ROW, "type": "nominal"}} | channels}
    if "data" in layer:
        rows = layer["data"]["values"]
        keys = [f"{LABEL}{first[name]}" if (name := row.get("name")) in first else "" for row in rows]
        made["data"] = {"values": [row | {ROW: key} for row, key in zip(rows, keys, strict=True)]}
    return made


class _Builder:
    """Builds what Vega drew of a panel anew, from what is known to be safe."""

    def __init__(self, panel: Panel, prefix: str) -> None:
        self.prefix = prefix
        self.first = first_rows(panel)
        self.tips = ["\n".join(map(label, text.split("\n"))) for text in tips_of(panel)]

    def safe(self, node: Element, kind: str, clips: bool) -> Iterator[Element]:
        """The element, or the children of one that says nothing itself; nothing of what nobody sees.

        `kind` is the class of the group around it; `clips`: whether it stands in a clip path.
        """
        tag, attributes = _tag(node), node.attrib
        if tag not in ELEMENTS or attributes.get("display") == "none" or attributes.get("class") == "background":
            return
        kind = attributes.get("class", kind) if tag == "g" else kind
        made = Element(tag, dict(self._attributes(attributes)))
        made.text = node.text
        for child in node:
            made.extend(self.safe(child, kind, clips or tag == "clipPath"))
        if tag == "g" and not (len(made) and made.attrib):
            yield from made
        elif tag not in ("line", "path", "rect") or clips or {"fill", "stroke"} & made.attrib.keys():
            self._mark(made, attributes.get("aria-label", ""), kind)
            yield made

    def _attributes(self, found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, value in found.items():
            if name == "id":
                yield name, self.prefix + value
            elif name == "clip-path" and (clip := CLIP.fullmatch(value)):
                yield name, f"url(#{self.prefix}{clip[1]})"
            elif name in COLOURS and COLOUR.fullmatch(value):
                yield name, themed(value)
            elif name in GEOMETRY and value != "translate(0,0)":
                yield name, LONG_NUMBER.sub(_short, value)
            elif name in LOOKS and NEEDLESS.get(name) != value:
                yield name, value

    def _mark(self, made: Element, key: str, kind: str) -> None:
        """Say which row a mark shows, or names."""
        if "role-mark" in kind and key.isdecimal():
            made.set("data-row", key)
            if kind.startswith(POINTED_AT):
                title = Element("title")
                title.text = self.tips[int(key)]
                made.insert(0, title)
        elif "role-mark" in kind and key.startswith(LABEL):
            made.set("data-label", key.removeprefix(LABEL))
        elif "role-axis-label" in kind and made.text in self.first:
            made.set("data-label", str(self.first[made.text]))


def themed(colour: str) -> str:
    """A colour as a page has it, where it is another one on a dark page or follows the page's own."""
    if colour in NEUTRAL:
        return f"var(--figure-{NEUTRAL[colour]}, {colour})"
    return f"var(--on-{colour[1:]}, {colour})" if colour in ON_DARK else colour


def _short(number: re.Match[str]) -> str:
    """The number with two decimals at most: a hundredth of a pixel is not seen."""
    return f"{round(float(number[0]), 2) + 0.0:g}"


def _tag(node: Element) -> str:
    return node.tag.rpartition("}")[2]
