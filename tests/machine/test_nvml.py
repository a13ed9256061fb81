"""What NVML tells of a process and of a GPU; a stand-in tells it."""

import os
import sys

import pytest
import torch

from gpus import FakeCuda, FakeNvml
from metabench.machine.nvml import REASONS, THROTTLED, GpuState, energy_counter, gpu_state, nvml_bytes, unused_gpus

ME, OTHER = os.getpid(), os.getpid() + 1
GPU0, GPU1 = torch.device("cuda", 0), torch.device("cuda", 1)
READ = "NVML, process's use after the step"
GROWTH = "NVML, growth of the GPU's used memory since before this process used it"
MIB = 1 << 20


def test_the_gpu_is_found_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[(ME, 2 << 20)], MIG_aaaa_bbbb_1=[(ME, 4 << 20), (ME, 1 << 20)])
    assert nvml_bytes(GPU0) == (2 << 20, READ)
    assert nvml_bytes(GPU1) == (5 << 20, READ)
    assert nvml_bytes(torch.device("cuda")) == (5 << 20, READ)  # the current device is 1
    assert nvml.open == 0


def test_without_a_uuid_the_visible_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch).uuid = None
    FakeNvml(
        monkeypatch, index_0=[(ME, 2 << 20)], index_1=[(ME, 3 << 20)], index_3=[(ME, 4 << 20)], GPU_x=[(ME, 5 << 20)]
    )
    assert nvml_bytes(GPU1) == (3 << 20, READ)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-x")
    assert nvml_bytes(GPU0) == (4 << 20, READ)
    assert nvml_bytes(GPU1) == (5 << 20, READ)


@pytest.mark.parametrize(
    ("processes", "says"),
    [
        ([(OTHER, 1 << 30)], "does not list this process"),
        ([], "does not list this process"),
        ([(ME, None)], "does not tell"),
        ([(ME, 1000)], "it is another one"),
    ],
)
def test_there_is_a_reason_rather_than_a_wrong_number(
    monkeypatch: pytest.MonkeyPatch, processes: list[tuple[int, int | None]], says: str
) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=processes)
    value, method = nvml_bytes(GPU0)
    assert value is None and method.startswith("unavailable") and says in method


def test_a_library_or_driver_that_is_missing_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch)

    def no_driver() -> None:
        raise nvml.NVMLError("Driver Not Loaded")

    monkeypatch.setattr(nvml, "nvmlInit", no_driver)
    assert nvml_bytes(GPU0) == (None, "unavailable (NVML: Driver Not Loaded)")
    assert (unused_gpus(), gpu_state(GPU0)) == ({}, None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    value, method = nvml_bytes(GPU0)
    assert value is None and "pynvml" in method
    assert (unused_gpus(), gpu_state(GPU0)) == ({}, None)


def test_in_a_container_the_growth_of_an_unused_gpu_is_the_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the driver lists a process by the host's number, or lists none."""
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    nvml.used["GPU_aaaa_bbbb_0"] = 4 * MIB
    before = unused_gpus()
    assert before == {"GPU-aaaa-bbbb-0": 4 * MIB}
    nvml.used["GPU_aaaa_bbbb_0"] = 904 * MIB
    value, method = nvml_bytes(GPU0, before)
    assert value == 900 * MIB and method.startswith(GROWTH) and "one that came later would be counted" in method
    nvml.processes["GPU_aaaa_bbbb_0"] = [(OTHER, 900 * MIB)]
    assert nvml_bytes(GPU0, before) == (900 * MIB, GROWTH)
    nvml.processes["GPU_aaaa_bbbb_0"] = [(OTHER, 900 * MIB), (OTHER + 1, 5 * MIB)]
    value, method = nvml_bytes(GPU0, before)
    assert value is None and "another process is on the GPU" in method
    nvml.processes["GPU_aaaa_bbbb_0"] = [(OTHER, 900 * MIB)]
    nvml.used["GPU_aaaa_bbbb_0"] = 4 * MIB + 1000
    value, method = nvml_bytes(GPU0, before)
    assert value is None and "less than torch reserved" in method


@pytest.mark.parametrize(("processes", "used"), [([(OTHER, 300 * MIB)], 4 * MIB), ([], 300 * MIB)])
def test_a_gpu_that_was_in_use_has_no_growth_of_one_process(
    monkeypatch: pytest.MonkeyPatch, processes: list[tuple[int, int | None]], used: int
) -> None:
    """Whether the driver lists that other process or hides it: its memory shows."""
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=processes)
    nvml.used["GPU_aaaa_bbbb_0"] = used
    before = unused_gpus()
    assert before == {}
    nvml.processes["GPU_aaaa_bbbb_0"] = []
    value, method = nvml_bytes(GPU0, before)
    assert value is None and "was in use before it" in method


def test_the_state_of_a_gpu_has_the_reasons_for_low_clocks_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    nvml.reasons = 0x4 | 0x40
    assert gpu_state(GPU0) == GpuState(1980, 2619, ["power limit", "temperature, by hardware"], 41, 350.5)
    nvml.reasons = 0
    assert gpu_state(GPU0).reasons == []
    nvml.reasons, nvml.milliwatts, nvml.clocks[1], nvml.celsius = None, None, None, None
    assert gpu_state(GPU0) == GpuState(None, 2619, None, None, None)
    assert nvml.open == 0


def test_an_older_driver_is_asked_for_the_reasons_by_their_older_name(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    nvml.reasons = None
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x80
    assert gpu_state(GPU0).reasons == ["power brake"]


def test_reasons_have_nvmls_bits_and_settings_are_no_throttling() -> None:
    pynvml = pytest.importorskip("pynvml")
    assert REASONS[pynvml.nvmlClocksThrottleReasonSwPowerCap] == "power limit"
    assert REASONS[pynvml.nvmlClocksThrottleReasonHwThermalSlowdown] == "temperature, by hardware"
    assert REASONS[pynvml.nvmlClocksThrottleReasonSwThermalSlowdown] == "temperature, by software"
    assert REASONS[pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown] == "power brake"
    assert {REASONS[0x1], REASONS[0x2]} & THROTTLED == set()
    assert "power limit" in THROTTLED and "hardware slowdown" in THROTTLED


def test_the_energy_counter_is_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    nvml = FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    nvml.millijoules = [1500, 2250]
    with energy_counter(GPU0) as read:
        assert (read(), read(), nvml.open) == (1.5, 2.25, 1)
    assert nvml.open == 0
