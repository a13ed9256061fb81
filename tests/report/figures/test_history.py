"""What the figure of a history shows is its line."""

import pytest

from drawn import check_texts
from metabench.report.compare.history import CellHistory, Column, MachineHistory
from metabench.report.figures.history import history_figure
from metabench.report.results import read_run
from metabench.statistics.ratios import Interval
from places import EPYC

SECONDS = (1.0, 1.02, 0.99, 1.5, None, 1.52, 1.48, 0.7, 0.71)


@pytest.fixture
def history():
    """Nine revisions, of which one has no time, with two steps."""
    cell = read_run(EPYC / "memory").measurements[0].cell
    times = tuple(s and Interval(s, 0.9 * s, 1.1 * s) for s in SECONDS)
    statuses = tuple("ok" if time else "oom" for time in times)
    columns = tuple(Column(f"{number:08x}", f"run-{number}", "2026") for number in range(len(SECONDS)))
    return MachineHistory("a machine", columns, (CellHistory(("abc",), cell, times, statuses, (3, 7)),))


def test_times_levels_and_steps_are_those_of_the_line(history):
    figure = history_figure(history, history.lines[0])
    frame = figure.frame
    assert list(frame.seconds) == [s for s in SECONDS if s] and list(frame.position) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert list(frame.position[frame.change_point]) == [3, 7]
    assert list(frame.groupby("level").level_seconds.first()) == [1.0, 1.5, 0.705]
    assert set(frame.cells) == {"abc"}
    texts = check_texts(figure)
    assert {"a machine", "0 s", "1 s", "time of a meta-iteration"} <= set(texts)


def test_a_time_whose_interval_is_not_known_is_a_point(history):
    line = CellHistory("abc", history.lines[0].cell, (Interval(2e-3, 0.0, float("inf")),), ("ok",), ())
    figure = history_figure(history, line)
    (rows,) = figure.spec["datasets"].values()
    assert rows[0]["high"] is None and "2 ms" in check_texts(figure)
