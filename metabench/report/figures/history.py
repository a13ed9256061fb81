"""A small chart of one configuration's time from commit to commit, as SVG that stands in a page itself.

Fifty of them are on one page. Each reflows with the page, has its colours and its type, and is found by the page's
search: so it is drawn here, without Vega, in some thirty shapes.
"""

import math

from markupsafe import Markup

from metabench.report.compare.history import CellHistory, MachineHistory, chart_name
from metabench.report.compare.tables import cell_text
from metabench.report.figures.style import series
from metabench.report.numbers import TIME_UNITS, exact, in_unit
from metabench.text import one_line

WIDTH, HEIGHT = 320.0, 120.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 6.0, 10.0, 18.0
"""Margins, in the units of the drawing, for what is written at the axes."""
ROOM = 1.5
"""How far the axis of times goes at most, in largest times: a wide interval may be cut off there."""
LONGEST_LABEL = 22
LINE, STEP = series(1).colour, series(2).colour
SAYS = (
    "Points: time of a meta-iteration with its 95 % interval; the axis begins at 0. Thick lines: the median of each "
    "level. Dashed: a change point. All figures are in history.csv."
)


def history_chart(history: MachineHistory, line: CellHistory, words: str) -> Markup:
    """The chart of a line that has times, with `words` on the configuration, the first and the last time above it."""
    (begin, first), (end, last) = line.timed[0], line.timed[-1]
    marks = " ".join(line.mark(step).strip() for step in line.steps)
    went = f"{line.text(begin)} → {line.text(end)}, × {exact(last.value / first.value)}{line.doubt(begin, end)}"
    return Markup(
        '<figure class="chart" id="{name}"><figcaption>{marks}<b>{implementation}</b> {words}<br/>{went}</figcaption>'
        "{drawing}</figure>\n"
    ).format(
        name=chart_name(line),
        marks=f"{marks} " if marks else "",
        implementation=one_line(line.cell.implementation),
        words=one_line(words),
        went=went,
        drawing=_drawing(history, line),
    )


def _drawing(history: MachineHistory, line: CellHistory) -> Markup:
    top = _top(line)
    across = (WIDTH - LEFT - RIGHT) / len(history.columns)

    def x(position: float) -> float:
        return LEFT + (position + 0.5) * across

    def y(seconds: float) -> float:
        return HEIGHT - BOTTOM - min(seconds / top, 1.0) * (HEIGHT - TOP - BOTTOM)

    tick = _tick(top)
    shapes = [
        _stroke(LEFT, y(0), WIDTH - RIGHT, y(0), "currentColor", 0.5),
        _stroke(LEFT, y(tick), WIDTH - RIGHT, y(tick), "currentColor", 0.5, ' opacity="0.3"'),
        _text(LEFT - 4, y(0), "0", "end"),
        _text(LEFT - 4, y(tick) + 3, _tick_text(tick), "end"),
        _text(LEFT, HEIGHT - 4, _cut(history.columns[0].label), "start"),
        _text(WIDTH - RIGHT, HEIGHT - 4, _cut(history.columns[-1].label), "end"),
    ]
    shapes += [
        _stroke(x(step - 0.5), TOP, x(step - 0.5), y(0), STEP, 1.2, ' stroke-dasharray="5 3"') for step in line.steps
    ]
    path = " ".join(f"{x(i):.1f},{y(time.value):.1f}" for i, time in line.timed)
    shapes.append(Markup('<polyline points="{}" fill="none" stroke="{}"/>').format(path, LINE))
    for columns, level in line.levels:
        begin, end = x(columns[0]), x(columns[-1])
        shapes.append(_stroke(begin - across / 4, y(level), end + across / 4, y(level), "currentColor", 1.4))
    for i, time in line.timed:
        shapes.append(_stroke(x(i), y(time.drawn.low), x(i), y(time.drawn.high), LINE, 1.2))
        point = '<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"><title>{}: {}</title></circle>'
        shapes.append(Markup(point).format(x(i), y(time.value), LINE, one_line(history.columns[i].label), line.text(i)))
    head = Markup('<svg viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" aria-label="{}">')
    said = f"Time from commit to commit of {one_line(cell_text(line.cell))}"
    return head.format(WIDTH, HEIGHT, WIDTH, HEIGHT, said) + Markup("").join(shapes) + Markup("</svg>")


def _top(line: CellHistory) -> float:
    """Where the axis ends, in seconds."""
    most = max(time.value for _, time in line.timed)
    return 1.05 * min(ROOM * most, max(time.drawn.high for _, time in line.timed))


def _tick(top: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is on the axis."""
    power = 10.0 ** math.floor(math.log10(top))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= top * (1 + 1e-9))


def _tick_text(tick: float) -> str:
    scale, unit = in_unit(tick * (1 + 1e-9), TIME_UNITS)
    return f"{tick / scale:.3g} {unit}"


def _cut(label: str) -> str:
    label = one_line(label)
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _stroke(x: float, y: float, x2: float, y2: float, colour: str, width: float, more: str = "") -> Markup:
    shape = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{:g}"{}/>'
    return Markup(shape).format(x, y, x2, y2, colour, width, Markup(more))


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    shape = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="10" fill="currentColor">{}</text>'
    return Markup(shape).format(x, y, anchor, text)
