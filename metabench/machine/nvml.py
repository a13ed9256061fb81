"""NVML: the GPU and its processes as the driver sees them."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from metabench.errors import in_short
from metabench.record.timing import GpuState

Reading: TypeAlias = tuple[int | None, str]
"""Bytes, or None where they cannot be known; and the method, or the reason."""

CONTEXT_BYTES = 64 << 20
"""A GPU with less memory in use has no process on it: a CUDA context alone takes more."""
REASONS: Mapping[int, str] = {
    0x1: "idle",
    0x2: "clocks set by an application",
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x10: "synchronised with other GPUs",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
    0x100: "clocks set for a display",
    0x200: "board limit",
    0x400: "reliability",
}
"""NVML's bits for why a clock is lower than it could be."""
THROTTLED = frozenset(REASONS.values()) - {
    "idle",
    "clocks set by an application",
    "synchronised with other GPUs",
    "clocks set for a display",
}
"""The reasons that slow a GPU down at work; the others are idleness and settings."""


@contextmanager
def _opened() -> Iterator[Any]:
    """NVML's module, initialised. Raises whatever the module or the driver raises."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


# No library, no driver, no permission: each has an exception class of its own, and all mean that there is no answer.


def gpu_processes() -> int | None:
    """How many other processes compute on the first visible GPU; None where it cannot be known.

    It asks NVML alone: torch would become one of them.
    """
    try:
        with _opened() as pynvml:
            return len([pid for pid in _pids(pynvml, _visible_handle(pynvml, 0)) if pid != os.getpid()])
    except Exception:
        return None


def unused_gpus() -> dict[str, int]:
    """The GPUs that no process uses now: UUID and bytes in use. Empty where it cannot be known.

    A process that calls this before it uses CUDA can tell later how much of the GPU's memory it took.
    """
    try:
        with _opened() as pynvml:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            handles.append(_visible_handle(pynvml, 0))  # a part of a GPU (MIG) is not among the indices
            return {
                _uuid(pynvml, handle): used
                for handle in handles
                if (used := _used(pynvml, handle)) < CONTEXT_BYTES and not _pids(pynvml, handle)
            }
    except Exception:
        return {}


def nvml_bytes(device: torch.device, unused: Mapping[str, int] | None = None) -> Reading:
    """What this process holds on the CUDA `device` now.

    In a container NVML may not know this process by its number. Then the growth of the GPU's used memory since
    `unused` (what `unused_gpus` gave before this process used CUDA) is told, provided that no other process is there.
    """
    try:
        with _opened() as pynvml:
            handle = _nvml_handle(pynvml, _index(device))
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            used = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
            reserved = torch.cuda.memory_reserved(device)
            if not used:
                return _growth(pynvml, handle, len(processes), unused or {}, reserved)
    except Exception as error:
        return None, f"unavailable (NVML: {in_short(error)})"
    if any(value is None for value in used):
        return None, "unavailable (NVML does not tell a process's memory here)"
    total = int(sum(used))
    if total < reserved:
        return None, "unavailable (NVML's process of this number holds less than torch reserved: it is another one)"
    return total, "NVML, process's use after the step"


def _growth(pynvml: Any, handle: Any, listed: int, unused: Mapping[str, int], reserved: int) -> Reading:
    hidden = "unavailable (NVML does not list this process, as in a container, and "
    before = unused.get(_uuid(pynvml, handle))
    if before is None:
        return None, f"{hidden}the GPU was in use before it: its growth would not be this process's alone)"
    if listed > 1:
        return None, f"{hidden}another process is on the GPU: its growth would not be this process's alone)"
    growth = _used(pynvml, handle) - before
    if growth < reserved:
        return None, f"{hidden}the GPU's used memory grew by less than torch reserved)"
    alone = "" if listed else "; NVML lists no process here, so one that came later would be counted, too"
    return growth, f"NVML, growth of the GPU's used memory since before this process used it{alone}"


def gpu_state(device: torch.device) -> GpuState | None:
    """Clocks, the reasons why they are low, temperature and power of the CUDA `device` now; None without NVML."""
    try:
        with _opened() as pynvml:
            handle = _nvml_handle(pynvml, _index(device))
            watts = _told(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
            return GpuState(
                _told(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
                _told(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
                _reasons(pynvml, handle),
                _told(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
                None if watts is None else watts / 1000,
            )
    except Exception:
        return None


def _reasons(pynvml: Any, handle: Any) -> list[str] | None:
    # Drivers before 535 know the older name alone; the newest library may drop it.
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        bits = _told(lambda name=name: getattr(pynvml, name)(handle))  # type: ignore[misc]
        if bits is not None:
            return [reason for bit, reason in REASONS.items() if bits & bit]
    return None


@contextmanager
def energy_counter(device: torch.device) -> Iterator[Callable[[], float]]:
    """A call that gives the joules that the whole GPU has used since its driver was loaded.

    Raises whatever NVML raises, also where a GPU has no such counter (before Volta; parts of a GPU).
    """
    with _opened() as pynvml:
        handle = _nvml_handle(pynvml, _index(device))
        yield lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def _told(ask: Callable[[], Any]) -> int | None:
    """An answer of NVML, or None where this GPU or this driver has none."""
    try:
        return int(ask())
    except Exception:
        return None


def _pids(pynvml: Any, handle: Any) -> list[int]:
    return [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]


def _used(pynvml: Any, handle: Any) -> int:
    """Bytes of the GPU's memory that are in use, without what the driver sets aside for itself."""
    # The first version of this call counts the driver's part, which is hundreds of MiB on a large GPU.
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)


def _uuid(pynvml: Any, handle: Any) -> str:
    return str(pynvml.nvmlDeviceGetUUID(handle))


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _nvml_handle(pynvml: Any, index: int) -> Any:
    """NVML's handle of torch's device `index`.

    NVML counts all GPUs, and CUDA those made visible, in an order of its own: the UUID is the same for both.
    """
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if uuid is not None:
        for prefix in ("GPU", "MIG"):
            try:
                return pynvml.nvmlDeviceGetHandleByUUID(f"{prefix}-{uuid}")
            except pynvml.NVMLError:
                continue
    return _visible_handle(pynvml, index)


def _visible_handle(pynvml: Any, index: int) -> Any:
    """NVML's handle of torch's device `index` by CUDA_VISIBLE_DEVICES, or else by NVML's own order."""
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    entry = visible[index] if index < len(visible) else str(index)
    return pynvml.nvmlDeviceGetHandleByIndex(int(entry)) if entry.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(entry)
