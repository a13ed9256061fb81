"""Peak memory of a step, measured in passes of their own, never while timing."""

import ctypes
import json
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch.autograd.profiler import profile  # torch.profiler's, which wraps it, imports torch's compiler to start
from torch.profiler import ProfilerActivity

from metabench.engines.base import Foreign
from metabench.errors import in_short
from metabench.machine.limits import status_bytes
from metabench.machine.nvml import Reading
from metabench.measure.clock import no_garbage_collection
from metabench.measure.gpu_memory import FOREIGN, library_peak, torch_peak
from metabench.measure.kineto import StartedTwice, quiet_kineto, running, the_only_one
from metabench.record.measurement import WORK_SPACE, Memory

Step = Callable[[], object]

SAMPLING_SECONDS = 0.001
RESET_SLACK_BYTES = 4 << 20  # the kernel keeps its page counts per processor, and sums them up lazily


class Event(NamedTuple):
    """One allocation (`size` > 0) or release (`size` < 0), in bytes; `total` is the allocator's own running sum."""

    address: int
    size: int
    total: int


def measure_memory(
    step: Step,
    device: torch.device,
    held: int = 0,
    foreign: Foreign | None = None,
    unused: Mapping[str, int] | None = None,
) -> Memory:
    """The peak memory of `step` on `device`; calls it twice on a CPU, once elsewhere.

    `held` are bytes that the step works in and that it keeps from one call to the next: they count as the step's.
    `foreign` is there where another library than torch allocates what the step uses: it gives that library's allocator
    on a device, or None where there is nothing to be asked. `unused` is what `unused_gpus` gave before this process
    used CUDA.

    The caller warms up: call the step once before, or first-use costs (lazy initialisation, compilation, cuDNN's
    selection of an algorithm) are counted too. The result of the step counts as live to its end.

    On a CPU, `tracked_bytes` is exact for what torch's allocator gives to the calling thread, which is all but what
    threads of the step's own or of a kernel take for themselves, and what other libraries (NumPy, JAX) allocate. It
    counts bytes asked for, and does not go down when the step releases tensors that are older than itself. On CUDA it
    does (torch keeps one running sum there), and it counts the allocator's rounded blocks. `resident_bytes` has
    all of the process in it (fragmentation, autograd's nodes, other libraries), and differs by a few percent from
    call to call.

    Raises whatever the step raises.
    """
    if device.type == "cuda":
        found = (
            library_peak(step, device, foreign(device), unused or {})
            if foreign
            else torch_peak(step, device, held, unused or {})
        )
        off_cpu = "not measured (CUDA device)"
        return Memory(*found.added, None, off_cpu, found.allocated, found.reserved, *found.nvml)
    off_gpu = "not measured (not a CUDA device)"
    resident = resident_peak(step)
    tracked: Reading = FOREIGN
    if not foreign:
        tracked = (
            tracked_peak(step) if device.type == "cpu" else (None, f"unavailable (no tracking on '{device.type}')")
        )
    if tracked[0] is not None and held:
        tracked = (tracked[0] + held, f"{tracked[1]}{WORK_SPACE}")
    return Memory(*tracked, *resident, None, None, None, off_gpu)


# --- tracked: the allocator's own events -----------------------------------------------------------------------------


def tracked_peak(step: Step) -> Reading:
    """The exact peak of live bytes that torch's CPU allocator gave out during `step`.

    torch's profiler reports every allocation and release, those inside kernels and autograd's included. Two marker
    tensors enclose the step's events; without them, or with events missing or out of order, there is no number.
    """
    if running():  # starting a second one would silently end the first
        return None, "unavailable (another profiler is running)"
    with no_garbage_collection(), quiet_kineto(), tempfile.TemporaryDirectory() as folder:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 2.11 warns that events are not kept across cycles: there is one
                profiler = profile(use_kineto=True, profile_memory=True)
                profiler.__enter__()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            return None, f"unavailable (torch's profiler does not start: {in_short(error)})"
        try:
            # Memory events alone are wanted: without the operators' the trace is less than a third as long.
            with suppress(RuntimeError, AttributeError):
                profiler.toggle_collection_dynamic(False, [ProfilerActivity.CPU])
            begin = torch.empty(1, dtype=torch.uint8, device="cpu")
            with the_only_one():
                result = step()
            end = torch.empty(1, dtype=torch.uint8, device="cpu")
        except StartedTwice as error:
            return None, f"unavailable ({error})"
        finally:
            profiler.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        del result
        trace = Path(folder) / "trace.json"
        try:
            profiler.export_chrome_trace(str(trace))  # type: ignore[no-untyped-call]
            events = read_trace(trace)
        except (OSError, ValueError, RuntimeError) as error:
            return None, f"unavailable (the profiler's trace cannot be read: {in_short(error)})"
        return peak_between(events, begin.data_ptr(), end.data_ptr())


def read_trace(trace: Path) -> list[Event]:
    """The CPU memory events of a trace that torch's profiler exported, in its order. Raises ValueError, OSError."""

    def shorten(entry: dict[str, Any]) -> object:
        # Called for the innermost objects first: an event's "args" become a tuple at once, or long traces take GBs.
        if "Total Allocated" in entry:
            on_cpu = entry.get("Device Type") == 0
            return Event(entry["Addr"], entry["Bytes"], entry["Total Allocated"]) if on_cpu else None
        if "args" in entry:
            return entry["args"] if entry.get("name") == "[memory]" else None
        return entry

    try:
        with trace.open(encoding="utf-8") as file:
            entries = json.load(file, object_hook=shorten)["traceEvents"]
        return [entry for entry in entries if isinstance(entry, Event)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"unknown format, {error!r}") from error


def peak_between(events: Sequence[Event], begin: int, end: int) -> Reading:
    """The peak of the running sum between the allocations at the addresses `begin` and `end` of one byte each."""
    first = next((i for i, event in enumerate(events) if event[:2] == (begin, 1)), None)
    last = next((i for i in range(len(events) - 1, -1, -1) if events[i][:2] == (end, 1)), None)
    if first is None or last is None or last <= first:
        return None, "unavailable (the profiler reported no memory events)"
    live: dict[int, int] = {}
    total = events[first].total
    current = peak = 0
    for address, size, allocated in events[first + 1 : last]:
        total += size
        if total != allocated:  # the sum is kept under the allocator's lock, so it proves the order
            return None, "unavailable (the profiler's memory events are incomplete or out of order)"
        if size > 0:
            if address in live:
                return None, "unavailable (memory was released on a thread that the profiler does not see)"
            live[address] = size
            current += size
            peak = max(peak, current)
        else:
            # A release of what was not allocated since `begin`: tensors older than the step.
            current -= live.pop(address, 0)
    return peak, "allocator events"


# --- resident: the process as the system sees it ---------------------------------------------------------------------


def resident_peak(step: Step) -> Reading:
    """The peak of the process's resident set during `step`, above that just before it.

    Memory that the C library's allocator keeps after a release would hide what the step needs, so it is given back
    first where that can be done (glibc); the method names what was done.
    """
    with no_garbage_collection():
        trimmed = _trim_heap()
        before = _reset_peak()
        if before is not None:
            result = step()
            peak = status_bytes("VmHWM")
            del result
            return max(0, peak - before), f"peak resident set from Linux, {trimmed}"
        return _sampled_growth(step), f"resident set sampled every {SAMPLING_SECONDS * 1e3:g} ms, {trimmed}"


def _trim_heap() -> str:
    with suppress(OSError):
        foreign = re.search("jemalloc|tcmalloc|mimalloc", Path("/proc/self/maps").read_text(errors="replace"))
        if foreign:  # preloaded in glibc's place, and not heeding its call
            return f"{foreign.group()} may have kept and reused memory"
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc
        return "the allocator may have kept and reused memory"
    return "heap trimmed before"


def _reset_peak() -> int | None:
    """Make Linux forget the peak resident set; the resident bytes now, or None where that does not work."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = status_bytes("VmRSS")
        # Some sandboxes take the write and do nothing.
        return before if status_bytes("VmHWM") - before <= RESET_SLACK_BYTES else None
    except (OSError, ValueError):
        return None


def _sampled_growth(step: Step) -> int:
    process = psutil.Process()
    done = threading.Event()
    highest = 0

    def sample() -> None:
        nonlocal highest
        while not done.wait(SAMPLING_SECONDS):
            highest = max(highest, process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()  # before the baseline, which then has the thread's own stack in it
    before = process.memory_info().rss
    try:
        result = step()
        after = process.memory_info().rss
        del result
    finally:
        done.set()
        sampler.join()
    return max(0, highest - before, after - before)
