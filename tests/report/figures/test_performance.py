"""What the figure of profiles shows is what the profiles say."""

import pytest

from metabench.report.figures.performance import MOST_LINES
from metabench.report.results import read_run
from metabench.report.sections.performance import Curve, Profile, profiles


def profile_of(count):
    curves = [
        Curve(f"maml, technique {i}", ({0: 1.0 + i / 10, 1: 3.0}, {0: 2.0, 1: float("inf")})) for i in range(count)
    ]
    cells = {curve.name: ("a",) for curve in curves}
    return Profile("algorithm", "time to target", "seed", 10.0, ("a", "b"), tuple(curves), (), cells)


def test_what_is_drawn_is_the_profile(synthetic, figure_of):
    run = read_run(synthetic)
    figure, found = figure_of(run, "performance"), profiles(run)
    assert len(figure.groups[0].panels) == len(found) > 0
    for panel, profile in zip(figure.groups[0].panels, found, strict=True):
        x = panel.layers[0]["encoding"]["x"]["scale"]
        assert x["type"] == "log" and x["domain"] == [1, profile.most]
        assert panel.layers[0]["mark"]["interpolate"] == "step-after"
        for curve in profile.curves:
            own = panel.rows[panel.rows.name == curve.name]
            assert [curve.within(factor) for factor in own.factor] == list(own.share)
            assert own.factor.iloc[-1] == profile.most


def test_lines_of_the_same_height_do_not_cover_each_other(synthetic, figure_of, monkeypatch):
    monkeypatch.setattr("metabench.report.figures.performance.profiles", lambda rows: [profile_of(5)])
    (panel,) = figure_of(read_run(synthetic), "performance").groups[0].panels
    last = panel.rows.groupby("name", sort=False).last()
    assert set(last.share) == {0.75} and last.drawn_at.nunique() == 5
    assert last.drawn_at.to_numpy() == pytest.approx(last.share, abs=0.05)


@pytest.mark.parametrize("count", [8, 12])
def test_many_lines_are_cut_to_the_best_and_it_is_said(synthetic, figure_of, monkeypatch, count):
    monkeypatch.setattr("metabench.report.figures.performance.profiles", lambda rows: [profile_of(count)])
    (panel,) = figure_of(read_run(synthetic), "performance").groups[0].panels
    assert panel.rows.name.nunique() == MOST_LINES
    assert ("the 8 best of 12" in panel.note) == (count == 12)


def test_a_run_without_settings_has_no_figure(run_of, row, figure_of):
    assert figure_of(read_run(run_of([row()])), "performance") is None
