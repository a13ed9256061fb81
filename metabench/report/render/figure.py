"""Figures as a page shows them: each panel is an SVG of its own, so that they stand side by side where there is room.

A page may hide algorithms and engines in all of its figures: each figure says which it has, and each mark which it
shows.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from metabench.report.figures.base import MOST_PANELS, PLOTS, Figure, Group, Panel, Subject
from metabench.report.render.svg import Drawn, draw_panel, themed
from metabench.text import one_line

ENLARGED = 1.2
"""How many times as large as it is drawn a panel stands where there is room."""
HALF = 530
"""Pixels of a panel that stands beside another: wider ones are enlarged less."""
STEP = 50
"""Pixels between the widths for which `figure.css` says from where on a panel is scrolled and not shrunk."""
KINDS = ("algorithm", "engine")
"""What a reader can hide."""
PATHS = {
    "circle": "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0",
    "square": "M-.9,-.9h1.8v1.8h-1.8Z",
    "triangle-up": "M0,-.87L-1,.87L1,.87Z",
    "triangle-down": "M0,.87L-1,-.87L1,-.87Z",
    "triangle-right": "M.87,0L-.87,-1L-.87,1Z",
    "triangle-left": "M-.87,0L.87,-1L.87,1Z",
    "diamond": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",
    "cross": "M-.4,-1H.4V-.4H1V.4H.4V1H-.4V.4H-1V-.4H-.4Z",
}
"""Vega's shapes in a square from -1 to 1."""


@dataclass(frozen=True)
class Key:
    """A button that hides and shows an algorithm or an engine in all figures."""

    kind: str
    name: str
    look: Markup
    """A mark as the figure draws it; empty where none means it alone."""


def figure_html(figure: Figure, folder: str = PLOTS) -> Markup:
    """The figure with its title, its panels and its caption. Every text is escaped.

    `folder` is that of the figure's files, from that of the page; empty where they lie beside it.
    """
    prefix = f"figure-{re.sub(r'[^A-Za-z0-9]', lambda found: f'_{ord(found[0]):x}_', figure.name)}-"
    cells = list(dict.fromkeys(name for ids in figure.frame["cells"] for name in ids.split()))
    found = [figure.subjects[name] for name in cells if name in figure.subjects]
    names = {kind: list(dict.fromkeys(getattr(one, kind) for one in found)) for kind in (*KINDS, "task")}
    keys = _keys(figure, names)
    left, groups = MOST_PANELS, []
    for number, group in enumerate(figure.groups):
        panels = group.panels[:left]
        left -= len(panels)
        if panels:
            groups.append(_group(group, panels, f"{prefix}{number}-", figure.subjects, names, cells, not keys))
    return Markup(
        _template().render(
            figure=figure,
            names={kind: json.dumps(of) for kind, of in names.items()},
            cells=json.dumps(cells),
            keys=keys,
            groups=groups,
            lost=sum(len(group.panels) for group in figure.groups) - sum(len(group["panels"]) for group in groups),
            path=f"{folder}/{figure.name}" if folder else figure.name,
        )
    )


@cache
def _template() -> Template:
    text = files("metabench.report.render").joinpath("figure.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return environment.from_string(text)


def _shown(value: object) -> str:
    return value if isinstance(value, Markup) else one_line(str(value))


def _group(
    group: Group,
    panels: Sequence[Panel],
    prefix: str,
    subjects: Mapping[str, Subject],
    names: Mapping[str, Sequence[str]],
    cells: Sequence[str],
    legend: bool,
) -> dict[str, Any]:
    """A group's heading, legend and panels, whose axes begin at the same place and which are as wide as each other."""
    made = [draw_panel(panel, f"{prefix}{number}-", legend and not group.legend) for number, panel in enumerate(panels)]
    left = max(one.left for one in made)
    width = left + max(one.width - one.left for one in made)
    size = min(ENLARGED, max(1.0, HALF / width)) if len(made) > 1 else ENLARGED
    return {
        "title": group.title,
        "legend": [(text, _swatch(colour)) for text, colour in group.legend.items()],
        "panels": [
            {
                "title": one.panel.title,
                "note": one.panel.note,
                "svg": _svg(one, left, width, size),
                "about": json.dumps(_about(one.panel, subjects, names, cells), separators=(",", ":")),
            }
            for one in made
        ],
    }


def _svg(one: Drawn, left: float, width: float, size: float) -> Markup:
    root = one.root
    root.attrib |= {
        "viewBox": f"{one.left - left:g} 0 {width:g} {one.height:g}",
        "width": f"{size * width:.0f}",
        "height": f"{size * one.height:.0f}",
        "class": f"w{min(-int(-width // STEP), 20) * STEP}",
        "role": "group",
        "aria-label": one_line(one.panel.title),
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _about(
    panel: Panel, subjects: Mapping[str, Subject], names: Mapping[str, Sequence[str]], cells: Sequence[str]
) -> dict[str, Any]:
    """What each row is about: its place in `of`, where its algorithm, its engine (-1: several) and its cells stand."""
    place = {name: number for number, name in enumerate(cells)}
    of: dict[str, int] = {}
    rows = [of.setdefault(text, len(of)) for text in panel.rows["cells"]]
    found = []
    for text in of:
        single = _single(text, subjects)
        places = [names[kind].index(single[kind]) if kind in single else -1 for kind in KINDS]
        found.append([*places, [place[name] for name in text.split()]])
    return {"rows": rows, "of": found}


def _single(ids: str, subjects: Mapping[str, Subject]) -> dict[str, str]:
    """The algorithm and the engine of all of these cells, each as far as they have the same one."""
    of = [subjects[name] for name in ids.split() if name in subjects]
    found = {kind: {getattr(one, kind) for one in of} for kind in KINDS}
    return {kind: values.pop() for kind, values in found.items() if len(values) == 1}


def _keys(figure: Figure, names: Mapping[str, Sequence[str]]) -> list[Key]:
    """A button for each algorithm, and for each engine where a panel has several of them."""
    panels = [panel for group in figure.groups for panel in group.panels]
    looks = _looks(panels)
    several = {kind: len(names[kind]) > 1 for kind in KINDS}
    engines = [{_single(ids, figure.subjects).get("engine", "") for ids in panel.rows["cells"]} for panel in panels]
    several["engine"] &= any(len(found - {""}) > 1 for found in engines)
    return [Key(kind, name, looks.get(name, Markup())) for kind in KINDS if several[kind] for name in names[kind]]


def _looks(panels: Sequence[Panel]) -> dict[str, Markup]:
    """The mark of each name that has one in a panel."""
    found: dict[str, Markup] = {}
    for channels in (layer["encoding"] for panel in panels for layer in panel.layers):
        colours, shapes = (
            _range(channels.get(name)) for name in ("stroke" if "stroke" in channels else "color", "shape")
        )
        for name, colour in colours.items():
            if name not in found or shapes:
                found[name] = _swatch(colour, shapes.get(name, "square"))
    return found


def _range(channel: Any) -> dict[str, str]:
    scale = (channel or {}).get("scale") or {}
    return dict(zip(scale.get("domain", ()), scale.get("range", ()), strict=False))


def _swatch(colour: str, shape: str = "square") -> Markup:
    """A small mark of that look."""
    root = Element("svg", {"class": "swatch", "viewBox": "-1.2 -1.2 2.4 2.4", "aria-hidden": "true"})
    root.append(Element("path", {"d": PATHS.get(shape, shape), "fill": themed(colour)}))
    return Markup(ElementTree.tostring(root, encoding="unicode"))
