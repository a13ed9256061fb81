"""One step in one process: its memory to the byte, its parts, its marks."""

import time
from threading import Thread

import pytest
import torch

from metabench.errors import Unsupported
from metabench.measure.marks import SAMPLING
from metabench.profile.trace import Operator, Span, Trace
from metabench.timing import measuring, phase
from metabench.timing.measuring import REST, Effort, measure_step, parts
from metabench.timing.record import run_of
from metabench.timing.result import StepResult
from metabench.timing.words import doubts
from timed_steps import timings

EFFORT = Effort(torch.device("cpu"), 0.02)
NET = torch.nn.Linear(8, 8)
OPTIMIZER = torch.optim.SGD(NET.parameters())


@pytest.fixture(autouse=True)
def few_recorded_calls(monkeypatch):
    monkeypatch.setattr(measuring, "RECORDED", 2)


def trained():
    OPTIMIZER.zero_grad()
    NET(torch.ones(4, 8)).sum().backward()
    OPTIMIZER.step()


def measured(step, effort=EFFORT):
    found = {"step": "step", "round": 0, "status": "ok"}
    measure_step(effort, step, found.update)
    return run_of(found)


def test_the_peak_of_live_tensors_is_exact():
    assert measured(lambda: torch.ones(1 << 18)).memory.tracked_bytes == 1 << 20


def test_a_call_takes_at_least_as_long_as_it_sleeps():
    run = measured(lambda: time.sleep(0.002), Effort(torch.device("cpu"), 0.05, whole=False))
    assert run.time.call.median >= 0.002 and run.first_call_s >= 0.002
    assert run.memory is None and run.recorded is None


def test_a_training_step_has_a_backward_pass_and_an_optimizer():
    run = measured(trained)
    assert list(run.recorded.parts) == ["backward passes", "optimizer", "other operators", "outside of operators"]
    assert sum(run.recorded.parts.values()) == pytest.approx(min(run.recorded.call.samples))
    assert {each.name for each in run.recorded.operators} >= {"aten::addmm", "aten::mm"}
    assert run.recorded.leaf_calls > 10


def test_what_a_step_does_not_have_is_not_shown():
    run = measured(lambda: torch.ones(2) + 1)
    assert list(run.recorded.parts) == ["other operators", "outside of operators"]
    assert run.marked is None and run.launches is None


def test_a_step_that_starts_the_profiler_itself_is_timed_and_the_rest_left_out():
    def step():
        with torch.profiler.profile():
            NET(torch.ones(4, 8))

    found = measured(step)
    assert found.time.call.n and found.memory.resident_bytes is not None and found.recorded is None
    (doubt,) = (said for said in doubts(timings(StepResult("step", "step", (found,)))) if "memory" in said)
    assert doubt.startswith("step: the memory of its tensors is unavailable (the step starts torch's profiler itself")


def test_marked_parts_are_told_apart_and_the_rest_is_called_so():
    def step():
        with phase("outer"):
            time.sleep(0.001)
            with phase("inner"):
                time.sleep(0.003)

    run = measured(step, Effort(torch.device("cpu"), 0.1))
    assert set(run.marked.seconds) == {"outer", "inner", REST} and SAMPLING not in run.marked.seconds
    assert run.marked.seconds["inner"].value > run.marked.seconds["outer"].value > 0.0005


def test_a_mark_does_nothing_where_nothing_is_measured():
    with phase("inner") as mark:
        assert mark.watch is None


def test_marks_end_where_a_step_raises():
    def step():
        with phase("inner"):
            raise ValueError

    with pytest.raises(ValueError):
        measured(step)
    with phase("inner") as mark:
        assert mark.watch is None


def test_marks_of_other_threads_do_nothing_and_a_name_must_be_one():
    def part():
        with phase("theirs"):
            torch.ones(2)

    def step():
        with phase("mine"):
            thread = Thread(target=part)
            thread.start()
            thread.join()

    run = measured(step, Effort(torch.device("cpu"), 0.1))
    assert set(run.marked.seconds) == {"mine", REST} and run.recorded is not None
    with pytest.raises(TypeError, match="phase takes the name of a part, and not 3"):
        phase(3)


def test_what_a_set_up_returns_is_timed():
    calls = []

    def make():
        calls.append("made")
        return lambda: calls.append("called")

    run = measured(make, Effort(torch.device("cpu"), 0.01, whole=False))
    assert run.made and run.set_up_s is not None
    assert calls.count("made") == 1 and calls.count("called") > run.time.call.n


def test_a_step_that_takes_longer_than_its_seconds_is_called_few_times():
    calls = []

    def step():
        calls.append(1)
        time.sleep(0.03)

    run = measured(step, Effort(torch.device("cpu"), 0.003))
    # once at first, to find the block, for a sample, and twice for memory: nothing is recorded
    assert len(calls) <= 6 and run.time.call.n >= 1 and run.recorded is None and run.memory is not None


def test_a_step_that_uses_a_gpu_is_not_timed_by_the_processors_clock(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 512)
    with pytest.raises(Unsupported, match="use device cuda"):
        measured(lambda: None)


def test_parts_divide_a_call_without_counting_anything_twice():
    def operator(name, start, seconds):
        return Operator(Span(name, start, seconds), (REST, name), seconds, True)

    backward = "autograd::engine::evaluate_function: MmBackward0"
    operators = (
        operator("aten::mm", 0, 1),
        operator(backward, 2, 3),
        operator("aten::mm", 3, 1),
        operator("aten::add", 6, 1),
    )
    found = parts(Trace((Span(REST, 0, 10),), operators, (), (), (Span("Optimizer.step#SGD.step", 5.5, 2),)))
    assert found == {"backward passes": 3, "optimizer": 2, "other operators": 1, "outside of operators": 4}
