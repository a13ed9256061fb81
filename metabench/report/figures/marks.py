"""Marks that several figures share: lines with a look, and names at their ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from metabench.report.figures.axes import Axis
from metabench.report.figures.base import LETTER, Spec
from metabench.report.figures.style import INK, PAPER, Look, label

LABEL = 14.5
"""Pixels from one name at a line's end to the next."""
LEADER, MARK, TEXT = 4.0, 18.0, 26.0
"""Pixels right of the axes: where a leader turns, where the mark and where the name stand."""
EDGE = 5.0
"""Pixels between the first and last name and the ends of the axes."""
DOT = 5.0
"""Square pixels of the mark of one training seed."""
LONGEST_END = 400
"""Pixels of a name at a line's end."""

OF_NO_ROW: Mapping[str, Spec] = {"description": {"value": ""}}
"""Channel of a line that stands for no single row: it stays where a reader hides the row at which it begins."""
KEY = "key"
"""What describes the layers of a key, which a page may leave out: its buttons tell the same."""
PIXELS: Spec = {"type": "quantitative", "scale": None, "axis": None}
"""Channel whose field is a place in pixels."""


@dataclass(frozen=True)
class End:
    """End of a line, and its name there."""

    name: str
    x: float
    y: float
    text: str
    bold: bool = False
    across: bool = False
    """Whether it has no end: a line all across."""


def layer(mark: str | Spec, *where: Spec, **channels: Spec) -> Spec:
    """One layer: a mark and its channels; `where` are transforms of the rows."""
    made: Spec = {"mark": mark, "encoding": channels}
    return made | ({"transform": list(where)} if where else {})


def with_interval(high: str = "high") -> Spec:
    """The transform that keeps the rows whose interval is known, of which a field has the upper end."""
    return only(f"isValid(datum.{high})")


def beside(values: Sequence[Spec], layers: Sequence[Spec]) -> list[Spec]:
    """Layers of what the frame does not hold: places of names, and lines that are computed from its columns."""
    return [one | {"data": {"values": list(values)}} for one in layers]


def only(condition: str) -> Spec:
    """The transform that keeps some rows; a condition of constants and fields alone."""
    return {"filter": condition}


def coloured(looks: Mapping[str, Look], by: str = "name", channel: str = "color") -> Spec:
    """The colour of each name, as a channel."""
    return {channel: _scaled(by, looks, [look.colour for look in looks.values()])}


def dashed(looks: Mapping[str, Look], by: str = "name") -> Spec:
    """Colour and dash of a line, as channels."""
    return coloured(looks, by) | {"strokeDash": _scaled(by, looks, [list(look.dash) for look in looks.values()])}


def marked(looks: Mapping[str, Look], by: str = "name") -> Spec:
    """Colour and shape of a mark, as channels."""
    fills = [PAPER if look.hollow else look.colour for look in looks.values()]
    shapes = [look.shape for look in looks.values()]
    return coloured(looks, by, "stroke") | {"fill": _scaled(by, looks, fills), "shape": _scaled(by, looks, shapes)}


def _scaled(by: str, looks: Mapping[str, Look], range_: Sequence[object]) -> Spec:
    scale = {"domain": [label(name) for name in looks], "range": list(range_)}
    return {"field": by, "type": "nominal", "scale": scale, "legend": None}


def key(names: Sequence[str], looks: Mapping[str, Look]) -> list[Spec]:
    """Marks and what they mean, in a row above the axes."""
    ends = list(accumulate((MARK + LETTER * len(name) for name in names), initial=6.0))
    data = [{"name": name, "mark": end, "at": end + 8} for name, end in zip(names, ends, strict=False)]
    text = {"type": "text", "align": "left"}
    above: Spec = {"y": {"value": -10}}
    layers = [
        layer("point", x={"field": "mark", **PIXELS}, **above, **marked(looks)),
        layer(text, x={"field": "at", **PIXELS}, **above, text={"field": "name"}),
    ]
    return [one | {"description": KEY} for one in beside(data, layers)]


def rows_channel(by: str, names: Sequence[str], least: int = 0) -> Spec:
    """The vertical channel that gives each name a row, in this order, with `least` pixels at least for the names."""
    axis = {"title": None, "domain": False, "ticks": False, "labelPadding": 8, "minExtent": least}
    return {"field": by, "type": "nominal", "sort": None, "scale": {"domain": list(names)}, "axis": axis}


def end_labels(ends: Sequence[End], looks: Mapping[str, Look], x: Axis, y: Axis, width: int, height: int) -> list[Spec]:
    """Name lines at the right of the axes, in pixels; no name covers another."""
    order = sorted(ends, key=lambda end: -y.share(end.y))[::-1]  # of equals, the first stands above
    places = spread([height * y.share(end.y) - EDGE for end in order], LABEL, height - 2 * EDGE)
    data = [
        {
            "name": label(end.name),
            "text": label(end.text),
            "bold": end.bold,
            "from_x": width * (1 if end.across else x.share(end.x)),
            "from_y": height * (1 - y.share(end.y)),
            "at": height - EDGE - place,
        }
        for end, place in zip(order, places, strict=True)
    ]
    at = {"field": "at", **PIXELS}
    thin = {"type": "rule", "strokeWidth": 0.8, "opacity": 0.4}
    level = {"x": {"field": "from_x", **PIXELS}, "x2": {"value": width + LEADER}, "y": {"field": "from_y", **PIXELS}}
    slope = {"x": {"value": width + LEADER}, "x2": {"value": width + MARK - 4}, "y": {"field": "from_y", **PIXELS}}
    layers = [
        layer(thin, **level, **coloured(looks)),
        layer(thin, **slope, y2={"field": "at"}, **coloured(looks)),
        layer("point", x={"value": width + MARK}, y=at, **marked(looks)),
    ]
    for weight, kept in (("normal", "!datum.bold"), ("bold", "datum.bold")):
        text = {"type": "text", "align": "left", "fontWeight": weight, "limit": LONGEST_END, "color": INK}
        layers.append(layer(text, only(kept), x={"value": width + TEXT}, y=at, text={"field": "text"}))
    return beside(data, layers)


def spread(wanted: Sequence[float], gap: float, length: float) -> list[float]:
    """Places in [0, length] at least `gap` apart and as near as can be to those wanted, which come in rising order.

    Where they do not all fit, they go beyond both ends alike.
    """
    blocks: list[list[float]] = []  # mean of what is wanted less what is before it in the row, and how many
    for i, place in enumerate(wanted):
        blocks.append([place - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            blocks[-1][0] = (blocks[-1][0] * blocks[-1][1] + mean * count) / (blocks[-1][1] + count)
            blocks[-1][1] += count
    room = length - (len(wanted) - 1) * gap
    low, high = (0.0, room) if room > 0 else (room / 2, room / 2)
    places = [min(max(mean, low), high) for mean, count in blocks for _ in range(int(count))]
    return [place + i * gap for i, place in enumerate(places)]


def height_for(labels: int, least: int = 210) -> int:
    """Pixels that axes need for so many names at their right."""
    return max(least, int(LABEL * (labels + 1)))
