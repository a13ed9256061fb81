"""The fingerprint of the machine that a run was measured on, fit to be published.

No host name, user name or file-system path is in it. What cannot be found out is None.
"""

import getpass
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module, metadata
from typing import Any, TypeVar

import psutil
import torch
from msgspec import to_builtins

from metabench.machine.cores import bounded_spinning, usable_cores
from metabench.machine.groups import group_limit, quota_cores, read_plain
from metabench.machine.load import LOOK_SECONDS, look_twice
from metabench.machine.revision import revision
from metabench.record.environment import Machine, MainMemory, Processor
from metabench.record.reading import typed
from metabench.text import counted

PACKAGES = (
    *("torch", "torchvision", "triton", "numpy", "scipy", "pandas", "matplotlib", "psutil", "nvidia-ml-py"),
    *("pytest", "pytest-benchmark", "higher", "learn2learn", "torchopt", "jax", "jaxlib", "optax", "optuna"),
)
ENVIRONMENT = re.compile(
    r"(OMP|MKL|OPENBLAS|BLIS|VECLIB_MAXIMUM|NUMEXPR)_NUM_THREADS|OMP_(DYNAMIC|PLACES|PROC_BIND|SCHEDULE|WAIT_POLICY)"
    r"|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING)|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE"
    r"|(PYTORCH|KMP|GOMP|MALLOC)_\w+|THP_MEM_ALLOC_ENABLE|GLIBC_TUNABLES"
)
LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
T = TypeVar("T")


def fingerprint(threads: int) -> Machine:
    """The machine, its state now, and the versions of all that counts.

    `threads` is the number that measurements run with. This process and those below it are not counted as load.
    Bytes, MHz, watts, °C; times in UTC. Takes about half a second.
    """
    gpus, cuda = _gpus()
    found = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": threads,
        "processor": _processor(),
        "memory": {
            "total_bytes": psutil.virtual_memory().total,
            "limit_bytes": group_limit(),
            "large_pages": _large_pages(),
        },
        "system": _system(),
        "gpus": gpus,
        "cuda": cuda,
        "load": _load(),
        "power": power(),
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "packages": _packages(),
        "torch": _torch(),
        "environment": _environment({**bounded_spinning(os.environ), **os.environ}),
        "metabench": to_builtins(revision()),
    }
    return typed(found, Machine)


def short_name(machine: Machine) -> str:
    """One line for table headers: "AMD EPYC (AVX2), 2 cores, 24 GiB, torch 2.15.0, Python 3.11.7, 2 threads"."""
    processor, memory = machine.processor or Processor(), machine.memory or MainMemory()
    cores = processor.physical_cores or processor.logical_cores
    gpus = [str(gpu.name) for gpu in machine.gpus or []]
    name = re.sub(r"\((R|TM|C)\)|\b(CPU|Processor)\b|@.*", " ", processor.name or "unknown processor")
    parts = [
        f"{name} ({machine.vectors})" if machine.vectors else name,
        counted(cores, "core") if cores else "",
        f"{(memory.total_bytes or 0) / 2**30:.0f} GiB",
        *(name if gpus.count(name) == 1 else f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)),
        f"torch {(machine.packages or {}).get('torch')}",
        f"Python {(machine.python or {}).get('version')}",
        counted(machine.threads or 0, "thread"),
    ]
    return ", ".join(" ".join(part.split()) for part in parts if part)


# --- hardware and system ---------------------------------------------------------------------------------------------


def _load() -> dict[str, Any]:
    load = look_twice(LOOK_SECONDS)
    return {
        "average_1min": _try(lambda: round(os.getloadavg()[0], 2)),
        "other_processes_cores": load and round(load.others, 2),
        "stolen_cores": load and round(load.stolen, 2),
    }


def processor_model() -> str:
    """The name of the processor, at once; empty where the kernel does not say it."""
    return _field(read_plain("/proc/cpuinfo") or "", "model name") or platform.processor()


def _processor() -> dict[str, Any]:
    listing = read_plain("/proc/cpuinfo") or ""
    frequency = _try(psutil.cpu_freq)
    return {
        "name": _field(listing, "model name") or _cpuinfo_brand(),
        "architecture": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": usable_cores(),
        "quota_cores": quota_cores(),
        "mhz_now": frequency and (round(frequency.current) or None),
        "mhz_max": frequency and (round(frequency.max) or None),
        "caches": _caches(),
        "virtual_machine": "hypervisor" in (_field(listing, "flags") or "").split() if listing else None,
    }


def _cpuinfo_brand() -> str | None:
    # Asks several programs, for about a second: only where the kernel does not say it (macOS, Windows, Arm).
    info = _try(lambda: import_module("cpuinfo").get_cpu_info()) or {}
    return info.get("brand_raw") or platform.processor() or None


def _caches() -> dict[str, int]:
    """Bytes of the first core's caches by name: "L1d", "L1i", "L2", "L3"; empty where the kernel does not say."""
    sizes: dict[str, int] = {}
    for index in range(8):
        level, kind, size = (
            read_plain(f"/sys/devices/system/cpu/cpu0/cache/index{index}/{x}") for x in ("level", "type", "size")
        )
        if level and kind and size and size[:-1].isdigit() and size[-1] in "KM":
            letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
            sizes[f"L{level}{letter}"] = int(size[:-1]) * {"K": 1024, "M": 1024**2}[size[-1]]
    return sizes


def _system() -> dict[str, Any]:
    return {
        "os": platform.system(),
        "distribution": _try(lambda: platform.freedesktop_os_release()["PRETTY_NAME"]) or platform.mac_ver()[0] or None,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
    }


def power() -> dict[str, Any]:
    """Battery and governor: what decides on the processor's clock."""
    battery = _try(lambda: psutil.sensors_battery())
    return {
        "plugged_in": battery and battery.power_plugged,
        "battery_percent": battery and round(battery.percent),
        "governor": read_plain("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


# --- GPUs ------------------------------------------------------------------------------------------------------------


@contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library or no driver, each its own class: there is no NVIDIA GPU to speak of
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _large_pages() -> str | None:
    """Linux puts its choice in brackets: `always [madvise] never`."""
    chosen = re.search(r"\[(\w+)\]", read_plain(LARGE_PAGES) or "")
    return chosen[1] if chosen else None


def _gpus() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All GPUs of the machine, visible to this process or not; and the versions of driver and libraries."""
    cuda = {
        "torch": torch.version.cuda and str(torch.version.cuda),
        "cudnn": _try(torch.backends.cudnn.version),
        "driver": None,
        "supported": None,
    }
    with _nvml() as nvml:
        if nvml is not None:
            version = _try(nvml.nvmlSystemGetCudaDriverVersion)
            cuda["driver"] = _text(_try(nvml.nvmlSystemGetDriverVersion))
            cuda["supported"] = version and f"{version // 1000}.{version % 1000 // 10}"
            handles = [_try(nvml.nvmlDeviceGetHandleByIndex, i) for i in range(_try(nvml.nvmlDeviceGetCount) or 0)]
            return [_gpu(nvml, handle) for handle in handles if handle is not None], cuda
    if not torch.cuda.is_available():
        return [], cuda
    found = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
    return [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in found], cuda


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    limit = _try(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return {
        "name": _text(_try(nvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
        "memory_bytes": _try(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total)),
        "sm_mhz": _try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        "sm_mhz_max": _try(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": _try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "power_limit_w": limit and round(limit / 1000),
        "temperature_c": _try(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
    }


# --- software --------------------------------------------------------------------------------------------------------


def _packages() -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"torch": str(torch.__version__)} | versions


def _torch() -> dict[str, Any]:
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "blas": blas and blas.group(1),
        "mkl": _try(torch.backends.mkl.is_available),
        "onednn": _try(torch.backends.mkldnn.is_available),
        "openmp": _try(torch.backends.openmp.is_available),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that change how fast torch runs, with what could name a person or a machine hidden."""
    return {name: _publishable(value) for name, value in sorted(variables.items()) if ENVIRONMENT.fullmatch(name)}


def _publishable(value: str) -> str:
    if re.search(r"[/\\]", value):
        return "(a path, hidden)"
    names = [name for name in (_try(getpass.getuser), _try(socket.gethostname)) if name]
    return "(hidden)" if any(re.search(rf"\b{re.escape(name)}\b", value) for name in names) else value


# --- reading what may not be there -----------------------------------------------------------------------------------


def _try(ask: Callable[..., T], *arguments: Any) -> T | None:
    """The answer, or None: each question is missing or refused on some platform, with an error of its own."""
    try:
        return ask(*arguments)
    except Exception:
        return None


def _field(listing: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*:\s*(.+)$", listing, re.MULTILINE)
    return found and found.group(1).strip()


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
