"""One meta-iteration under torch's profiler, with a range for each phase: gives the text of a Chrome trace."""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _RecordFunctionFast
from torch.profiler import ProfilerActivity, profile

from metabench.measure.clock import no_garbage_collection
from metabench.measure.marks import Marks, Stamp
from metabench.measure.memory import quiet_kineto
from metabench.profile.trace import RANGE, Trace, parse

TRIES = 40


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


def recorded(run: Callable[[Marks], Callable[[], object]], device: torch.device, seconds: float) -> tuple[str, Trace]:
    """The Chrome trace of one meta-iteration, as text and as data. `run` gives one that marks.

    The shortest of as many as there are seconds for: another program's slice of the processor would stand in it as an
    operator's time.
    """
    marks = Marks(ranges(device.type == "cuda"))
    call = run(marks)
    call()
    begin = time.perf_counter()
    found = [_trace(call, device)]
    while len(found) < TRIES and time.perf_counter() - begin < seconds:
        found.append(_trace(call, device))
    return min(found, key=lambda pair: pair[1].seconds)


def _trace(call: Callable[[], object], device: torch.device) -> tuple[str, Trace]:
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with no_garbage_collection(), quiet_kineto(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.11 warns that events are not kept across cycles: there is one
        with profile(activities=activities, profile_memory=True, acc_events=False) as profiler:
            call()
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        text = file.read_text(encoding="utf-8")
        return text, parse(text)
