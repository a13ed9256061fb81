"""What the picture of growth shows is what the tables say."""

import numpy as np
import pytest

from metabench.report.figures.growth import draw_growth, growth_panels, growth_picture
from metabench.report.figures.style import engine_colour, look
from metabench.report.results import read_run, to_frame
from metabench.report.sections.growth import growing_lines
from places import EPYC

RUNS = EPYC


def test_points_are_the_medians_and_the_line_is_the_law(synthetic, line_of):
    run = read_run(synthetic)
    panel = growth_panels(run)[0]
    assert panel.title.startswith("Time with inner steps: sinusoid, 10 points, mlp-40x2")
    line = next(line for line in panel.lines if line.name == "fomaml loop")
    part = to_frame(run).query("algorithm == 'fomaml' and engine == 'loop' and task == 'sinusoid'")
    medians = np.exp(np.log(part.set_index("inner_steps").step_median_s).groupby("inner_steps").mean())
    assert {size: figure.value for size, figure, _ in line.points} == pytest.approx(medians.to_dict())
    assert line.text.startswith("fomaml loop: K^0.")
    data = growth_picture(run).data.query("name == 'fomaml loop' and measure == 'time' and axis == 'inner_steps'")
    slope = np.polyfit(np.log(data["size"]), np.log(data.law), 1)[0]
    assert slope == pytest.approx(data.exponent.iloc[0]) == pytest.approx(line.law.exponent.value)
    axes = draw_growth([panel], "a machine").get_axes()[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    x, y = line_of(axes, look("fomaml").colour)
    assert np.polyfit(np.log(x), np.log(y), 1)[0] in [
        pytest.approx(one.law.exponent.value) for one in panel.lines if one.name.startswith("fomaml")
    ]


def test_each_line_of_two_sizes_is_drawn(synthetic):
    run = read_run(synthetic)
    lines = sum(len(lines) for _, lines in growing_lines(run.measurements))
    assert sum(len(panel.lines) for panel in growth_panels(run) if panel.measure == "time") == lines


def test_what_ran_out_is_named_at_its_line(synthetic):
    names = [line.name for panel in growth_panels(read_run(synthetic)) for line in panel.lines]
    assert "maml loop (timeout at 10)" in names
    assert "maml (oom at mlp-4096x4)" in names


def test_engines_of_one_algorithm_have_their_own_looks():
    panel = growth_panels(read_run(RUNS / "engines"))[0]
    assert {line.look.colour for line in panel.lines} == {engine_colour(line.name) for line in panel.lines}
    assert len({line.look.marker for line in panel.lines}) == len(panel.lines)


def test_a_technique_has_a_hollow_mark():
    (panel,) = growth_panels(read_run(RUNS / "memory"))
    hollow = {line.name: line.hollow for line in panel.lines}
    assert hollow["maml checkpointed inner loop"] and not hollow["maml"]


def test_one_size_gives_no_picture(run_of, row):
    assert growth_picture(read_run(run_of([row(n) for n in range(3)]))) is None


@pytest.mark.parametrize("name", ["default", "engines", "memory"])
def test_no_text_is_cut_off_or_covers_another(name, readable):
    readable(draw_growth(growth_panels(read_run(RUNS / name)), "a machine"), 15)
