"""The clock is tested on a simulated one: calls advance it by recorded durations, nothing is really timed."""

import gc
from contextlib import nullcontext
from itertools import chain, cycle, repeat

import numpy as np
import pytest
import torch

from metabench.machine.load import Look
from metabench.measure import clock
from metabench.measure.clock import Budget, measure_time, time_once
from recorded import LAWS, RUNS, TARGET, recorded, recorded_once

CPU = torch.device("cpu")


class SimulatedTime:
    """A clock that only calls advance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, durations) -> None:
        self.now = 1000.0
        self.calls = 0
        self.durations = iter(durations)
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(clock.time, "perf_counter_ns", lambda: round(self.now * 1e9))

    def call(self) -> None:
        self.calls += 1
        self.now += next(self.durations)


def test_a_steady_call_is_known_after_the_fewest_samples(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([0.1]))
    timing = measure_time(world.call, CPU, Budget(seconds=60))
    assert timing.summary.median == pytest.approx(0.1)
    assert timing.summary.n == 20
    assert timing.summary.block == 1
    assert not timing.noisy and timing.note == ""


def test_short_calls_are_timed_in_blocks_of_ten_milliseconds(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([1e-4]))
    timing = measure_time(world.call, CPU, Budget(seconds=5))
    assert timing.summary.median == pytest.approx(1e-4, rel=1e-4)
    assert 90 <= timing.summary.block <= 110


@pytest.mark.parametrize("slow", [0, 3])
def test_a_call_that_is_slow_by_chance_while_the_block_is_chosen_makes_no_short_one(monkeypatch, slow):
    world = SimulatedTime(monkeypatch, chain([1e-4] * slow, [0.012], repeat(1e-4)))
    timing = measure_time(world.call, CPU, Budget(seconds=5))
    assert 50 <= timing.summary.block <= 200
    assert timing.summary.median == pytest.approx(1e-4, rel=1e-3)


def test_the_first_call_stands_apart(monkeypatch):
    world = SimulatedTime(monkeypatch, iter([7.0, *[0.05] * 100_000]))
    assert time_once(world.call, CPU) == pytest.approx(7.0)
    timing = measure_time(world.call, CPU, Budget(seconds=10))
    assert timing.summary.median == pytest.approx(0.05)


def test_warm_up_outlasts_a_slow_start(monkeypatch):
    slow_start = [0.1 * 0.8**i + 0.02 for i in range(25)]
    world = SimulatedTime(monkeypatch, iter([*slow_start, *[0.02] * 100_000]))
    timing = measure_time(world.call, CPU, Budget(seconds=40))
    assert max(timing.summary.samples) < 0.025
    assert timing.summary.median == pytest.approx(0.02, rel=0.01)


def test_a_noisy_call_uses_the_budget_and_says_so(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([0.02, 0.09, 0.05, 0.14, 0.03]))
    start = world.now
    timing = measure_time(world.call, CPU, Budget(seconds=3))
    assert timing.noisy
    assert "close other programs" in timing.note
    assert 3 < world.now - start < 5


def test_a_very_slow_call_is_waited_for_until_it_has_an_interval(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([2.9]))
    timing = measure_time(world.call, CPU, Budget(seconds=2))
    assert timing.summary.n == 6 and not timing.noisy


def test_a_call_too_slow_for_that_ends_at_ten_times_the_budget(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([6.0]))
    timing = measure_time(world.call, CPU, Budget(seconds=2))
    assert timing.summary.n == 4
    assert timing.noisy and "only 4 samples" in timing.note


def replay(monkeypatch, seconds, budget=0.0):
    """What the clock says of samples that come in this order, after the choice of a block; the budget is as long as all
    of them, or as given."""
    world = SimulatedTime(monkeypatch, chain(seconds[:1], seconds, cycle(seconds)))
    monkeypatch.setattr(clock, "_warm_up", lambda *_: None)
    return measure_time(world.call, CPU, Budget(seconds=budget or 0.999 * sum(seconds), block_seconds=min(seconds) / 2))


@pytest.mark.parametrize(
    ("name", "budget", "noisy", "says"),
    [
        ("rising", 0, True, "the time rose by"),
        ("stepping", 0, False, "the time rose by"),
        ("falling", 0, True, "the time fell by"),
        ("few", 0, True, "the interval is ±"),
        ("few", 0.02, True, "samples fitted the time budget"),
    ],
)
def test_recorded_samples_that_are_doubtful_have_a_note_that_says_what_to_do(monkeypatch, name, budget, noisy, says):
    """A drift alone is not noise: the interval of the median may be narrow."""
    timing = replay(monkeypatch, recorded_once(name), budget)
    assert timing.noisy == noisy and says in timing.note
    assert any(advice in timing.note for advice in ("raise time_budget_s", "close other programs", "cool down"))


def test_recorded_samples_that_are_calm_are_not_noisy(monkeypatch):
    for seconds in recorded("maml").values():
        timing = replay(monkeypatch, seconds)
        assert not timing.noisy and timing.note == ""


def test_one_outlier_changes_nothing(monkeypatch):
    seconds = [0.05 + 0.0001 * (i * 7 % 20) for i in range(40)]
    struck = [*seconds[:10], 5.0, *seconds[11:]]
    calm, hit = (replay(monkeypatch, series) for series in (seconds, struck))
    assert max(hit.summary.samples) == 5.0 and not hit.noisy
    assert hit.summary.median == pytest.approx(calm.summary.median, rel=0.003)


@pytest.mark.parametrize(("law", "most"), [("lognormal", 400), ("skewed", 400), ("lognormal", 60)])
def test_the_interval_covers_what_it_says_although_sampling_stops_by_it(monkeypatch, law, most):
    """2 000 runs through the real stopping rule, ended by the interval's width or by a budget of `most` samples."""
    monkeypatch.setattr(clock, "no_garbage_collection", nullcontext)
    monkeypatch.setattr(clock, "_warm_up", lambda *_: None)
    monkeypatch.setattr(clock, "_calibrate", lambda *_: 1)
    draw, truth = LAWS[law]
    generator = np.random.default_rng(11)
    covered, numbers = 0, []
    for _ in range(RUNS):
        world = SimulatedTime(monkeypatch, iter(draw(generator, (2 * most,)).tolist()))
        summary = measure_time(world.call, CPU, Budget(seconds=most * truth)).summary
        covered += summary.low <= truth <= summary.high
        numbers.append(summary.n)
    assert TARGET[0] <= covered / RUNS <= TARGET[1]
    assert most < 100 or np.mean([n in (68, 102, 153, 230) for n in numbers]) > 0.5  # most ended by the width


def test_looks_are_few_and_grow(monkeypatch):
    looked = []
    monkeypatch.setattr(clock, "known_within", lambda samples, share: looked.append(len(samples)))
    world = SimulatedTime(monkeypatch, cycle([0.1, 0.2]))
    measure_time(world.call, CPU, Budget(seconds=40))
    assert looked == [20, 30, 45, 68, 102, 153, 230]


def test_nothing_is_lost_between_calls_and_samples(monkeypatch):
    """Every call after the warm-up is in a sample: the harness drops none."""
    world = SimulatedTime(monkeypatch, cycle([0.011, 0.012, 0.013]))
    measured = []
    real = clock._cpu_block

    def watch(wait, call, block):
        measured.append((block, real(wait, call, block)))
        return measured[-1][1]

    monkeypatch.setattr(clock, "_cpu_block", watch)
    timing = measure_time(world.call, CPU, Budget(seconds=1))
    assert sum(block for block, _ in measured) == world.calls
    assert [seconds for _, seconds in measured[-timing.summary.n :]] == list(timing.summary.samples)


def test_the_garbage_collector_is_off_meanwhile_and_on_again():
    seen = []
    measure_time(lambda: seen.append(gc.isenabled()), CPU, Budget(seconds=0.01, block_seconds=1e-5))
    assert seen and not any(seen)
    assert gc.isenabled()


def test_cuda_is_timed_with_events_around_a_block_whose_work_is_done_before_the_last(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def elapsed_time(self, end):
            return 30.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("synchronize"))
    seconds = clock._cuda_block(lambda: log.append("wait"), lambda: log.append("call"), 3)
    assert seconds == pytest.approx(0.01)
    # Of another library's work the events know nothing: without the wait, its dispatch would be timed.
    assert log == ["synchronize", "record", "call", "call", "call", "wait", "record", "synchronize"]


def test_the_clock_says_what_the_process_and_others_used_while_it_sampled(monkeypatch):
    world = SimulatedTime(monkeypatch, cycle([0.1]))
    used = iter([5.0, 6.5])  # before the samples, and after
    looks = iter([Look(100.0, 50.0, 3.0, {1: 10.0}), Look(102.0, 54.0, 3.5, {1: 11.5})])
    monkeypatch.setattr(clock.time, "process_time", lambda: next(used))
    monkeypatch.setattr(clock, "look", lambda: next(looks))
    timing = measure_time(world.call, CPU, Budget(seconds=60))
    assert timing.processor_share == pytest.approx(1.5 / 2.0)  # of 20 samples of 0.1 s
    assert timing.others == pytest.approx((4.0 - 1.5 + 0.5) / 2.0)


def test_what_a_system_does_not_tell_of_others_is_not_known(monkeypatch):
    monkeypatch.setattr(clock, "look", lambda: None)
    world = SimulatedTime(monkeypatch, cycle([0.1]))
    assert measure_time(world.call, CPU, Budget(seconds=60)).others is None
    monkeypatch.undo()
    world = SimulatedTime(monkeypatch, cycle([1e-3]))
    budget = Budget(seconds=60, block_seconds=1e-3)
    assert measure_time(world.call, CPU, budget).others is None  # too short for a count that goes by ticks


def test_a_wide_interval_is_told_with_one_thread_as_a_remedy_where_there_are_several(monkeypatch):
    for threads, said in ((1, False), (2, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        world = SimulatedTime(monkeypatch, cycle([0.1, 0.14, 0.19]))
        timing = measure_time(world.call, CPU, Budget(seconds=1))
        assert timing.note.startswith("the interval is ±")
        assert ("take threads = 1" in timing.note) == said
