"""What the picture of profiles shows is what the profiles say."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from metabench.report.figures.performance import MOST_LINES, draw_performance, panel_of, performance_picture
from metabench.report.figures.style import engine_colour
from metabench.report.results import read_run
from metabench.report.sections.performance import Curve, Profile, profiles


def profile_of(count, name="algorithm-of-some-length-{}"):
    curves = [Curve(name.format(i), {0: (1.0 + i / 10, 2.0), 1: (3.0, float("inf"))}) for i in range(count)]
    cells = {curve.name: ("a",) for curve in curves}
    return Profile("algorithm", "time to target", "seed", 10.0, ("a", "b"), tuple(curves), (), cells)


def test_what_is_drawn_is_the_profile(synthetic):
    run = read_run(synthetic)
    picture, found = performance_picture(run), profiles(run.measurements)
    figure = picture.draw()
    assert len(figure.get_axes()) == len(found) > 0
    for axes, profile in zip(figure.get_axes(), found, strict=True):
        assert axes.get_xscale() == "log" and axes.get_xlim() == (1, profile.most)
        for line, curve in zip(axes.lines, profile.curves, strict=True):
            assert line.get_drawstyle() == "steps-post"
            assert [curve.within(factor) for factor in line.get_xdata()] == list(line.get_ydata())
            assert line.get_xdata()[-1] == profile.most
            if profile.kind == "engine":
                assert to_hex(line.get_color()) == engine_colour(curve.name)
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == [f"{c.name} ({c.area(profile.most).value:.2f})" for c in profile.curves]
    ids = {row["id"] for row in run.measurements}
    assert set(" ".join(picture.data["cells"]).split()) <= ids


def test_many_lines_are_cut_to_the_best_and_it_is_said():
    panel = panel_of(profile_of(12))
    assert len(panel.steps) == MOST_LINES and "the 8 best of 12" in panel.title
    assert "best of" not in panel_of(profile_of(8)).title


def test_no_text_is_cut_off_or_covers_another():
    figure = draw_performance([panel_of(profile_of(8)), panel_of(profile_of(2))], "a machine")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [*figure.texts]
    for axes in figure.get_axes():
        texts += [axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.get_legend().get_texts()]
        low, high = axes.get_xlim()
        texts += [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts if text.get_text()}
    assert len(boxes) > 15
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for text, other in combinations(boxes, 2):
        assert not boxes[text].overlaps(boxes[other]), (text, other)


@pytest.mark.parametrize("name", ["_{}", "a$b{}$"])
def test_a_name_is_shown_as_written(name):
    figure = draw_performance([panel_of(profile_of(2, name))], "$")
    FigureCanvasAgg(figure).draw()
    assert len(figure.get_axes()[0].get_legend().get_texts()) == 2


def test_a_run_without_settings_has_no_picture(run_of, row):
    assert performance_picture(read_run(run_of([row()]))) is None
