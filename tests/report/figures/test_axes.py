"""Numbers at axes and their limits; names at the ends of lines."""

import numpy as np
import pytest

from drawn import texts_in
from metabench.report.figures.axes import NINES, Axis, even_axis, log_axis, log_ticks, score_axis, size_ticks, widened
from metabench.report.figures.base import Figure, Group, Panel, frame_of, image
from metabench.report.figures.marks import layer, spread
from metabench.report.numbers import BYTE_UNITS


def test_labels_stay_where_they_are_wanted_if_there_is_room():
    assert spread([0.1, 0.5, 0.9], 0.2, 1.0) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([], 0.2, 1.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_as_little_as_can_be(seed):
    wanted = sorted(np.random.default_rng(seed).beta(1, 4, 10))
    places = np.array(spread(wanted, 0.09, 1.0))
    assert np.all(np.diff(places) >= 0.09 - 1e-12) and places[0] >= 0 and places[-1] <= 1 + 1e-12
    distance = ((places - wanted) ** 2).sum()
    for _ in range(200):  # no other places that keep the gap are nearer
        other = np.clip(np.sort(places + np.random.default_rng(_).normal(0, 0.02, 10)), 0, 1)
        if np.all(np.diff(other) >= 0.09):
            assert ((other - wanted) ** 2).sum() >= distance - 1e-9


def test_more_labels_than_fit_go_beyond_both_ends():
    assert spread([0.5, 0.5, 0.5], 0.6, 1.0) == pytest.approx([-0.1, 0.5, 1.1])


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (3, 8), (1e-3, 0.5), (1, 1e5), (1e-90, 1e99), (412161, 412162)])
def test_an_axis_has_a_few_numbers(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8 and ticks == sorted(ticks)
    assert low * 0.99 <= ticks[0] and ticks[-1] <= high * 1.01


def test_an_axis_is_in_a_unit_that_reads_well():
    axis = log_axis("memory", [3e5, 8e6], "memory")
    assert axis.ticks == (300 * 2**10, 2**20, 3 * 2**20)
    texts = "".join(texts_of(axis))
    assert "300 KiB" in texts and "1 MiB" in texts and "3 MiB" in texts
    assert texts_of(log_axis("time", [0.05, 4.0], "time")) == ["100 ms", "300 ms", "1 s", "3 s"]
    assert texts_of(log_axis("time", [0.005, 0.016], "time")) == ["5 ms", "7 ms", "10 ms", "15 ms"]
    assert even_axis("memory", 98 * 2**10, "memory").ticks == tuple(2**10 * n for n in (0, 20, 40, 60, 80))


def texts_of(axis):
    """What stands at the ticks of an axis, as Vega writes it."""
    panel = Panel("", frame_of([{"x": axis.ticks[0], "cells": ""}]), [layer("point", x=axis.at("x"))], 400, 20)
    return [text for text, _ in texts_in(image(Figure("a", "", "", "", [Group("", [panel])]), "svg"))[0] if " " in text]


@pytest.mark.parametrize(("low", "high"), [(6.4e6, 1.15e7), (30e3, 3e6), (1.5e9, 1.6e9), (1, 3), (1e3, 1e12)])
def test_memory_has_ticks_that_are_round_in_their_own_unit(low, high):
    ticks = log_axis("memory", [low, high], "memory").ticks
    assert 3 <= len(ticks) <= 8
    for tick in ticks:
        size = next(size for size, _ in BYTE_UNITS if tick >= 0.9999 * size or size == 1)
        assert float(f"{tick / size:.3g}") == pytest.approx(tick / size) and tick / size < 1000


def test_sizes_that_stand_too_close_are_not_all_written():
    axis = Axis("size", "log", (1, 1000))
    assert size_ticks(axis, [1, 1.01, 10, 1000, 999]) == (1, 10, 999)


def test_limits_leave_room_around_the_values():
    for log in (True, False):
        low, high = widened([2.0, 8.0], log=log)
        assert 1 < low < 2 and 8 < high < 10
        low, high = widened([3.0], log=log)
        assert low < 3 < high


def test_high_accuracies_are_drawn_by_their_errors():
    axis = score_axis("accuracy", [0.7, 0.99, 1.0])
    assert axis.limits[1] < 1 and set(axis.ticks) <= set(NINES) and axis.transform
    assert axis.share(0.999) - axis.share(0.99) == pytest.approx(axis.share(0.99) - axis.share(0.9))
    channel = axis.at("value")
    assert channel["field"] == "value_error" and channel["scale"]["domain"][0] > 0 and channel["scale"]["reverse"]
    assert score_axis("accuracy", [0.2, 0.5]).kind == "linear"


def test_what_overshot_does_not_squeeze_the_rest():
    axis = score_axis("mse", [1e-3, 1.0, 1e90])
    assert axis.limits[1] < 10
    assert axis.named("maml", 1e90) == "maml (off the scale)" and axis.named("maml", 1.0) == "maml"
