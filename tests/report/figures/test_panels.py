"""Labels at lines' ends, numbers at axes, and figures of many panels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from metabench.report.figures.panels import Layout, log_axis, log_ticks, panels, short, spread, widened
from metabench.report.figures.style import styled


def test_labels_stay_where_they_are_wanted_if_there_is_room():
    assert spread([0.1, 0.5, 0.9], 0.2) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([], 0.2) == []


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_as_little_as_can_be(seed):
    wanted = sorted(np.random.default_rng(seed).beta(1, 4, 10))
    places = np.array(spread(wanted, 0.09))
    assert np.all(np.diff(places) >= 0.09 - 1e-12) and places[0] >= 0 and places[-1] <= 1 + 1e-12
    distance = ((places - wanted) ** 2).sum()
    for _ in range(200):  # no other places that keep the gap are nearer
        other = np.clip(np.sort(places + np.random.default_rng(_).normal(0, 0.02, 10)), 0, 1)
        if np.all(np.diff(other) >= 0.09):
            assert ((other - wanted) ** 2).sum() >= distance - 1e-9


def test_more_labels_than_fit_go_beyond_both_ends():
    assert spread([0.5, 0.5, 0.5], 0.6) == pytest.approx([-0.1, 0.5, 1.1])


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (3, 8), (1e-3, 0.5), (1, 1e5), (1e-90, 1e99), (412161, 412162)])
def test_an_axis_has_a_few_numbers(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8 and ticks == sorted(ticks)
    assert low * 0.99 <= ticks[0] and ticks[-1] <= high * 1.01


def test_an_axis_is_in_a_unit_that_reads_well():
    axes = Figure().subplots()
    log_axis(axes.yaxis, 3e5, 8e6, ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")))
    said = [axes.yaxis.get_major_formatter()(tick, 0) for tick in axes.get_yticks()]
    assert said == ["0.3 MiB", "1 MiB", "3 MiB"]
    assert [short(v) for v in (0, 0.05, 20, 5000, 412161, 2e9, 1e-7)] == ["0", "0.05", "20", "5k", "412k", "2G", "1e-7"]


def test_limits_leave_room_around_the_values():
    for log in (True, False):
        low, high = widened([2.0, 8.0], log=log)
        assert 1 < low < 2 and 8 < high < 10
        low, high = widened([3.0], log=log)
        assert low < 3 < high


def test_of_very_many_panels_the_first_are_drawn_and_it_says_so(readable):
    with styled():
        layouts = [Layout(f"panel {i}", 1, lambda axes, inches: axes.plot([1, 2])) for i in range(1000)]
        figure = panels("Heading", "Says.", "a machine", layouts, most=4)
        assert len(figure.get_axes()) == 4
        assert "996 more panels" in figure.texts[-1].get_text()
        readable(figure, 4)
