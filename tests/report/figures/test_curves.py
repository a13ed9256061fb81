"""What the figures of training, of adaptation and of the Pareto front show is what the run says."""

from statistics import geometric_mean

import pytest

from metabench.report.axes import JUDGED
from metabench.report.bundles import bundles, training_key
from metabench.report.figures.pareto import STEP, TRAINING
from metabench.report.frames import curves_frame, to_frame
from metabench.report.results import read_run
from metabench.report.scores import quality
from places import EPYC, RESULTS
from runs import run as made_run

QUALITY = ("training", "adaptation", "pareto")


@pytest.fixture(scope="module")
def runs():
    return {name: read_run(EPYC / name) for name in ("default", "algorithms-conv4-32", "sinusoid")}


def test_training_is_the_mean_over_seeds_with_the_lowest_and_the_highest(runs, figure_of):
    run = runs["default"]
    frame = curves_frame(run).query("task == 'sinusoid' and algorithm == 'maml' and iteration > 0")
    every = figure_of(run, "training").frame.query("name == 'maml' and setting.str.startswith('sinusoid')")
    shown, dots = every[every.seed.isna()], every[every.seed.notna()]
    by = frame.groupby("iteration")
    assert list(shown.value) == pytest.approx(by.value.apply(geometric_mean))
    assert list(shown.seconds) == pytest.approx(by.seconds.median())
    assert list(shown.low) == pytest.approx(by.value.min()) and list(shown.high) == pytest.approx(by.value.max())
    assert set(shown.cells.iloc[0].split()) == set(frame.id)
    seen = zip(*(frame.sort_values(["seed", "iteration"])[name] for name in ("seed", "seconds", "value")), strict=True)
    assert list(zip(dots.seed, dots.seconds, dots.value, strict=True)) == list(seen)


def test_adaptation_is_the_score_by_step_over_seeds(runs, figure_of):
    run = runs["sinusoid"]
    shown = figure_of(run, "adaptation").frame.query("setting.str.startswith('sinusoid, 10 points')")
    rows = [row for row in run.measurements if row.cell.shots == 10 and row.cell.algorithm == "reptile"]
    (bundle,) = bundles(rows, training_key)
    said = quality(bundle)
    every = shown.query("name == 'reptile'")
    curve, dots = every[every.seed.isna()], every[every.seed.notna()]
    assert dict(zip(curve.step, curve.value, strict=True)) == {
        step: score.value for step, score in said.by_step.items()
    }
    assert list(curve.low) == [score.low for score in said.by_step.values()]
    assert shown.query("name == 'cnp'").level.all() and not curve.level.any()
    assert {(dot.seed, dot.step): dot.value for dot in dots.itertuples()} == {
        (row.cell.seed, point.step): point.value for row in rows for point in row.quality.by_step
    }


def test_seeds_are_seen_as_dots_where_there_are_few(figure_of, row):
    def made(seeds):
        return made_run(row(algorithm=name, seed=seed) for name in ("maml", "anil") for seed in range(seeds))

    for name in QUALITY:
        for seeds, many in ((1, 0), (2, 2), (5, 5), (6, 0)):
            frame = figure_of(made(seeds), name).frame
            assert len(set(frame.seed.dropna())) == many and frame.seed.isna().any()


def test_no_dot_and_no_interval_of_an_error_lies_outside_of_its_axes(figure_of, row):
    """Three seeds of MAML as they were in a run: the arithmetic interval would end below 0."""
    rows = [row(algorithm=name, seed=seed) for name in ("maml", "anil") for seed in range(3)]
    for one, value in zip(rows, (0.538, 0.346, 0.263), strict=False):
        one["quality"] |= {"value": value, "low": value - 0.03, "high": value + 0.03}
    for panel in figure_of(made_run(rows), "pareto").groups[0].panels:
        scale = next(one["encoding"]["y"]["scale"] for one in panel.layers if "scale" in one["encoding"].get("y", {}))
        low, high = scale["domain"]
        assert 0 < low < panel.rows.value.min() and panel.rows.value.max() < high
        assert (panel.rows.low.dropna() > 0).all()


def test_the_front_is_what_nothing_beats(runs, figure_of):
    for run in runs.values():
        for _, panel in figure_of(run, "pareto").frame.groupby(["setting", "cost"]):
            sign = 1 if panel.metric.iloc[0] == "accuracy" else -1
            panel = panel[panel.seed.isna()]
            for mark in panel.itertuples():
                beaten = (panel.seconds < mark.seconds) & (sign * panel.value > sign * mark.value)
                assert mark.front != beaten.any()


def test_costs_are_those_of_the_table(runs, figure_of):
    run = runs["default"]
    frame = to_frame(run).query("task == 'sinusoid' and algorithm == 'anil'")
    every = figure_of(run, "pareto").frame.query("name == 'anil' and setting.str.startswith('sinusoid')")
    shown, dots = every[every.seed.isna()], every[every.seed.notna()]
    assert list(shown.cost) == [STEP, TRAINING]
    step, seconds = shown.itertuples()
    trained = frame.dropna(subset="quality_train_s")
    assert seconds.seconds == trained.quality_train_s.median()
    assert (seconds.seconds_low, seconds.seconds_high) == (trained.quality_train_s.min(), trained.quality_train_s.max())
    assert seconds.value == pytest.approx(geometric_mean(trained.quality_value))
    of_training = dots[dots.cost == TRAINING].sort_values("seed")
    assert list(of_training.seconds) == list(trained.sort_values("seed").quality_train_s)
    assert list(of_training.value) == list(trained.sort_values("seed").quality_value)
    assert step.seconds_low < step.seconds < step.seconds_high


def test_what_has_no_cost_is_named(runs, figure_of):
    frame = figure_of(runs["algorithms-conv4-32"], "pareto").frame
    judged_with_it = frame[~frame.setting.str.contains("batch norm")]
    assert judged_with_it.setting.str.contains("from-scratch: no training").all()
    assert len(judged_with_it) and "from-scratch" not in set(frame.name)


def test_every_training_has_a_name_of_its_own(runs, figure_of, row):
    for run in runs.values():
        frame = figure_of(run, "adaptation").frame
        assert not frame.duplicated(["setting", "name", "step", "seed"]).any()
    rows = [row(algorithm="maml", iterations=number) for number in (100, 2000)]
    assert set(figure_of(made_run(rows), "adaptation").frame.name) == {"maml, 100 iterations", "maml, 2,000 iterations"}


@pytest.mark.parametrize("name", QUALITY)
def test_a_panel_holds_what_was_judged_alike(name, figure_of):
    seen = set()
    papers = RESULTS / "several-machines/papers-omniglot"
    for run in map(read_run, (EPYC / "algorithms", EPYC / "algorithms-conv4-32", papers)):
        judged = {row.id: tuple(row.cell[axis] for axis in JUDGED) for row in run.measurements}
        by_setting = figure_of(run, name).frame.groupby("setting").cells
        ways = [{judged[one] for cells in panel for one in cells.split()} for _, panel in by_setting]
        assert {len(way) for way in ways} == {1}
        seen |= set().union(*ways)
    assert len(seen) > 2


def test_what_failed_is_named(run_of, row, figure_of):
    rows = [row(algorithm="maml", seed=seed) for seed in range(2)]
    rows.append(row(0, "diverged", "the loss is nan", algorithm="fomaml"))
    (group,) = figure_of(read_run(run_of(rows)), "training").groups
    assert [panel.note.endswith("No figure: fomaml (diverged)") for panel in group.panels] == [True]


def test_without_quality_there_is_no_figure(run_of, row, figure_of):
    run = read_run(run_of([row(1), row(0, "oom", "no memory")]))
    assert [figure_of(run, name) for name in QUALITY] == [None, None, None]
    assert figure_of(read_run(run_of([row()], name="one")), "pareto") is None
