"""What the figure of fits shows is what was recorded."""

import copy

import numpy as np
import pytest

from drawn import check_texts
from metabench.record.reading import measurement_of
from metabench.report.results import read_run
from places import EPYC

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


def test_predictions_are_drawn_by_how_many_steps_were_taken(fitted, figure_of):
    figure = figure_of(fitted, "fits")
    panels = figure.groups[0].panels
    assert [panel.title for panel in panels[::2]] == ["maml, task 1", "reptile, task 1", "anil, task 1"]
    assert [panel.note.partition("after ")[2] for panel in panels[::2]] == ["10 steps", "no step", "1 step"]
    for panel in panels:
        lines = {layer["transform"][0]["filter"]: layer["mark"] for layer in panel.layers}
        steps = sorted(int(name.split()[1]) for name in panel.rows.curve if name.startswith("after"))
        dashes = {step: lines[f"datum.curve == 'after {step}'"]["strokeDash"] for step in steps}
        assert dashes[steps[-1]] == [1, 0] and len({tuple(dash) for dash in dashes.values()}) == len(dashes)
        assert len({lines[f"datum.curve == 'after {step}'"]["color"] for step in steps}) == 1
    assert {"maml, task 1", "solid: after 10 steps"} <= set(check_texts(figure))


def test_all_tasks_and_algorithms_have_the_same_limits(fitted, figure_of):
    panels = figure_of(fitted, "fits").groups[0].panels
    domains = [panel.layers[0]["encoding"]["y"]["scale"]["domain"] for panel in panels]
    assert len(domains) == 6 and domains.count(domains[0]) == 6


def test_all_points_are_in_the_csv(fitted, figure_of):
    maml = figure_of(fitted, "fits").frame.query("name == 'maml' and task == 2")
    counts = {"true": 11, "after 0": 11, "after 1": 11, "after 10": 11, "support": 2}
    assert maml.curve.value_counts().to_dict() == counts
    assert maml.query("curve == 'after 10'").y.to_numpy() == pytest.approx(20 * np.sin(X))


def test_older_runs_have_no_such_figure(run_of, row, figure_of):
    assert figure_of(read_run(run_of([row()])), "fits") is None
    assert figure_of(read_run(EPYC / "sinusoid"), "fits") is None


def test_curves_whose_points_do_not_agree_are_no_measurement(row):
    made = copy.deepcopy(row(algorithm="maml"))
    made["quality"]["fits"] = {"x": X.tolist(), "tasks": [task(1.0, (0, 1)), task(2.0, (0, 1))]}
    assert measurement_of(made).quality.fits
    made["quality"]["fits"]["tasks"][1]["predictions"][0]["y"].pop()
    with pytest.raises(ValueError, match="not as many x as y"):
        measurement_of(made)
