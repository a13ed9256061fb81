"""What the chart of a history shows is its line."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from metabench.report.compare.history import CellHistory, Column, MachineHistory
from metabench.report.figures.history import HEIGHT, WIDTH, history_chart
from metabench.report.results import read_run
from metabench.statistics.ratios import Interval
from places import AVX2

SECONDS = (1.0, 1.02, 0.99, 1.5, None, 1.52, 1.48, 0.7, 0.71)


@pytest.fixture
def history():
    """Nine revisions, of which one has no time, with two steps."""
    cell = read_run(AVX2 / "memory").measurements[0].cell
    times = tuple(s and Interval(s, 0.9 * s, 1.1 * s) for s in SECONDS)
    statuses = tuple("ok" if time else "oom" for time in times)
    columns = tuple(Column(f"{n:08x}", f"{n:08x}", f"run-{n}", "2026") for n in range(len(SECONDS)))
    return MachineHistory("a machine", columns, (CellHistory(("abc",), cell, times, statuses, (3, 7)),))


def drawn(history, line):
    figure = ElementTree.fromstring(history_chart(history, line, "some words"))
    (svg,) = figure.iter("svg")
    return figure, svg


def numbers(shapes, *names):
    return [tuple(float(shape.attrib[name]) for name in names) for shape in shapes]


def test_times_levels_and_steps_are_those_of_the_line(history):
    figure, svg = drawn(history, history.lines[0])
    points = numbers(svg.iter("circle"), "cx", "cy")
    titles = [title.text for title in svg.iter("title")]
    assert len(titles) == len(points) == 8 and titles[3] == "00000003: 1.50 s [1.35, 1.65]"
    lines = list(svg.iter("line"))
    base = next(float(line.attrib["y1"]) for line in lines)
    per_second = (base - points[0][1]) / SECONDS[0]
    for (_, y), seconds in zip(points, (s for s in SECONDS if s), strict=True):
        assert (base - y) / per_second == pytest.approx(seconds, abs=0.01)
    x = dict(zip([n for n, s in enumerate(SECONDS) if s], [x for x, _ in points], strict=True))
    steps = [float(line.attrib["x1"]) for line in lines if "stroke-dasharray" in line.attrib]
    assert steps == pytest.approx([(x[2] + x[3]) / 2, (x[6] + x[7]) / 2], abs=0.1)
    levels = [line for line in lines if line.attrib["stroke-width"] == "1.4"]
    heights = [(base - float(line.attrib["y1"])) / per_second for line in levels]
    assert heights == pytest.approx([1.0, 1.5, 0.705], abs=0.01)
    words = "".join(figure.find("figcaption").itertext())
    assert figure.attrib["id"] == "chart-abc" and words.startswith("▲ ▼ ")
    assert "some words" in words and words.endswith(", × 0.710")


def test_nothing_is_drawn_outside(history):
    _, svg = drawn(history, history.lines[0])
    lines = list(svg.iter("line"))
    ends = [end for names in (("x1", "y1"), ("x2", "y2")) for end in numbers(lines, *names)]
    ends += numbers(svg.iter("circle"), "cx", "cy") + numbers(svg.iter("text"), "x", "y")
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in ends)
    assert not re.search("style=|script|on[a-z]+=", history_chart(history, history.lines[0], ""))


def test_a_time_whose_interval_is_not_known_is_a_point(history):
    line = CellHistory(("abc",), history.lines[0].cell, (Interval(2e-3, 0.0, float("inf")),), ("ok",), ())
    _, svg = drawn(history, line)
    (title,) = svg.iter("title")
    assert title.text == "00000000: 2.00 ms [?]"
    (x, y) = numbers(svg.iter("circle"), "cx", "cy")[0]
    assert (x, y, x, y) in numbers(svg.iter("line"), "x1", "y1", "x2", "y2")
    assert "2 ms" in [text.text for text in svg.iter("text")]
