"""What a meta-iteration asks of a GPU: how often the host launches work, and how long at least one kernel runs."""

import json
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from torch.autograd.profiler import profile  # torch.profiler's, which wraps it, imports torch's compiler to start

from metabench.errors import in_short
from metabench.measure.clock import no_garbage_collection
from metabench.measure.kineto import StartedTwice, quiet_kineto, the_only_one
from metabench.record.measurement import Launches
from metabench.variables import set_meanwhile

WINDOW_SECONDS = 0.05
"""How long the recorded iterations last together, without the profiler."""
MOST_ITERATIONS = 32
LOST = 0.01
"""Share of the launches whose kernels may be missing from a record that still counts."""
DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of what a GPU carries out, in the profiler's trace."""
HOST = ("cuda_runtime", "cuda_driver")
STARTS_KERNELS = re.compile("(cuda|cu)(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)")
"""Names of the calls by which a host starts kernels begin like this."""
# Without these, a graph that is replayed after the profiler was started anew crashes in some versions of CUDA.
KEEP_CUPTI = {"TEARDOWN_CUPTI": "0", "DISABLE_CUPTI_LAZY_REINIT": "1"}


class NotRecorded(Exception):
    """The profiler does not work here; the message says why."""


Start: TypeAlias = Callable[[], tuple[Callable[[], object], Callable[[], object]]]
"""Makes fresh meta-iterations: gives what runs one, and what waits for all that was begun."""


class Interval(Protocol):
    """Something with a start and an end."""

    @property
    def start(self) -> float: ...

    @property
    def end(self) -> float: ...


class Activity(NamedTuple):
    """A kernel, a copy or a fill that the GPU carried out. Times are in seconds."""

    start: float
    seconds: float
    launch: int
    """The number that it shares with the call that launched it, and with all else that this call launched."""

    @property
    def end(self) -> float:
        """The moment at which it was over."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Events:
    """What the profiler recorded."""

    activities: tuple[Activity, ...]
    launches: tuple[int, ...]
    """The numbers of the host's calls that start kernels."""


def measure_launches(start: Start, seconds: float) -> Launches:
    """Record some meta-iterations under torch's profiler; `seconds` is what one takes without it.

    `start` is called when the profiler has been started once, so that CUPTI, which records, knows the graphs that are
    captured.
    The profiler slows the host down, also after it was stopped: call this when all else has been timed. CUPTI sees the
    kernels of all libraries in the process.

    Raises whatever the iterations raise.
    """
    count = max(1, min(MOST_ITERATIONS, math.ceil(WINDOW_SECONDS / seconds)))
    with set_meanwhile(KEEP_CUPTI), quiet_kineto(), no_garbage_collection():
        try:
            _recorded(lambda: None)
            run, wait = start()
            run()  # compiles, captures, allocates
            wait()

            def window() -> None:
                for _ in range(count):
                    run()
                wait()

            text = _recorded(window)
        except NotRecorded as error:
            return Launches(None, None, None, f"torch's profiler does not record this GPU: {error}")
        except StartedTwice as error:
            return Launches(None, None, None, f"not measured: {error}")
    return launches_in(text, count)


def _recorded(call: Callable[[], object]) -> str:
    """The Chrome trace of the GPU's activities, and of the host's calls to CUDA, while `call` runs.

    Raises `NotRecorded`, and whatever `call` raises.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.11 warns that events are not kept across cycles: there is one
        try:
            profiler = profile(use_device="cuda", use_cpu=False, use_kineto=True)
            profiler.__enter__()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            raise NotRecorded(in_short(error)) from error
        try:
            with the_only_one():
                call()
        finally:
            profiler.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        file = Path(folder) / "trace.json"
        try:
            profiler.export_chrome_trace(str(file))  # type: ignore[no-untyped-call]
            return file.read_text(encoding="utf-8")
        except (OSError, RuntimeError) as error:
            raise NotRecorded(in_short(error)) from error


# --- from events to figures ------------------------------------------------------------------------------------------


def launches_in(text: str, iterations: int) -> Launches:
    """The figures of one of so many iterations that a Chrome trace of torch's profiler holds."""
    try:
        return per_iteration(read_events(json.loads(text)), iterations)
    except (ValueError, KeyError, TypeError) as error:
        return Launches(None, None, None, f"the profiler's trace cannot be read: {in_short(error)}")


def read_events(trace: Any) -> Events:
    """What a Chrome trace of torch's profiler, parsed from JSON, holds of a GPU. Raises KeyError, TypeError.

    A call of the runtime that makes a call of the driver is one launch: of nested calls the outermost counts.
    """
    entries = [entry for entry in trace["traceEvents"] if isinstance(entry, dict)]
    activities = tuple(
        Activity(entry["ts"] * 1e-6, entry["dur"] * 1e-6, int(entry["args"]["correlation"]))
        for entry in entries
        if entry.get("cat") in DEVICE
    )
    calls = [e for e in entries if e.get("cat") in HOST and STARTS_KERNELS.match(str(e.get("name")))]
    calls.sort(key=lambda e: (e["tid"], e["ts"], -e["dur"]))
    outermost: list[int] = []
    thread, end = None, 0.0
    for call in calls:
        if call["tid"] != thread or call["ts"] >= end:
            outermost.append(int(call["args"]["correlation"]))
            thread, end = call["tid"], call["ts"] + call["dur"]
    return Events(activities, tuple(outermost))


def per_iteration(events: Events, iterations: int) -> Launches:
    """The figures of one of so many iterations that all do the same.

    Launches are counted by what the GPU carried out: all that one call launched bears its number. So no list of names
    of calls has to be complete. Calls that start kernels, of which the GPU shows none, tell that the record is not.
    """
    seen = {activity.launch for activity in events.activities}
    lost = sum(number not in seen for number in events.launches)
    if lost > LOST * len(events.launches):
        says = f"of {len(events.launches)} launches, {lost} show no kernel in the record: it is incomplete"
        return Launches(len(events.launches) / iterations, None, None, says)
    if not seen:
        return Launches(None, None, None, "the record shows no work of the GPU")
    return Launches(
        (len(seen) + lost) / iterations,
        len(events.activities) / iterations,
        covered(events.activities) / iterations,
        "",
    )


def covered(spans: Iterable[Interval]) -> float:
    """Seconds in which at least one of them was going on."""
    ordered: Sequence[Interval] = sorted(spans, key=lambda span: span.start)
    total, reached = 0.0, -math.inf
    for span in ordered:
        total += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return total
