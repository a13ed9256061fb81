"""Launches, kernels and busy time, from events made up by hand."""

import gc
import json
import os

import pytest
import torch

from metabench.measure import launches
from metabench.measure.launches import (
    Activity,
    Events,
    Launches,
    covered,
    launches_in,
    measure_launches,
    per_iteration,
    read_events,
)


def kernel(ts, dur, number, cat="kernel", tid=7):
    """Something that the GPU carried out, from `ts` on for `dur` µs."""
    return {"ph": "X", "cat": cat, "name": "k", "ts": ts, "dur": dur, "tid": tid, "args": {"correlation": number}}


def call(name, ts, dur, number, cat="cuda_runtime", tid=1):
    """A call of the host."""
    return kernel(ts, dur, number, cat, tid) | {"name": name}


def trace(*events):
    return json.dumps({"traceEvents": [{"ph": "M", "name": "process_name"}, *events]})


def figures(found):
    return found.launches, found.kernels, None if found.busy_s is None else round(1e6 * found.busy_s, 6), found.note


EAGER = (
    call("cudaLaunchKernel", 0, 5, 1),
    call("cudaLaunchKernel", 10, 5, 2),
    call("cudaMemcpyAsync", 20, 5, 3),
    call("cudaMemsetAsync", 30, 5, 4),
    call("cudaDeviceSynchronize", 40, 100, 5),
    kernel(8, 4, 1),
    kernel(18, 4, 2),
    kernel(28, 6, 3, "gpu_memcpy"),
    kernel(38, 2, 4, "gpu_memset"),
)


def test_each_call_that_puts_work_on_the_gpu_is_a_launch():
    assert figures(launches_in(trace(*EAGER), 1)) == (4, 4, 16, "")
    assert figures(launches_in(trace(*EAGER), 2)) == (2, 2, 8, "")


def test_a_graph_is_one_launch_of_many_kernels():
    graph = [call("cudaGraphLaunch", 0, 9, 1), *(kernel(10 + 10 * i, 4, 1) for i in range(50))]
    assert figures(launches_in(trace(*graph), 1)) == (1, 50, 200, "")


def test_what_a_library_launches_by_calls_that_are_not_recorded_counts_too():
    """XLA launches by the driver's own calls, of which the profiler keeps a few."""
    assert figures(launches_in(trace(kernel(0, 4, 11), kernel(6, 4, 11), kernel(12, 4, 12)), 1)) == (2, 3, 12, "")


def test_kernels_that_run_beside_each_other_keep_the_gpu_busy_once():
    beside = [kernel(0, 10, 1), kernel(5, 10, 2, tid=8), kernel(6, 2, 3, tid=9), kernel(30, 5, 4)]
    assert figures(launches_in(trace(*beside), 1)) == (4, 4, 20, "")
    assert covered([Activity(0.0, 2.0, 1), Activity(1.0, 0.5, 2), Activity(5.0, 1.0, 3)]) == 3.0
    assert covered([]) == 0.0


def test_a_call_of_the_driver_inside_of_one_of_the_runtime_is_no_launch_of_its_own():
    nested = [
        call("cudaLaunchKernelExC_v11060", 0, 9, 1),
        call("cuLaunchKernelEx", 2, 5, 2, "cuda_driver"),
        call("cuLaunchKernel", 3, 5, 8, "cuda_driver", tid=2),  # on another thread
        call("cuLaunchKernel", 9, 5, 3, "cuda_driver"),
    ]
    events = read_events(json.loads(trace(*nested, kernel(10, 1, 1), kernel(20, 1, 3), kernel(30, 1, 8))))
    assert sorted(events.launches) == [1, 3, 8]
    assert figures(per_iteration(events, 1)) == (3, 3, 3, "")


def test_a_record_without_the_kernels_of_its_launches_gives_no_busy_share():
    found = launches_in(trace(*(call("cudaLaunchKernel", 10 * i, 5, i) for i in range(10)), kernel(5, 5, 0)), 2)
    assert (found.launches, found.kernels, found.busy_s) == (5, None, None)
    assert found.note == "of 10 launches, 9 show no kernel in the record: it is incomplete"


def test_one_launch_of_very_many_may_be_missing_at_the_edge():
    events = Events(tuple(Activity(i, 0.5, i) for i in range(199)), tuple(range(200)))
    assert figures(per_iteration(events, 1)) == (200, 199, 99_500_000, "")


def test_a_record_of_no_work_says_so():
    assert figures(launches_in(trace(), 1)) == (None, None, None, "the record shows no work of the GPU")


@pytest.mark.parametrize("text", ["{", "{}", trace({"cat": "kernel", "ts": 1, "dur": 1}), trace(kernel(0, 1, None))])
def test_a_record_that_cannot_be_read_says_so(text):
    found = launches_in(text, 1)
    assert (found.launches, found.kernels, found.busy_s) == (None, None, None)
    assert found.note.startswith("the profiler's trace cannot be read")


class Recorder:
    """Stands in for the profiler: notes what it records, and gives a trace of four launches an iteration."""

    def __init__(self, monkeypatch):
        self.said: list[str] = []
        monkeypatch.setattr(launches, "_recorded", self.record)

    def record(self, work):
        self.said.append("begin")
        work()
        self.said.append("end")
        runs = self.said[self.said.index("begin") :].count("run")
        events = [e | {"ts": e["ts"] + 1000 * i} for i in range(runs) for e in EAGER]
        for n, e in enumerate(events):
            e["args"] = {"correlation": 100 * (n // len(EAGER)) + e["args"]["correlation"]}
        return trace(*events)

    def start(self):
        self.said.append("start")
        return lambda: self.said.append("run"), lambda: self.said.append("wait")


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 1), (0.05, 1), (0.02, 3), (1e-4, 32)])
def test_iterations_are_made_after_the_profiler_knows_the_gpu_and_counted_for_a_while(monkeypatch, seconds, count):
    recorder = Recorder(monkeypatch)
    monkeypatch.setenv("TEARDOWN_CUPTI", "1")
    monkeypatch.setattr(launches, "launches_in", lambda text, n: (text.count('"cudaLaunchKernel"'), n))
    assert measure_launches(recorder.start, seconds)[1] == count
    assert recorder.said == ["begin", "end", "start", "run", "wait", "begin", *["run"] * count, "wait", "end"]
    assert os.environ["TEARDOWN_CUPTI"] == "1"  # as it was
    assert "DISABLE_CUPTI_LAZY_REINIT" not in os.environ


def test_a_profiler_that_does_not_start_is_a_reason(monkeypatch):
    def refuse(work):
        raise launches.NotRecorded("CUPTI is missing")

    monkeypatch.setattr(launches, "_recorded", refuse)
    found = measure_launches(lambda: pytest.fail("nothing is to be run"), 1e-3)
    assert found == Launches(None, None, None, "torch's profiler does not record this GPU: CUPTI is missing")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_profiler_itself_refuses():
    found = measure_launches(lambda: pytest.fail("nothing is to be run"), 1e-3)
    assert found.launches is None and found.note.startswith("torch's profiler does not record this GPU")


def test_what_an_iteration_raises_is_not_taken_for_a_fault_of_the_profiler(monkeypatch):
    monkeypatch.setattr(launches, "_recorded", lambda work: work())

    def fails():
        raise RuntimeError("an error of the step")

    with pytest.raises(RuntimeError, match="an error of the step"):
        measure_launches(lambda: (fails, lambda: None), 1e-3)
    assert gc.isenabled()
