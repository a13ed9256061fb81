"""Joules by counters that are made up: a tree of Linux's powercap, a stand-in for NVML, a clock of work alone."""

import os

import pytest
import torch

from gpus import FakeCuda, FakeNvml
from metabench.measure import energy
from metabench.measure.energy import (
    NVML_METHOD,
    RAPL_METHOD,
    Energy,
    NoCounter,
    measure_energy,
    over_window,
    rapl_counter,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def powercap(tmp_path):
    """Makes a domain of powercap, with its counter and its range in µJ."""

    def domain(name, says, counter, most=1_000_000):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, value in (("name", says), ("energy_uj", counter), ("max_energy_range_uj", most)):
            (folder / file).write_text(f"{value}\n")
        return tmp_path

    return domain


def test_packages_alone_are_added_up(powercap):
    folder = powercap("intel-rapl:0", "package-0", 100_000)
    powercap("intel-rapl:1", "package-1", 500_000)
    powercap("intel-rapl:0:0", "core", 1000)
    powercap("intel-rapl:2", "psys", 1000)
    powercap("intel-rapl-mmio:0", "package-0", 1000)
    read = rapl_counter(folder)
    assert read() == 0
    powercap("intel-rapl:0", "package-0", 300_000)
    powercap("intel-rapl:1", "package-1", 600_000)
    powercap("intel-rapl:0:0", "core", 999_000)
    powercap("intel-rapl:2", "psys", 999_000)
    assert read() == pytest.approx(0.3)


def test_a_counter_that_starts_anew_goes_on(powercap):
    folder = powercap("intel-rapl:0", "package-0", 900_000)
    read = rapl_counter(folder)
    powercap("intel-rapl:0", "package-0", 100_000)
    assert read() == pytest.approx(0.2)
    powercap("intel-rapl:0", "package-0", 950_000)
    powercap("intel-rapl:0", "package-0", 50_000)
    assert read() == pytest.approx(1.15)  # a whole round in between cannot be seen: it is read often enough


def test_a_system_without_counters_says_why(tmp_path, powercap):
    with pytest.raises(NoCounter, match="no package in .*a virtual machine has none"):
        rapl_counter(tmp_path / "nowhere")
    folder = powercap("intel-rapl:0", "package-0", "nonsense")
    with pytest.raises(NoCounter, match="RAPL: "):
        rapl_counter(folder)


def test_a_counter_that_root_alone_may_read_says_how_to_allow_it(powercap, monkeypatch):
    folder = powercap("intel-rapl:0", "package-0", 1)

    def refuse(packages):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(energy, "_readings", refuse)
    with pytest.raises(NoCounter, match=r"nobody but root read energy_uj; allow it by chmod a\+r"):
        rapl_counter(folder)


class Machine:
    """A clock that only iterations move, at a constant power, and a counter that moves in steps."""

    def __init__(self, seconds, watts, step):
        self.time, self.seconds, self.watts, self.step = 0.0, seconds, watts, step
        self.runs = self.waits = 0

    def run(self):
        self.runs += 1
        self.time += self.seconds

    def wait(self):
        self.waits += 1

    def now(self):
        return self.time

    def read(self):
        return self.watts * (self.time // self.step * self.step)


@pytest.mark.parametrize("seconds", [1e-4, 0.03, 0.7, 5.0])
@pytest.mark.parametrize("step", [0.001, 0.1])
def test_the_joules_of_an_iteration_are_power_times_time(seconds, step):
    machine = Machine(seconds, 200.0, step)
    found = over_window(machine.run, machine.wait, machine.read, "by hand", now=machine.now)
    resolution = step / found.seconds  # all that is not known: work need not end when the counter moves
    assert found.joules == pytest.approx(200.0 * seconds, rel=1.01 * resolution)
    assert found.watts == pytest.approx(200.0, rel=1.01 * resolution)
    assert found.seconds >= 3 and found.iterations == pytest.approx(found.seconds / seconds)
    assert found.method == "by hand" and machine.waits > 1


def test_a_counter_that_stands_still_is_no_energy_of_zero():
    machine = Machine(0.1, 0.0, 0.1)
    with pytest.raises(NoCounter, match="did not move"):
        over_window(machine.run, machine.wait, machine.read, "by hand", now=machine.now)


def test_on_a_processor_it_is_rapls(powercap, monkeypatch):
    folder = powercap("intel-rapl:0", "package-0", 0, most=10**12)
    monkeypatch.setattr(energy, "POWERCAP", folder)
    monkeypatch.setattr(energy, "over_window", lambda run, wait, read, method: (read(), method))
    assert measure_energy(lambda: None, lambda: None, CPU) == (0, RAPL_METHOD)
    monkeypatch.setattr(energy, "POWERCAP", folder / "nowhere")
    found = measure_energy(lambda: pytest.fail("nothing is to be run"), lambda: None, CPU)
    assert found.joules is None and found.method.startswith("unavailable (RAPL: no package in")


def test_a_counter_that_goes_away_meanwhile_is_one_that_is_not_there(powercap, monkeypatch):
    folder = powercap("intel-rapl:0", "package-0", 0)
    monkeypatch.setattr(energy, "POWERCAP", folder)
    found = measure_energy(lambda: (folder / "intel-rapl:0" / "energy_uj").unlink(missing_ok=True), lambda: None, CPU)
    assert found.joules is None
    assert found.method.startswith("unavailable (a reading failed: FileNotFoundError")
    with pytest.raises(ZeroDivisionError):  # what the work itself raises is no matter of the counter
        powercap("intel-rapl:0", "package-0", 0)
        measure_energy(lambda: 1 / 0, lambda: None, CPU)


def test_on_a_gpu_it_is_nvmls(monkeypatch):
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[(os.getpid(), 1)])
    nvml.millijoules = [1000, 2500]
    monkeypatch.setattr(energy, "over_window", lambda run, wait, read, method: (read(), method))
    assert measure_energy(lambda: None, lambda: None, GPU) == (2.5, NVML_METHOD)
    nvml.millijoules = None
    found = measure_energy(lambda: pytest.fail("nothing is to be run"), lambda: None, GPU)
    assert found == Energy(None, None, None, None, "unavailable (NVML: Not Supported)")
    assert nvml.open == 0


def test_what_an_iteration_raises_is_not_taken_for_a_missing_counter(monkeypatch):
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    nvml.millijoules = [1, 2, 3]

    def fails():
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        measure_energy(fails, lambda: None, GPU)
    assert nvml.open == 0
