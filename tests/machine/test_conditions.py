"""What is warned of, on machines that are made up."""

import sys
import warnings
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from metabench.machine import conditions
from metabench.machine import cores as cores_here
from metabench.machine.conditions import BUSY_GPU, Observation, clock_mhz, disturbances, observe, warnings_now
from metabench.machine.load import Look
from metabench.machine.nvml import gpu_processes
from metabench.record.cell import Cell
from metabench.record.timing import GpuState, Time
from metabench.statistics.intervals import summarise

QUIET = Look(100.0, 50.0, 0.0, {})
QUIET_LATER = Look(110.0, 50.5, 0.0, {})
CALM = {"plugged_in": None, "battery_percent": None, "governor": None}


def timed(**parts):
    """A time of a meta-iteration, with parts that tell of its disturbances."""
    return Time(summarise([1.0]), 0.0, **parts)


SLOWER, FASTER = timed(clock_mhz=[3400.0, 2600.0]), timed(clock_mhz=[2600.0, 3400.0])


def now(monkeypatch, load=None, gpus=None, devices=("cpu",), threads=1, cores=1, **power):
    """The warnings before a run."""
    monkeypatch.setattr(cores_here, "available_cores", lambda: cores)
    monkeypatch.setattr(conditions, "load_warning", lambda: load)
    monkeypatch.setattr(conditions, "power", lambda: CALM | power)
    monkeypatch.setattr(conditions, "gpu_processes", lambda: gpus)
    return warnings_now([Cell(algorithm="maml", task="sinusoid", device=name, threads=threads) for name in devices])


def test_a_quiet_machine_on_mains_gives_no_warning(monkeypatch):
    assert now(monkeypatch) == []
    assert now(monkeypatch, plugged_in=True, battery_percent=100, governor="performance", gpus=0) == []


def test_each_cause_has_a_sentence_that_says_what_to_do(monkeypatch):
    assert now(monkeypatch, load="others are busy") == ["others are busy"]
    (battery,) = now(monkeypatch, plugged_in=False, battery_percent=43)
    assert battery == "the machine runs on battery (43 %), which slows it down: plug it in"
    (governor,) = now(monkeypatch, governor="powersave")
    assert "governor 'powersave'" in governor and "set the governor 'performance'" in governor
    assert now(monkeypatch, gpus=2, devices=("cpu", "cuda")) == [BUSY_GPU]
    assert now(monkeypatch, gpus=2) == []  # nothing runs there
    assert len(now(monkeypatch, load="busy", plugged_in=False, governor="ondemand", gpus=1, devices=("cuda",))) == 4


def test_more_threads_than_cores_are_warned_of(monkeypatch):
    (sentence,) = now(monkeypatch, threads=8, cores=2)
    assert sentence.startswith("8 threads are asked for, and this process may use 2 cores")
    assert sentence.endswith("take threads = 2")
    assert now(monkeypatch, threads=2, cores=2) == []


def test_one_thread_is_the_remedy_where_several_wait_for_each_other(monkeypatch):
    assert now(monkeypatch, load="close them", threads=2, cores=2) == [
        "close them, or measure with threads = 1, which suffers least"
    ]
    busy = Observation(QUIET, 5, 0), Observation(Look(110.0, 58.0, 0.0, {}), 5, None)
    assert disturbances(*busy, None, 2)[0].endswith("close them, or measure with threads = 1, which suffers least")
    assert disturbances(*busy, None, 1)[0].endswith("close them")


def test_a_quiet_cell_has_no_disturbance():
    before, after = Observation(QUIET, 5, 0), Observation(QUIET_LATER, 5, None)
    assert disturbances(before, after, timed(clock_mhz=[3000.0, 2900.0])) == []
    assert disturbances(Observation(QUIET, None, None), Observation(QUIET_LATER, 9, None), None) == []
    assert disturbances(before, after, timed(clock_mhz=[None, 2900.0])) == []


@pytest.mark.parametrize(
    ("before", "after", "time", "says"),
    [
        (Observation(QUIET, 5, 0), Observation(Look(110.0, 58.0, 0.0, {}), 5, None), None, "close them"),
        (Observation(QUIET, 5, 0), Observation(QUIET_LATER, 4096 + 5, None), None, "memory was swapped"),
        (Observation(QUIET, 5, 1), Observation(QUIET_LATER, 5, None), None, BUSY_GPU),
        (
            Observation(QUIET, 5, 0),
            Observation(QUIET_LATER, 5, None),
            SLOWER,
            "clock changed",
        ),
        (
            Observation(QUIET, 5, 0),
            Observation(QUIET_LATER, 5, None),
            FASTER,
            "clock changed",
        ),
    ],
)
def test_what_disturbed_a_cell_is_said_without_figures(before, after, time, says):
    """Equal causes give equal sentences, which a table counts."""
    (sentence,) = disturbances(before, after, time)
    assert says in sentence


def test_an_observation_asks_the_gpu_only_where_it_matters(monkeypatch):
    monkeypatch.setattr(conditions, "gpu_processes", lambda: 3)
    assert (observe("cuda").gpu_processes, observe("cpu").gpu_processes, observe().gpu_processes) == (3, None, None)


def test_swap_that_a_system_does_not_tell_is_unknown_and_silent(monkeypatch):
    swap = namedtuple("swap", ("sin", "sout"))
    monkeypatch.setattr(psutil, "swap_memory", lambda: swap(4096, 8192))
    assert observe().swapped == 12288

    def unsure():
        warnings.warn("'sin' and 'sout' could not be determined", RuntimeWarning, stacklevel=1)
        return swap(0, 0)

    monkeypatch.setattr(psutil, "swap_memory", unsure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert observe().swapped == 0

    def refused():
        raise FileNotFoundError("/proc/vmstat")

    monkeypatch.setattr(psutil, "swap_memory", refused)
    assert observe().swapped is None


def test_the_clock_is_that_of_the_fastest_core(monkeypatch):
    core = namedtuple("core", ("current", "min", "max"))
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: [core(1200.0, 0, 0), core(3400.0, 0, 0)], raising=False)
    assert clock_mhz() == 3400.0
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: [], raising=False)
    assert clock_mhz() is None
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: [core(0.0, 0, 0)], raising=False)
    assert clock_mhz() is None
    monkeypatch.delattr(psutil, "cpu_freq", raising=False)
    assert clock_mhz() is None


def test_processes_on_the_gpu_are_counted_without_our_own(monkeypatch):
    class FakeNvml:
        open = 0
        asked: list[object] = []  # noqa: RUF012

        def nvmlInit(self):  # noqa: N802
            self.open += 1

        def nvmlShutdown(self):  # noqa: N802
            self.open -= 1

        def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
            self.asked.append(index)
            return index

        def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
            self.asked.append(uuid)
            return uuid

        def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
            if handle == 7:
                raise RuntimeError("no permission")
            return [SimpleNamespace(pid=psutil.Process().pid), SimpleNamespace(pid=1)]

    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_processes() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc,1")
    assert gpu_processes() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert gpu_processes() is None
    assert (nvml.asked, nvml.open) == ([0, "GPU-abc", 7], 0)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_processes() is None


def gpu(*reasons):
    """A timing with the reasons for low clocks after it."""
    return timed(gpu=[GpuState(None, None, ["idle"], None, None), GpuState(None, None, list(reasons), None, None)])


@pytest.mark.parametrize("reason", ["power limit", "temperature, by hardware", "hardware slowdown", "power brake"])
def test_a_gpu_that_slowed_down_disturbs_its_cell(reason):
    before, after = Observation(QUIET, 5, 0), Observation(QUIET_LATER, 5, None)
    (sentence,) = disturbances(before, after, gpu("idle", reason))
    assert f"the GPU lowered its clocks around the timing ({reason})" in sentence and "let it cool down" in sentence


def test_idleness_and_settings_of_a_gpu_are_no_disturbance():
    before, after = Observation(QUIET, 5, 0), Observation(QUIET_LATER, 5, None)
    assert disturbances(before, after, gpu("clocks set by an application", "synchronised with other GPUs")) == []
    assert disturbances(before, after, timed(gpu=[None, GpuState(None, None, None, None, None)])) == []
