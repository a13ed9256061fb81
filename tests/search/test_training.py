"""One trial: proved before it is trained, as long as its time allows, judged on validation tasks alone."""

import time

import pytest
import torch
from msgspec.structs import replace

from metabench.engines.base import ENGINES
from metabench.errors import Diverged, Incorrect, Unsupported
from metabench.search import readiness, training
from metabench.search.readiness import ready
from metabench.search.settings import settings_for
from metabench.search.training import Pruned, iterations_for, run_trial
from metabench.sweep.judging import Judge
from metabench.sweep.proving import configured
from metabench.tasks.sinusoid import Sinusoid

GIVEN = {"task": "sinusoid", "model": "mlp-40x2", "inner_steps": 1, "query": 5, "meta_batch": 2}


def asked(**rest):
    axes = GIVEN | rest.pop("axes", {})
    return settings_for("maml", axes, None, {}, validation_tasks=3, curve_points=2, **rest)


@pytest.fixture
def quick(monkeypatch):
    """Timings that take no time: their figures are not looked at."""
    monkeypatch.setattr(readiness, "TIMING_S", 0.1)


class Never:
    """A pruning that ends a trial at a point of its curve, or at none."""

    def __init__(self, at=0):
        self.at, self.seen = at, []

    def ends(self, step, value):
        self.seen.append(step)
        return step == self.at


def trial(settings, pruning=None):
    """What a trial records, and what ended it."""
    record, cell = {}, settings.cell(settings.sampler.next([], settings.first))
    with configured(cell):
        try:
            run_trial(cell, settings.asked, pruning or Never(), None, record.update)
        except Exception as error:
            return record, error
    return record, None


def test_test_classes_are_never_drawn(quick, monkeypatch):
    drawn = set()
    draw = Sinusoid.draw

    def watched(self, split, *rest):
        drawn.add(split)
        return draw(self, split, *rest)

    monkeypatch.setattr(Sinusoid, "draw", watched)
    record, error = trial(asked(engine="loop", axes={"iterations": 2}))
    assert error is None and record["score"].n == 3
    assert drawn == {"train", "validation"}


def test_a_trial_that_is_ended_keeps_its_curve_and_has_no_score(quick):
    record, error = trial(asked(engine="loop", axes={"iterations": 4}), Never(at=1))
    assert isinstance(error, Pruned) and "after 2 iterations is worse than the median" in str(error)
    assert [point.iteration for point in record["curve"]] == [0, 2] and "score" not in record
    assert record["train_s"] == record["curve"][-1].seconds > 0


def test_a_score_that_is_not_finite_fails_a_trial(quick, monkeypatch):
    """Whatever earlier trials scored: there may be none."""
    scores = iter([0.5, float("nan")])
    monkeypatch.setattr(Judge, "scores", lambda *_: torch.tensor([[next(scores)]]).double())
    pruning = Never()
    record, error = trial(asked(engine="loop", axes={"iterations": 4}), pruning)
    assert isinstance(error, Diverged) and str(error) == "its score after 2 iterations is not finite"
    assert [point.value for point in record["curve"]] == [0.5, None] and not pruning.seen


def test_a_training_is_not_ended_at_its_beginning_or_its_end(quick):
    pruning = Never()
    trial(asked(engine="loop", axes={"iterations": 4}), pruning)
    assert pruning.seen == [1]


def test_nothing_is_trained_that_is_not_proved_right(quick, monkeypatch):
    def wrong(algorithm):
        step = ENGINES.get("loop").build(algorithm)

        def twice(meta, episodes):
            direction, metrics = step(meta, episodes)
            return {name: 2 * d for name, d in direction.items()}, metrics

        return twice

    trained = []
    monkeypatch.setattr(training, "train", lambda *rest: trained.append(rest))
    monkeypatch.setitem(ENGINES._entries, "wrong", ENGINES.get("loop").__class__("doubles every direction", wrong))
    record, error = trial(asked(engine="wrong"))
    assert isinstance(error, Incorrect) and not trained and record["phase"] == "set-up"


def test_the_iterations_are_those_that_fit_the_time(quick):
    settings = asked(seconds=10.0)
    cell = settings.start
    assert iterations_for(cell, settings.asked, 0.01) == 900
    assert iterations_for(cell, settings.asked, 0.0071) == 1200
    with pytest.raises(Unsupported, match="a training of 10 s has none"):
        iterations_for(cell, settings.asked, 20.0)
    fixed = asked(axes={"iterations": 7})
    assert iterations_for(fixed.start, fixed.asked, 20.0) == 7


def test_other_programs_do_not_shorten_a_training_on_one_thread(quick):
    """A call that sleeps takes no processor time."""

    def waiting():
        time.sleep(0.02)

    one = asked().start
    alone = readiness.pace(waiting, lambda: None, one)
    assert alone.seconds < 0.01 < 0.02 <= alone.wall_s and alone.processor_share < 0.5
    several = readiness.pace(waiting, lambda: None, replace(one, threads=2))
    assert several.seconds == several.wall_s >= 0.02, "threads that wait for each other are slow by themselves"


def test_a_timed_trial_trains_for_about_its_time(quick):
    record, error = trial(asked(seconds=0.5, engine="loop"))
    assert error is None
    iterations = record["cell"]["iterations"]
    assert iterations * record["iteration_s"] <= 0.45 < 1.2 * (iterations + 1) * record["iteration_s"]
    assert record["curve"][-1].iteration == iterations


def test_the_engine_is_the_fastest_of_the_first_group_that_carries_it(quick, monkeypatch):
    monkeypatch.setattr(readiness, "CHOICES", {"cpu": (("no-such", "vmap"), ("loop",))})
    tried = []
    on = readiness._ready_on

    def watched(engine, cell, data_dir):
        tried.append(engine)
        if engine == "no-such":
            raise Unsupported("it is not there")
        return on(engine, cell, data_dir)

    monkeypatch.setattr(readiness, "_ready_on", watched)
    cell = asked().start
    with configured(cell):
        assert ready(cell, "", None).engine == "vmap" and tried == ["no-such", "vmap"]
        monkeypatch.setattr(readiness, "CHOICES", {"cpu": (("no-such",), ("vmap", "loop"))})
        found = {name: on(name, cell, None) for name in ("vmap", "loop")}
        monkeypatch.setattr(readiness, "_ready_on", lambda engine, *_: found.get(engine) or watched(engine, *_))
        assert ready(cell, "", None) is min(found.values(), key=lambda one: one.pace.seconds)
        monkeypatch.setattr(readiness, "CHOICES", {"cpu": (("no-such",),)})
        with pytest.raises(Unsupported, match="it is not there"):
            ready(cell, "", None)
