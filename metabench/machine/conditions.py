"""What of the machine's state makes timing doubtful: before a run, and while a cell was measured."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from metabench.machine.cores import too_many_threads
from metabench.machine.fingerprint import power
from metabench.machine.load import NOTABLE_CORES, Look, load_between, load_warning, look
from metabench.machine.nvml import THROTTLED, gpu_processes
from metabench.record.cell import Cell
from metabench.record.timing import GpuState, Time

STEADY_GOVERNORS = ("performance", "userspace")
CLOCK_CHANGE = 0.1  # readings of a steady clock differ by a few percent
BUSY_GPU = "another process is on the GPU: timings will be noisy; end it or take another GPU by CUDA_VISIBLE_DEVICES"


def warnings_now(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each thing that will make timings of these cells doubtful, and what to do about it."""
    threads = max(cell.threads * cell.world_size for cell in cells)
    return warnings_for(threads, any(cell.device == "cuda" for cell in cells))


def warnings_for(threads: int, on_gpu: bool) -> list[str]:
    """A sentence for each thing that will make timings with so many threads doubtful, and what to do about it."""
    load = load_warning()
    found = [load and _with_remedy(load, threads), too_many_threads(threads), *_power_warnings(power())]
    if on_gpu and gpu_processes():
        found.append(BUSY_GPU)
    return [sentence for sentence in found if sentence]


def _with_remedy(sentence: str, threads: int) -> str:
    """The sentence on other programs, and what else helps where several threads wait for each other."""
    return f"{sentence}, or measure with threads = 1, which suffers least" if threads > 1 else sentence


def _power_warnings(state: Mapping[str, Any]) -> list[str]:
    found = []
    if state["plugged_in"] is False:
        found.append(f"the machine runs on battery ({state['battery_percent']} %), which slows it down: plug it in")
    if state["governor"] is not None and state["governor"] not in STEADY_GOVERNORS:
        found.append(
            f"the processor's clock follows the load (governor '{state['governor']}'): timings will be noisy; "
            "set the governor 'performance'"
        )
    return found


@dataclass(frozen=True)
class Observation:
    """The machine right before or after a cell's process."""

    look: Look | None
    """What processors did; None where the system does not tell."""
    swapped: int | None
    """Bytes moved to and from the swap since the machine started; None where that cannot be known."""
    gpu_processes: int | None
    """How many processes compute on the GPU; None where it was not asked or cannot be known."""


def observe(device: str = "") -> Observation:
    """The state now; of the GPU only where the cell is about to run on it."""
    return Observation(look(), _swapped(), gpu_processes() if device == "cuda" else None)


def disturbances(before: Observation, after: Observation, time: Time | None, threads: int = 1) -> list[str]:
    """A sentence for each thing that disturbed a cell with so many threads; `time` is what its clock found.

    No figures are in them, so that the rows of a run with the same sentence can be counted.
    """
    found = []
    load = load_between(before.look, after.look)
    if load and load.others > NOTABLE_CORES:
        others = f"other programs used more than {100 * NOTABLE_CORES:.0f} % of a core meanwhile: close them"
        found.append(_with_remedy(others, threads))
    found += swapping(before, after)
    if before.gpu_processes:
        found.append(BUSY_GPU)
    if slowed_by := _throttled(time.gpu if time else []):
        found.append(
            f"the GPU lowered its clocks around the timing ({slowed_by}): let it cool down, raise its power "
            "limit, or fix its clocks by nvidia-smi -lgc"
        )
    clocks = [mhz for mhz in (time.clock_mhz if time else []) if mhz]
    if len(clocks) > 1 and max(clocks) > (1 + CLOCK_CHANGE) * min(clocks):
        found.append(
            f"the processor's clock changed by more than {100 * CLOCK_CHANGE:.0f} % during the timing: "
            "let the machine cool down, and fix the clock by the governor 'performance'"
        )
    return found


def swapping(before: Observation, after: Observation) -> list[str]:
    """What disturbs times and peaks of resident memory alike, in a sentence."""
    if before.swapped is None or after.swapped is None or after.swapped <= before.swapped:
        return []
    return ["memory was swapped meanwhile: close other programs, or measure something smaller"]


def _throttled(states: Iterable[GpuState | None]) -> str:
    """Why a GPU was slower than it can be, in words; empty if it was not, or does not tell."""
    reasons = {reason for state in states if state for reason in state.reasons or []}
    return ", ".join(sorted(reasons & THROTTLED))


def _swapped() -> int | None:
    with suppress(Exception), warnings.catch_warnings():  # missing or refused on some systems, each in its own way
        warnings.simplefilter("ignore")
        memory = psutil.swap_memory()
        return int(memory.sin + memory.sout)
    return None


def clock_mhz() -> float | None:
    """The clock of the fastest core now, which is a busy one; None where it cannot be known."""
    with suppress(Exception):
        return max((float(core.current) for core in psutil.cpu_freq(percpu=True)), default=0.0) or None
    return None
