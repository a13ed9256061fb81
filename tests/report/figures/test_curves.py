"""What the pictures of training, of adaptation and of the Pareto front show is what the run says."""

import numpy as np
import pytest

from metabench.report.bundles import bundles, quality, training_key
from metabench.report.figures.adaptation import adaptation_curves, adaptation_picture, draw_adaptation
from metabench.report.figures.curves import NINES, quality_axis
from metabench.report.figures.pareto import STEP, TRAINING, draw_pareto, pareto_panels, pareto_picture
from metabench.report.figures.style import look
from metabench.report.figures.training import draw_training, training_curves, training_picture
from metabench.report.results import curves_frame, read_run, to_frame
from places import EPYC

RUNS = EPYC
PICTURES = {"training": training_picture, "adaptation": adaptation_picture, "pareto": pareto_picture}


@pytest.fixture(scope="module")
def runs():
    return {name: read_run(RUNS / name) for name in ("default", "algorithms", "sinusoid")}


def test_training_is_the_mean_over_seeds_with_the_lowest_and_the_highest(runs, line_of):
    run = runs["default"]
    frame = curves_frame(run).query("task == 'sinusoid' and algorithm == 'maml' and iteration > 0")
    (panel,) = [one for one in training_curves(run) if one.title.startswith("sinusoid")]
    curve = next(line for line in panel.lines if line.name == "maml")
    by = frame.groupby("iteration")
    assert curve.y == pytest.approx(by.value.mean()) and curve.x == pytest.approx(by.seconds.median())
    assert curve.low == pytest.approx(by.value.min()) and curve.high == pytest.approx(by.value.max())
    assert set(curve.cells.split()) == set(frame.id)
    axes = draw_training([panel], "a machine").get_axes()[0]
    x, y = line_of(axes, look("maml").colour)
    assert tuple(x) == curve.x and tuple(y) == curve.y


def test_adaptation_is_the_score_by_step_over_seeds(runs, line_of):
    run = runs["sinusoid"]
    panel = next(one for one in adaptation_curves(run) if one.title.startswith("sinusoid, 10 points"))
    found = {line.name: line for line in panel.lines}
    rows = [row for row in run.measurements if row["cell"]["shots"] == 10 and row["cell"]["algorithm"] == "reptile"]
    (bundle,) = bundles(rows, training_key)
    said = quality(bundle)
    curve = found["reptile"]
    assert dict(zip(curve.x, curve.y, strict=True)) == {step: score.value for step, score in said.by_step.items()}
    assert curve.low == tuple(score.low for score in said.by_step.values())
    assert found["cnp"].level and not curve.level
    axes = draw_adaptation([panel], "a machine").get_axes()[0]
    x, y = line_of(axes, look("reptile").colour)
    assert tuple(x) == curve.x and tuple(y) == curve.y


def test_the_front_is_what_nothing_beats(runs):
    for run in runs.values():
        for panel in pareto_panels(run):
            sign = 1 if panel.metric == "accuracy" else -1
            for mark in panel.marks:
                beaten = any(
                    other.cost.value < mark.cost.value and sign * other.score.value > sign * mark.score.value
                    for other in panel.marks
                )
                assert mark.front != beaten


def test_costs_are_those_of_the_table(runs):
    run = runs["default"]
    frame = to_frame(run).query("task == 'sinusoid' and algorithm == 'anil'")
    found = [panel for panel in pareto_panels(run) if panel.title.startswith("sinusoid")]
    assert [panel.along for panel in found] == [TRAINING, STEP]
    seconds, step = (next(mark for mark in panel.marks if mark.name == "anil") for panel in found)
    trained = frame.dropna(subset="quality_train_s")
    assert seconds.cost.value == trained.quality_train_s.median()
    assert (seconds.cost.low, seconds.cost.high) == (trained.quality_train_s.min(), trained.quality_train_s.max())
    assert seconds.score.value == pytest.approx(trained.quality_value.mean())
    assert step.cost.low < step.cost.value < step.cost.high


def test_what_has_no_cost_is_named(runs):
    for panel in pareto_panels(runs["algorithms"]):
        assert "from-scratch: no training" in panel.title
        assert all(mark.name != "from-scratch" for mark in panel.marks)


def test_every_training_has_a_name_of_its_own(runs):
    for run in runs.values():
        for panel in training_curves(run) + adaptation_curves(run):
            names = [line.name for line in panel.lines]
            assert len(set(names)) == len(names)
    names = [line.name for panel in adaptation_curves(runs["algorithms"]) for line in panel.lines]
    assert "maml, batch norm running" in names and "maml" in names


def test_what_failed_is_named(run_of, row):
    rows = [row(algorithm="maml", seed=seed) for seed in range(2)]
    rows.append(row(0, "diverged", "the loss is nan", algorithm="fomaml"))
    (panel,) = training_curves(read_run(run_of(rows)))
    assert panel.title.endswith("No figure: fomaml (diverged)")


def test_without_quality_there_is_no_picture(run_of, row):
    run = read_run(run_of([row(1), row(0, "oom", "no memory")]))
    assert [make(run) for make in PICTURES.values()] == [None, None, None]
    assert pareto_picture(read_run(run_of([row()], name="one"))) is None


@pytest.mark.parametrize("name", PICTURES)
def test_the_csv_names_what_is_behind_each_point(runs, name):
    for run in runs.values():
        data = PICTURES[name](run).data
        ids = set(to_frame(run).id)
        assert len(data) and all(set(cells.split()) <= ids and cells for cells in data.cells)


@pytest.mark.parametrize("name", ["default", "algorithms", "sinusoid"])
def test_no_text_is_cut_off_or_covers_another(runs, name, readable):
    run = runs[name]
    readable(draw_training(training_curves(run), "a machine"), 20)
    readable(draw_adaptation(adaptation_curves(run), "a machine"), 20)
    readable(draw_pareto(pareto_panels(run), "a machine"), 20)


def test_high_accuracies_are_drawn_by_their_errors():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    limits = quality_axis(axes, "accuracy", [0.7, 0.99, 1.0])
    assert limits[1] < 1
    place = axes.transScale.transform(np.column_stack([np.zeros(3), [0.9, 0.99, 0.999]]))[:, 1]
    assert place[2] - place[1] == pytest.approx(place[1] - place[0])
    assert set(axes.get_yticks()) <= set(NINES)
    axes = Figure().subplots()
    assert quality_axis(axes, "mse", [1e-3, 1.0, 1e90])[1] < 10  # what overshot does not squeeze the rest
