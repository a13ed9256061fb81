"""Stand-ins for a GPU: torch.cuda's allocator and NVML, for tests that need none."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch


class FakeCuda:
    """Stands in for torch.cuda: an allocator's counters, and a note of what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.allocated, self.peak, self.reserved = 1000, 9000, 1 << 20
        self.uuid: str | None = "aaaa-bbbb"
        for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
            monkeypatch.setattr(torch.cuda, name, self._note(name))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: self.allocated)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: self.peak)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: self.reserved)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device=None: self.reserved)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", self._properties)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def _note(self, name: str) -> Callable[..., None]:
        def call(device: object = None) -> None:
            self.asked.append(name)
            if name == "reset_peak_memory_stats":
                self.peak = self.allocated

        return call

    def _properties(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(**({"uuid": f"{self.uuid}-{index}"} if self.uuid else {}))

    def step(self) -> None:
        """A step that adds 700 bytes."""
        self.asked.append("step")
        self.peak = max(self.peak, self.allocated + 700)


class FakeNvml:
    """Stands in for pynvml: `processes` (number, bytes) by the UUID of their GPU, with `_` for `-`.

    What else it tells of a GPU stands in attributes; None is told by raising, as NVML does.
    """

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, nvmlMemory_v2 = 1, 2, 0, 2  # noqa: N815

    class NVMLError(Exception):
        pass

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **processes: list[tuple[int, int | None]]) -> None:
        self.processes = processes
        self.open = 0
        self.used: dict[str, int] = {}
        self.clocks: dict[int, int | None] = {1: 1980, 2: 2619}
        self.reasons: int | None = 0x1
        self.celsius: int | None = 41
        self.milliwatts: int | None = 350_500
        self.millijoules: list[int] | None = None
        monkeypatch.setitem(sys.modules, "pynvml", self)  # type: ignore[arg-type]

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return sum(not key.startswith("MIG") for key in self.processes)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        key = uuid.replace("-", "_")
        if key not in self.processes:
            raise self.NVMLError("Not Found")
        return key

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        key = f"index_{index}"
        return key if key in self.processes else list(self.processes)[index]

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle.replace("_", "-")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes[handle]]

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int) -> SimpleNamespace:  # noqa: N802
        assert version == self.nvmlMemory_v2  # the first version has the driver's own part in it
        return SimpleNamespace(used=self.used[handle])

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        return self._told(self.clocks[kind])

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self._told(self.reasons)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return self._told(self.celsius)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return self._told(self.milliwatts)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if self.millijoules is None:
            raise self.NVMLError("Not Supported")
        return self.millijoules.pop(0)

    def _told(self, answer: int | None) -> int:
        if answer is None:
            raise self.NVMLError("Not Supported")
        return answer
