"""What tests of figures look at: all texts of a drawn figure and where they stand, and all that Vega would run."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple
from xml.etree import ElementTree

from metabench.report.figures.base import Figure, image

SVG = "{http://www.w3.org/2000/svg}"
WIDTH = 0.42
"""Of a letter, in heights of its type; most are wider, so that what overlaps by this does overlap."""
RUN_BY_VEGA = ("calculate", "filter", "labelExpr", "test", "expr", "signal", "update")


class Text(NamedTuple):
    """A text and its box: left, top, right, bottom."""

    text: str
    box: tuple[float, float, float, float]


def texts_in(svg: bytes) -> tuple[list[Text], tuple[float, float]]:
    """All that can be read, and the width and height of the whole."""
    root = ElementTree.fromstring(svg)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    return list(_texts(root, 0.0, 0.0)), (width, height)


def _texts(node: ElementTree.Element, x: float, y: float) -> Iterator[Text]:
    moved = re.search(r"translate\(([-\d.e]+),([-\d.e]+)\)", node.attrib.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    if node.tag == f"{SVG}text":
        size = float(node.attrib["font-size"].removesuffix("px"))
        lines = [line.text or "" for line in node.iter(f"{SVG}tspan")] or [node.text or ""]
        for number, line in enumerate(lines):
            long = WIDTH * size * len(line)
            left = {"start": 0.0, "middle": -long / 2, "end": -long}[node.attrib.get("text-anchor", "start")]
            top = 14 * number - 0.7 * size
            box = (left, top, left + long, top + 0.7 * size)
            if "rotate(-90)" in node.attrib["transform"]:
                box = (box[1], -box[2], box[3], -box[0])
            if "rotate(-30)" not in node.attrib["transform"] and line:
                yield Text(line, (x + box[0], y + box[1], x + box[2], y + box[3]))
    for child in node:
        yield from _texts(child, x, y)


def check_texts(figure: Figure) -> list[str]:
    """Draws a figure, in which no text is cut off and none covers another; gives the texts."""
    texts, (width, height) = texts_in(image(figure, "svg"))
    for text, (left, top, right, bottom) in texts:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, text
    for one, other in combinations(texts, 2):
        apart = one.box[2] <= other.box[0] or other.box[2] <= one.box[0]
        assert apart or one.box[3] <= other.box[1] or other.box[3] <= one.box[1], (one, other)
    return [text for text, _ in texts]


def run_by_vega(spec: Any) -> Iterator[str]:
    """All texts of a specification that Vega takes for expressions."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in RUN_BY_VEGA and isinstance(value, str):
                yield value
            elif key != "datasets" and not (key == "data" and "values" in value):
                yield from run_by_vega(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from run_by_vega(value)
