"""NVML: the process as the GPU's driver sees it."""

import os
from typing import Any, TypeAlias

import torch

from metabench.errors import in_short

Finding: TypeAlias = tuple[int | None, str]
"""Bytes, or None where they cannot be known; and the method, or the reason."""


def gpu_processes() -> int | None:
    """How many processes compute on the first GPU that is visible, this one left out; None where it cannot be known.

    Asked of NVML alone: torch would become one of them.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no permission: each its own class, and all mean the same
        return None
    try:
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(_visible_handle(pynvml, 0))
        return len([process for process in processes if process.pid != os.getpid()])
    except Exception:
        return None
    finally:
        pynvml.nvmlShutdown()


def nvml_bytes(device: torch.device) -> Finding:
    """What this process holds on the CUDA `device` now, by NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # no library, no driver, no permission: each its own class, and all mean the same
        return None, f"unavailable (NVML: {in_short(error)})"
    try:
        index = torch.cuda.current_device() if device.index is None else device.index
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(_nvml_handle(pynvml, index))
        used = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
        reserved = torch.cuda.memory_reserved(device)
    except Exception as error:
        return None, f"unavailable (NVML: {in_short(error)})"
    finally:
        pynvml.nvmlShutdown()
    if not used:  # in a container, NVML names the host's process numbers
        return None, "unavailable (NVML does not list this process; its numbers may be those of a container's host)"
    if any(value is None for value in used):
        return None, "unavailable (NVML does not tell a process's memory here)"
    total = int(sum(used))
    if total < reserved:
        return None, "unavailable (NVML's process of this number holds less than torch reserved: it is another one)"
    return total, "NVML, process's use after the step"


def _nvml_handle(pynvml: Any, index: int) -> Any:
    """NVML's handle of torch's device `index`. NVML counts all GPUs, CUDA those made visible, in an order of its own:
    the UUID is the same for both."""
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if uuid is not None:
        for prefix in ("GPU", "MIG"):
            try:
                return pynvml.nvmlDeviceGetHandleByUUID(f"{prefix}-{uuid}")
            except pynvml.NVMLError:
                continue
    return _visible_handle(pynvml, index)


def _visible_handle(pynvml: Any, index: int) -> Any:
    """The same by the environment's list, or by NVML's own order."""
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    entry = visible[index] if index < len(visible) else str(index)
    return pynvml.nvmlDeviceGetHandleByIndex(int(entry)) if entry.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(entry)
