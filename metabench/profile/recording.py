"""Meta-iterations under torch's profiler, with a range for each phase: a Chrome trace, and what operators took."""

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _RecordFunctionFast
from torch.profiler import ProfilerActivity, profile

from metabench.measure.clock import no_garbage_collection
from metabench.measure.kineto import StartedTwice, quiet_kineto, running, the_only_one
from metabench.measure.marks import Marks, Stamp
from metabench.profile.trace import RANGE, OperatorTime, Trace, by_name, over_iterations, parse
from metabench.record.timing import Summary
from metabench.statistics.intervals import summarise

LEAST, MOST = 10, 40
"""How many meta-iterations are recorded: with fewer, medians of operators would have no interval to speak of."""


def ranges(on_gpu: bool) -> Stamp:
    """A stamp that ends the range of the last phase and begins that of the next, for the profiler; on CUDA as an NVTX
    range too, for NVIDIA's own tools."""
    # torch's `record_function` is an operator, which torch.func would dispatch through all its layers.
    opened: list[Any] = []

    def stamp(phase: str) -> float:
        while opened:
            opened.pop().__exit__(None, None, None)
            if on_gpu:
                torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
        if phase:
            if on_gpu:
                torch.cuda.nvtx.range_push(phase)  # type: ignore[no-untyped-call]
            opened.append(_RecordFunctionFast(RANGE + phase))
            opened[-1].__enter__()
        return time.perf_counter()

    return stamp


@dataclass(frozen=True)
class Recording:
    """Several meta-iterations under the profiler, of which one is kept whole."""

    text: str
    """Chrome trace of the shortest, in which least of other programs can stand."""
    trace: Trace
    """Phases, operators and allocations of that trace."""
    seconds: Summary
    """Time of a recorded meta-iteration, the profiler's own work included."""
    operators: tuple[OperatorTime, ...]
    """All operators, with medians over the recorded meta-iterations."""

    @property
    def in_operators(self) -> float:
        """Seconds of a typical recorded meta-iteration in all operators: the sum of their self times."""
        return sum(each.own.value for each in self.operators)


def recorded(
    run: Callable[[Marks], Callable[[], object]], device: torch.device, seconds: float, least: int = LEAST
) -> Recording:
    """Meta-iterations under the profiler, as many as there are seconds for, and at least so many.

    `run` gives one that marks its phases.
    """
    marks = Marks(ranges(device.type == "cuda"))
    call = run(marks)
    call()
    begin = time.perf_counter()
    text, shortest = _trace(call, device)
    taken, kinds = [shortest.seconds], [by_name(shortest.operators)]
    while len(taken) < least or (len(taken) < MOST and time.perf_counter() - begin < seconds):
        written, trace = _trace(call, device)
        taken.append(trace.seconds)
        kinds.append(by_name(trace.operators))
        if trace.seconds < shortest.seconds:
            text, shortest = written, trace
    return Recording(text, shortest, summarise(taken), tuple(over_iterations(kinds)))


def _trace(call: Callable[[], object], device: torch.device) -> tuple[str, Trace]:
    if running():
        raise StartedTwice
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with no_garbage_collection(), quiet_kineto(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.11 warns that events are not kept across cycles: there is one
        with profile(activities=activities, profile_memory=True, acc_events=False) as profiler, the_only_one():
            call()
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        text = file.read_text(encoding="utf-8")
        return text, parse(text)
