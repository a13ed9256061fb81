"""What the picture of fits shows is what was recorded."""

import copy

import numpy as np
import pytest

from metabench.record.reading import measurement_of
from metabench.report.figures.fits import draw_fits, fits_picture, setting_fits
from metabench.report.figures.style import look
from metabench.report.figures.trained import trained_settings
from metabench.report.results import read_run
from places import EPYC

RUNS = EPYC
X = np.linspace(-5, 5, 11)


def task(amplitude, steps):
    predictions = [{"step": step, "y": (amplitude * step * np.sin(X)).tolist()} for step in steps]
    support = {"support_x": [-1.0, 2.0], "support_y": [0.5, -0.5]}
    return {**support, "y": (amplitude * np.sin(X)).tolist(), "predictions": predictions}


@pytest.fixture
def fitted(run_of, row):
    """Three algorithms, one that takes no steps."""
    rows = []
    for name, steps in (("maml", (0, 1, 10)), ("anil", (0, 1)), ("reptile", (0,))):
        made = copy.deepcopy(row(algorithm=name))
        made["quality"]["fits"] = {"x": X.tolist(), "tasks": [task(a, steps) for a in (1.0, 2.0, 3.0)]}
        rows += [made, row(algorithm=name, seed=1)]
    return read_run(run_of(rows))


def fits_of(run):
    return [fit for one in trained_settings(run) for fit in setting_fits(one)]


def test_predictions_are_drawn_by_how_many_steps_were_taken(fitted):
    found = fits_of(fitted)
    assert [fit.title for fit in found if fit.task == 1] == ["maml, 10 steps", "reptile, no steps", "anil, 1 step"]
    figure = draw_fits(found, "a machine")
    drawn = [axes for axes in figure.get_axes() if axes.get_visible()]
    for axes, fit in zip(drawn, found, strict=True):
        true, *predictions, support = axes.lines
        assert tuple(true.get_ydata()) == fit.y
        assert [tuple(line.get_ydata()) for line in predictions] == [y for _, y in fit.predictions]
        assert {line.get_color() for line in predictions} == {look(fit.algorithm).colour}
        styles = {step: line.get_linestyle() for line, (step, _) in zip(predictions, fit.predictions, strict=True)}
        last = max(styles)
        assert styles[last] == "-" and (last == 0 or styles[0] == ":") and styles.get(1, "-") in "--"
        assert tuple(support.get_xdata()) == fit.support[0]


def test_a_task_has_the_same_limits_for_all_algorithms(fitted):
    for number in (1, 2):
        assert len({fit.limits for fit in fits_of(fitted) if fit.task == number}) == 1


def test_all_points_are_in_the_csv(fitted):
    data = fits_picture(fitted).data
    maml = data.query("name == 'maml' and task == 2")
    assert maml.curve.value_counts().to_dict() == {
        "true": 11,
        "after 0": 11,
        "after 1": 11,
        "after 10": 11,
        "support": 2,
    }
    assert maml.query("curve == 'after 10'").y.to_numpy() == pytest.approx(20 * np.sin(X))


def test_older_runs_have_no_such_picture(run_of, row):
    assert fits_picture(read_run(run_of([row()]))) is None
    assert fits_picture(read_run(RUNS / "sinusoid")) is None


def test_curves_whose_points_do_not_agree_are_no_measurement(fitted):
    made = copy.deepcopy(fitted.measurements[0])
    assert measurement_of(made).quality.fits
    made["quality"]["fits"]["tasks"][1]["predictions"][0]["y"].pop()
    with pytest.raises(ValueError, match="not as many x as y"):
        measurement_of(made)


def test_no_text_is_cut_off_or_covers_another(fitted, readable):
    readable(draw_fits(fits_of(fitted), "a machine"), 12)
