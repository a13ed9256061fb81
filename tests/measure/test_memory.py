"""Peaks on a processor are held against sums done by hand."""

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from metabench.machine import limits
from metabench.measure import memory
from metabench.measure.memory import Event, measure_memory, peak_between, resident_peak, tracked_peak

CPU = torch.device("cpu")
N = 100_000  # floats: 400 kB
EVENTS = "allocator events"


def test_the_peak_of_a_few_tensors_is_their_sum_at_the_fullest_moment() -> None:
    def step() -> None:
        a = torch.empty(N)  # 4 N
        b = torch.add(a, a)  # 8 N
        c = torch.mul(b, b)  # 12 N: the peak
        del b
        torch.neg(c)  # 12 N again
        del a, c
        torch.empty(2 * N)  # 8 N

    assert tracked_peak(step) == (12 * N, EVENTS)


def test_a_result_is_live_to_the_end_and_views_cost_nothing() -> None:
    x = torch.zeros(N)
    assert tracked_peak(lambda: x.view(10, -1)[2:].t()) == (0, EVENTS)
    assert tracked_peak(lambda: x.neg()) == (4 * N, EVENTS)
    assert tracked_peak(lambda: (x.neg(), x.double())) == (12 * N, EVENTS)


def test_temporaries_inside_a_kernel_are_seen() -> None:
    x = torch.randn(N)
    peak, _ = tracked_peak(lambda: torch.sort(x)[0])
    assert peak is not None and peak >= 4 * N + 8 * N  # values, and indices that nobody keeps


def test_what_autograd_saves_is_seen() -> None:
    x = torch.randn(N, requires_grad=True)

    def step() -> torch.Tensor:
        return x.exp().exp().exp()  # exp saves its result

    assert tracked_peak(step) == (12 * N, EVENTS)
    with torch.no_grad():
        assert tracked_peak(step) == (8 * N, EVENTS)


def test_releasing_what_is_older_than_the_step_does_not_hide_what_the_step_takes() -> None:
    old = [torch.empty(10 * N)]

    def step() -> torch.Tensor:
        old.clear()
        return torch.empty(N)

    assert tracked_peak(step) == (4 * N, EVENTS)


def test_tensors_that_an_earlier_measurement_saw_and_this_step_releases_are_older_too() -> None:
    kept = []
    tracked_peak(lambda: kept.append(torch.empty(10 * N)))
    assert len(kept) == 1

    def step() -> torch.Tensor:
        kept.clear()
        return torch.empty(N)

    assert tracked_peak(step) == (4 * N, EVENTS)


def mlp_backward() -> object:
    torch.manual_seed(0)
    w, v = torch.randn(40, 20, requires_grad=True), torch.randn(1, 40, requires_grad=True)
    x = torch.randn(64, 20)
    return torch.autograd.grad(torch.relu(x @ w.t()).mm(v.t()).square().mean(), (w, v))


def double_backward() -> object:
    w = torch.randn(40, 20, requires_grad=True)
    x = torch.randn(64, 20)
    fast = w
    for _ in range(3):
        (g,) = torch.autograd.grad((x @ fast.t()).tanh().square().mean(), (fast,), create_graph=True)
        fast = fast - 0.1 * g
    return torch.autograd.grad((x @ fast.t()).tanh().mean(), (w,))


def vmapped() -> object:
    def loss(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, w).relu().square().mean()

    return torch.func.vmap(torch.func.grad(loss), (None, 0))(torch.randn(8, 3, 3, 3), torch.randn(4, 5, 3, 14, 14))


@pytest.mark.parametrize("step", [mlp_backward, double_backward, vmapped])
def test_a_peak_repeats_to_the_byte(step: Callable[[], object]) -> None:
    step()
    peaks = {tracked_peak(step) for _ in range(4)}
    assert len(peaks) == 1
    peak, method = peaks.pop()
    assert method == EVENTS
    assert peak is not None and 10_000 < peak < 10_000_000


def test_garbage_in_cycles_is_not_collected_in_the_step() -> None:
    class Holder:
        def __init__(self, size: int) -> None:
            self.itself = self
            self.tensor = torch.empty(size)

    def step() -> None:
        for _ in range(3):
            Holder(N)
            for _ in range(2000):  # enough to set the collector off, were it on
                cycle: list[object] = []
                cycle.append(cycle)

    assert gc.isenabled()
    assert tracked_peak(step) == (12 * N, EVENTS)
    assert gc.isenabled()
    gc.disable()
    try:
        tracked_peak(step)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_older_garbage_is_gone_before_the_step_begins() -> None:
    class Holder:
        pass

    held = Holder()
    held.itself, held.tensor = held, torch.empty(N)  # type: ignore[attr-defined]
    gone = weakref.ref(held)
    del held
    alive: list[bool] = []
    tracked_peak(lambda: alive.append(gone() is not None))
    assert alive == [False]


@pytest.mark.parametrize("measure", [tracked_peak, resident_peak])
def test_what_the_step_raises_comes_through_and_all_is_put_back(measure: Callable[..., object]) -> None:
    def step() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        measure(step)
    assert gc.isenabled()
    assert "KINETO_LOG_LEVEL" not in os.environ
    assert tracked_peak(lambda: torch.empty(N)) == (4 * N, EVENTS)


def test_another_profiler_is_left_alone_and_a_later_one_works() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as outer:
        peak, method = tracked_peak(lambda: torch.empty(N))
        torch.zeros(3).exp()
    assert peak is None and "another profiler" in method
    assert "aten::exp" in {event.key for event in outer.key_averages()}
    tracked_peak(lambda: torch.empty(N))
    with profile(activities=[ProfilerActivity.CPU]) as later:
        torch.zeros(3).exp()
    assert "aten::exp" in {event.key for event in later.key_averages()}


def test_a_step_that_starts_the_profiler_itself_is_told_so_and_does_not_end_the_process() -> None:
    def step() -> torch.Tensor:
        with profile(activities=[ProfilerActivity.CPU]):
            return torch.empty(N)

    assert tracked_peak(step) == (
        None,
        "unavailable (the step starts torch's profiler itself, which can run only once at a time)",
    )
    step()
    assert tracked_peak(lambda: torch.empty(N)) == (4 * N, EVENTS)


def test_the_peak_of_a_long_step_is_exact() -> None:
    def step() -> torch.Tensor:
        x = y = torch.zeros(10)
        for _ in range(20_000):
            y = torch.add(y, x)
        return y

    assert tracked_peak(step) == (40 + 40 + 40, EVENTS)  # x, the last sum and the next


def test_a_trace_that_cannot_be_read_gives_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object, path: str) -> None:
        Path(path).write_text(json.dumps({"traceEvents": [{"args": {"Total Allocated": 1, "Device Type": 0}}]}))

    monkeypatch.setattr(memory.profile, "export_chrome_trace", broken)
    peak, method = tracked_peak(lambda: torch.empty(N))
    assert peak is None and method.startswith("unavailable") and "trace cannot be read" in method

    def denied(_: object, path: str) -> None:
        raise OSError(f"cannot write {path}")

    monkeypatch.setattr(memory.profile, "export_chrome_trace", denied)
    assert tracked_peak(lambda: None) == (None, "unavailable (the profiler's trace cannot be read: OSError)")

    def empty(_: object, path: str) -> None:
        Path(path).write_text('{"traceEvents": []}')

    monkeypatch.setattr(memory.profile, "export_chrome_trace", empty)
    assert tracked_peak(lambda: None) == (None, "unavailable (the profiler reported no memory events)")


def test_measuring_does_not_wait_for_the_compiler_to_be_imported() -> None:
    """It takes seconds, of every cell."""
    script = (
        "import sys, torch; from metabench.measure.memory import tracked_peak;"
        "print(tracked_peak(lambda: torch.empty(10))[0], 'torch._inductor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["40", "False"]


def test_a_profiler_that_does_not_start_gives_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("built without it")

    monkeypatch.setattr(memory.profile, "__enter__", refuse)
    peak, method = tracked_peak(lambda: None)
    assert peak is None and "built without it" in method


def trace(*sizes: tuple[int, int]) -> list[Event]:
    """Events at (address, size) between the markers 1 and 2, with the running sum that the allocator would keep."""
    events, total = [], 500
    for address, size in [(1, 1), *sizes, (2, 1)]:
        total += size
        events.append(Event(address, size, total))
    return events


def test_the_sum_runs_between_the_markers_only() -> None:
    events = trace((10, 100), (11, 50), (10, -100), (99, -400), (12, 70))
    assert peak_between(events, 1, 2) == (150, EVENTS)
    around = [Event(7, 900, 499 + 900), *(e._replace(total=e.total + 900) for e in events), Event(8, 5000, 10**6)]
    assert peak_between(around, 1, 2) == (150, EVENTS)


def test_events_that_do_not_add_up_give_no_number() -> None:
    events = trace((10, 100), (11, 50), (10, -100))
    swapped = [events[0], events[2], events[1], *events[3:]]
    missing = [events[0], *events[2:]]
    for wrong in (swapped, missing):
        peak, method = peak_between(wrong, 1, 2)
        assert peak is None and "out of order" in method
    assert peak_between(events[:-1], 1, 2)[0] is None
    assert peak_between(events, 3, 2)[0] is None
    twice = peak_between(trace((10, 100), (10, 100)), 1, 2)
    assert twice[0] is None and "thread" in twice[1]


# --- resident --------------------------------------------------------------------------------------------------------


def large(hold: Callable[[], None] = lambda: None) -> None:
    held = torch.empty(50_000_000).fill_(1.0)  # 200 MB, every page touched
    hold()
    del held


def many_small() -> None:
    [torch.ones(20_000) for _ in range(1000)]  # 80 MB, in blocks that glibc takes from its heap and keeps


@pytest.mark.parametrize("sampled", [False, True])
def test_the_resident_peak_is_that_of_the_step_also_the_second_time(
    monkeypatch: pytest.MonkeyPatch, sampled: bool
) -> None:
    step, looked = large, threading.Event()
    if sampled:
        monkeypatch.setattr(memory, "_reset_peak", lambda: None)

        class Watched(psutil.Process):
            def memory_info(self) -> object:
                found = super().memory_info()
                looked.set()
                return found

        def wait_for_a_sample() -> None:  # on a busy machine the sampler may be late
            for _ in range(2):  # the first may have been begun before
                looked.clear()
                looked.wait()

        monkeypatch.setattr(memory.psutil, "Process", Watched)
        step = partial(large, wait_for_a_sample)
    large()
    for _ in range(2):
        peak, method = resident_peak(step)
        assert peak == pytest.approx(200e6, rel=0.05)
    if sampled or sys.platform != "linux":
        assert "sampled every 1 ms" in method
    assert resident_peak(lambda: None)[0] == pytest.approx(0, abs=4e6)


@pytest.mark.skipif(memory._trim_heap() != "heap trimmed before", reason="the allocator cannot be made to give back")
def test_what_the_allocator_kept_from_a_warm_up_is_not_missed() -> None:
    many_small()
    for _ in range(2):
        assert resident_peak(many_small)[0] == pytest.approx(80e6, rel=0.1)


def test_a_reset_that_did_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"/proc/self/clear_refs": tmp_path / "clear_refs", "/proc/self/status": tmp_path / "status"}
    for module in (memory, limits):
        monkeypatch.setattr(module, "Path", files.__getitem__)
    files["/proc/self/status"].write_text("VmHWM:\t 1024 kB\nVmRSS:\t 1000 kB\n")
    assert memory._reset_peak() == 1000 * 1024
    assert files["/proc/self/clear_refs"].read_text() == "5"
    files["/proc/self/status"].write_text("VmHWM:\t 90240 kB\nVmRSS:\t 1000 kB\n")
    assert memory._reset_peak() is None
    files["/proc/self/status"].write_text("VmRSS:\t 1000 kB\n")
    assert memory._reset_peak() is None
    files["/proc/self/clear_refs"] = tmp_path / "no such folder" / "clear_refs"
    assert memory._reset_peak() is None


def test_another_allocator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = SimpleNamespace(read_text=lambda errors: "7f00-7f01 r-xp 00000000 08:01 42 /usr/lib/libjemalloc.so.2\n")
    monkeypatch.setattr(memory, "Path", lambda _: maps)
    assert memory._trim_heap() == "jemalloc may have kept and reused memory"


def test_a_sampler_stops_with_the_step() -> None:
    before = threading.active_count()
    assert memory._sampled_growth(lambda: None) >= 0
    assert threading.active_count() == before


def test_a_cpu_step_is_called_once_for_each_pass_and_has_no_gpu_figures() -> None:
    calls = []

    def step() -> torch.Tensor:
        calls.append(1)
        return torch.empty(N)

    found = measure_memory(step, CPU)
    assert len(calls) == 2
    assert (found.tracked_bytes, found.tracked_method) == (4 * N, EVENTS)
    assert found.resident_bytes is not None and "resident set" in found.resident_method
    assert (found.cuda_allocated_bytes, found.cuda_reserved_bytes, found.nvml_bytes) == (None, None, None)
    assert found.nvml_method == "not measured (not a CUDA device)"


def test_a_device_without_a_method_says_so() -> None:
    found = measure_memory(lambda: None, torch.device("meta"))
    assert found.tracked_bytes is None
    assert found.tracked_method == "unavailable (no tracking on 'meta')"


def test_what_an_engine_keeps_to_work_in_counts_as_the_steps() -> None:
    found = measure_memory(lambda: torch.empty(N), CPU, held=1000)
    assert found.tracked_bytes == 4 * N + 1000
    assert found.tracked_method == f"{EVENTS}, and what the engine keeps to work in"


def test_of_another_librarys_arrays_the_process_alone_is_told_on_a_processor() -> None:
    found = measure_memory(lambda: torch.empty(N), CPU, foreign=lambda device: None)
    assert found.tracked_bytes is None and "outside torch's allocator" in found.tracked_method
    assert found.resident_bytes is not None
