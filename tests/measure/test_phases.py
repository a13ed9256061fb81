"""Phases add up, mean what they say, and leave the direction as it is; nothing here asserts a time."""

import itertools

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES
from metabench.measure.marks import Clock, Marks, clock_for, divisible, with_marks
from metabench.measure.phases import PhaseBudget, measure_phases, phase_figures, without_marks
from metabench.record.timing import PHASES
from metabench.sweep.cell_tasks import train_shape
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta, measured_phases
from metabench.tasks.base import TASKS

OURS = [name for name, kind in ALGORITHMS if kind.__module__.startswith("metabench.algorithms.")]
INNER = {"inner forward", "inner backward", "inner update"}
BRIEFLY = PhaseBudget(seconds=0.0, least=2)


def workload_of(**axes):
    """A tiny cell: two tasks, two inner steps."""
    kind = ALGORITHMS.get(axes["algorithm"])
    task = {"task": "sinusoid"} if "regression" in kind.kinds else {"task": "glyphs", "ways": 2, "model": "conv4-16"}
    axes = {**task, "meta_batch": 2, "inner_steps": 2, "query": 1, "shots": 1, "threads": 1, **axes}
    (cell,) = parse_sweep("test", {"grid": [axes]}, "", 1).cells
    return Workload(cell, TASKS.get(cell.task).build(train_shape(cell), None))


def counting():
    """A clock that ticks once at each mark: its times are the numbers of marks."""
    ticks = itertools.count()
    return Clock(lambda _: float(next(ticks)), lambda a, b: b - a, lambda: None)


def moments(marks):
    """The phases in their order, each as often as it was entered."""
    return [phase for phase, _ in itertools.groupby(phase for phase, _ in marks.moments[:-1])]


def marked_once(workload):
    clock = counting()
    marks = Marks(clock.stamp)
    run = workload.repeatable(initial_meta(workload.cell, workload.algorithm), marks)
    run()
    return marks, clock


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("algorithm", OURS)
def test_phases_of_every_algorithm_add_up_to_the_iteration(algorithm, engine):
    workload = workload_of(algorithm=algorithm, engine=engine)
    marks, clock = marked_once(workload)
    seconds = marks.seconds(clock)
    assert all(value >= 0 for value in seconds.values())
    assert sum(seconds.values()) == marks.moments[-1][1] - marks.moments[0][1]
    order = ALGORITHMS.get(algorithm).order
    assert {"average", "optimiser"} <= seconds.keys()
    assert ("query" in seconds) == ALGORITHMS.get(algorithm).query_loss
    assert bool(seconds.keys() & INNER) == (order != "none")
    assert ("implicit solve" in seconds) == (order == "implicit")
    learns = algorithm not in ("reptile", "from-scratch")  # the others' direction is a difference, or nothing
    assert ("outer backward" in seconds) == learns
    assert marks.frames[0].phase == "optimiser" and len(marks.frames) == 1


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("algorithm", OURS)
def test_watched_algorithms_give_the_same_direction(algorithm, engine):
    workload = workload_of(algorithm=algorithm, engine=engine)
    meta = initial_meta(workload.cell, workload.algorithm)
    episodes = workload.sampler(next(iter(meta.values())))()
    marks = Marks(counting().stamp)
    marks.begin("average")
    build = ENGINES.get(engine).build
    ours, loss = build(with_marks(workload.stage(1.0), marks))(meta, episodes)
    theirs, their_loss = build(workload.stage(1.0))(meta, episodes)
    assert relative_error(ours, theirs) < 1e-5
    assert relative_error(loss, their_loss) < 1e-5


INNER_STEP = ["inner forward", "inner backward", "inner update"]


@pytest.mark.parametrize(
    ("algorithm", "engine", "expected"),
    [
        ("maml", "vmap", [*INNER_STEP * 2, "query", "outer backward"]),
        ("fomaml", "vmap", [*INNER_STEP * 2, "query", "outer backward"]),
        ("reptile", "vmap", INNER_STEP * 2),
        ("prototypical", "vmap", ["query", "outer backward"]),
        ("maml", "loop", [*INNER_STEP * 2, "query", "outer backward"]),
    ],
)
def test_phases_come_in_the_order_of_the_algorithm(algorithm, engine, expected):
    marks, _ = marked_once(workload_of(algorithm=algorithm, engine=engine))
    seen = moments(marks)
    assert seen[0] == "average" and seen[-1] == "optimiser"
    tasks = [
        list(part) for is_pause, part in itertools.groupby(seen[:-1], lambda phase: phase == "average") if not is_pause
    ]
    assert tasks == [expected] * (2 if engine == "loop" else 1)


def test_what_checkpointing_computes_again_is_outer_backward():
    plain, _ = marked_once(workload_of(algorithm="maml", engine="loop", meta_batch=1))
    again, _ = marked_once(workload_of(algorithm="maml", engine="loop", meta_batch=1, checkpoint=True))
    assert "outer backward" in moments(plain)
    assert moments(again) == moments(plain)


def test_what_runs_as_one_piece_says_so():
    assert sorted(name for name, engine in ENGINES if divisible(engine)) == ["loop", "vmap"]
    marks = Marks(counting().stamp)
    marks.begin("average")
    marks.turn("optimiser")
    marks.end()
    assert marks.seconds(counting()) == {"directions": 1.0, "optimiser": 1.0}


def test_the_figures_are_those_of_the_middle_fifth_of_the_iterations_and_add_up():
    found = [{"query": float(i), "average": 1.0, "sampling": 5.0} for i in range(7)] + [{"query": 1e6, "average": 1.0}]
    figures = phase_figures(found[::-1])
    assert list(figures) == ["sampling", "query", "average"]
    assert figures["query"].value == (3 + 4) / 2
    assert figures["average"].value == figures["average"].low == figures["average"].high == 1.0
    assert figures["query"].low < 3.5 < figures["query"].high
    assert figures["query"].n == 8


def test_what_marks_cost_is_taken_off_where_they_are():
    found = [{"query": 6.0, "average": 4.0, "sampling": 5.0}] * 3
    counts = {"query": 9, "average": 1}
    (less, *_) = without_marks(found, counts, [1.25, 1.25, 9.0])  # of ten seconds two are of marks
    assert less == pytest.approx({"query": 6 - 1.8, "average": 4 - 0.2, "sampling": 5.0})
    assert without_marks(found, counts, [0.9, 0.9, 9.0]) == found
    assert without_marks([{"query": 0.1, "average": 9.9}], counts, [2.0])[0]["query"] == 0.0


def test_iterations_with_and_without_marks_alternate():
    """A clock by hand: 3 s without marks, 1 s and 2 s in phases, half a second of sampling."""
    now, order = [0.0], []

    def passing(seconds, name):
        now[0] += seconds
        order.append(name)

    clock = Clock(lambda _: now[0], lambda a, b: b - a, lambda: None)
    marks = Marks(clock.stamp)

    def marked():
        marks.begin("average")
        passing(1.0, "marked")
        marks.turn("optimiser")
        passing(2.0, "")
        marks.end()

    found = measure_phases(
        lambda: passing(3.0, "plain"), marked, lambda: passing(0.5, "sample"), marks, clock, PhaseBudget(0.0, 4)
    )
    calls = [name for name in order if name][2:]
    assert calls == ["sample", "plain", "marked", "sample", "marked", "plain"] * 2
    assert {phase: figure.value for phase, figure in found.seconds.items()} == {
        "sampling": 0.5,
        "directions": 1.0,
        "optimiser": 2.0,
    }
    assert (found.step.median, found.total, found.deviation, found.ratio.median) == (3.0, 3.0, 0.0, 1.0)


def test_a_cell_has_phases_by_the_processors_clock():
    workload = workload_of(algorithm="maml", engine="vmap")
    found = measured_phases(workload, initial_meta(workload.cell, workload.algorithm), BRIEFLY)
    assert list(found.seconds) == [phase for phase in PHASES if phase in found.seconds]
    assert {"sampling", "query", "optimiser", *INNER} <= found.seconds.keys()
    assert all(figure.value >= 0 for figure in found.seconds.values()) and found.total > 0


def test_on_cuda_events_are_recorded_and_waited_for_once(monkeypatch):
    recorded = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = 10.0 * len(recorded)
            recorded.append(self)

        def elapsed_time(self, other):
            return other.at - self.at  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = clock_for(torch.device("cuda"))
    assert clock.wait is torch.cuda.synchronize
    marks = Marks(clock.stamp)
    marks.begin("query")
    marks.turn("optimiser")
    marks.end()
    assert marks.seconds(clock) == {"query": 0.01, "optimiser": 0.01}
