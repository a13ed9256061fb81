"""Wall time of a call: warmed up, in blocks that the clock resolves, until the median is known well enough."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from metabench.machine.load import load_between, look
from metabench.record.timing import MIN_SAMPLES, Summary
from metabench.statistics.intervals import NOISY_WIDTH, known_within, summarise
from metabench.statistics.trend import Trend, trend

PATIENCE = 10  # so many budgets a very slow call may take to get them
STABLE = 0.05  # warm-up ends when the medians of two successive windows differ by less than this share
WINDOW = 3
SHORTEST_LOOK_S = 0.1  # the system counts processor time in ticks of a hundredth of a second
LOOK_GROWTH = 1.5  # the interval is looked at after so many times as many samples as the last time


@dataclass(frozen=True)
class Budget:
    """How much time a measurement may take, in seconds, and when it is good enough to stop."""

    seconds: float = 2.0
    block_seconds: float = 0.01
    relative_width: float = 0.01
    """Sampling stops once the median is known to ± this share of itself, and `min_samples` are there."""
    min_samples: int = 20
    """Fewest samples before sampling may stop."""
    noisy_width: float = NOISY_WIDTH
    """A 95 % interval of the median wider than ± this share is called noisy; a move by more is called a drift."""
    word: str = "time_budget_s"
    """What a user calls `seconds`, for advice."""


@dataclass(frozen=True)
class Timing:
    """What the clock saw of one call, in seconds."""

    summary: Summary
    noisy: bool
    """Whether the interval of the median is wide, or not known for want of samples."""
    note: str
    """One sentence where the figure is noisy or drifted, else empty."""
    processor_share: float | None = None
    """Processor seconds that this process used in each second of sampling."""
    others: float | None = None
    """Cores that other programs, and other virtual machines of the host, kept busy meanwhile; None where it cannot be
    known, as in a short time."""


def time_once(call: Callable[[], object], device: torch.device, wait: Callable[[], object] = lambda: None) -> float:
    """Seconds of a single call. The first one includes what is done once: compilation, allocation, autotuning."""
    with no_garbage_collection():
        return _block_of(device, wait)(call, 1)


def measure_time(
    call: Callable[[], object], device: torch.device, budget: Budget, wait: Callable[[], object] = lambda: None
) -> Timing:
    """Time `call`, which must be repeatable with constant work. The garbage collector is off meanwhile.

    A call may return before its work is done; `wait` returns when all is. It is called at the end of each block, so
    that what a library can do ahead of time, it may. On CUDA it is called before the block's closing event: that event
    waits for torch's stream alone, and knows nothing of the work of another library.
    """
    run_block = _block_of(device, wait)
    with no_garbage_collection():
        warm = time.perf_counter() + budget.seconds / 4
        block = _warm_block(call, run_block, budget, warm)
        before, used, began = look(), time.process_time(), time.perf_counter()
        samples = _sample(call, run_block, block, budget)
        seconds, used, after = time.perf_counter() - began, time.process_time() - used, look()
    summary = summarise(samples, block)
    noisy = summary.n < MIN_SAMPLES or summary.relative_width > budget.noisy_width
    several = device.type == "cpu" and torch.get_num_threads() > 1
    note = _note(summary, trend(samples), budget, several)
    load = load_between(before, after) if seconds > SHORTEST_LOOK_S else None
    others = load.others + load.stolen if load else None
    return Timing(summary, noisy, note, used / seconds if seconds else None, others)


def _block_of(device: torch.device, wait: Callable[[], object]) -> Callable[[Callable[[], object], int], float]:
    """The clock of that device: `(call, number of calls) -> seconds of each`."""
    return partial(_cuda_block if device.type == "cuda" else _cpu_block, wait)


def _sample(call: Callable[[], object], run_block: Callable[..., float], block: int, budget: Budget) -> list[float]:
    """Blocks until the median is known well enough, or for the budget."""
    samples: list[float] = []
    deadline = time.perf_counter() + budget.seconds
    # Each look is a chance to stop at a lucky moment, so there are few, at numbers of samples that grow.
    look = budget.min_samples
    while not _spent(samples, deadline, budget):
        samples.append(run_block(call, block))
        if len(samples) == look:
            if known_within(samples, budget.relative_width):
                break
            look = math.ceil(look * LOOK_GROWTH)
    return samples


def _spent(samples: list[float], deadline: float, budget: Budget) -> bool:
    now = time.perf_counter()
    if len(samples) < MIN_SAMPLES:
        return now > deadline + (PATIENCE - 1) * budget.seconds and bool(samples)
    return now > deadline


def _note(summary: Summary, drift: Trend, budget: Budget, several_threads: bool) -> str:
    """What makes the figure doubtful, and what to do about it; empty if nothing does."""
    if summary.n < MIN_SAMPLES:
        return f"only {summary.n} samples fitted the time budget: raise {budget.word}"
    if drift.exceeds(1 + budget.noisy_width):
        share = f"{100 * abs(drift.change - 1):.0f} %"
        if drift.change > 1:
            return f"the time rose by {share} while it was measured: let the machine cool down, and measure again"
        return (
            f"the time fell by {share} while it was measured: raise {budget.word}, since warming up takes up to a "
            "quarter as long"
        )
    if summary.relative_width > budget.noisy_width:
        return (
            f"the interval is ±{100 * summary.relative_width:.0f} % of the median: close other programs"
            f"{', take threads = 1' if several_threads else ''} or raise {budget.word}"
        )
    return ""


def _warm_block(call: Callable[[], object], run_block: Callable[..., float], budget: Budget, deadline: float) -> int:
    """Warm up, and give how many calls make a block: many more where one call that was slow by chance was taken for
    the time of all."""
    block = _calibrate(call, run_block, budget)
    while (each := _warm_up(call, run_block, block, deadline)) and each * block < budget.block_seconds / 2:
        block = max(2 * block, round(budget.block_seconds / each))
    return block


def _calibrate(call: Callable[[], object], run_block: Callable[..., float], budget: Budget) -> int:
    """How many calls make a block of at least `block_seconds`."""
    block = 1
    while (elapsed := run_block(call, block) * block) < budget.block_seconds / 2:
        block *= 2
    return max(1, round(block * budget.block_seconds / elapsed)) if elapsed < budget.block_seconds else block


def _warm_up(call: Callable[[], object], run_block: Callable[..., float], block: int, deadline: float) -> float:
    """Run blocks until two successive windows agree, or until the deadline: a very slow call is warm by then.

    Gives the seconds of a call at last; 0 where there was no time for any.
    """
    recent: list[float] = []
    while time.perf_counter() < deadline:
        recent.append(run_block(call, block))
        if len(recent) >= 2 * WINDOW:
            before, after = median(recent[-2 * WINDOW : -WINDOW]), median(recent[-WINDOW:])
            if math.isclose(before, after, rel_tol=STABLE):
                break
    return median(recent[-WINDOW:]) if recent else 0.0


def _cpu_block(wait: Callable[[], object], call: Callable[[], object], block: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(block):
        call()
    wait()
    return (time.perf_counter_ns() - start) / block * 1e-9


def _cuda_block(wait: Callable[[], object], call: Callable[[], object], block: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for _ in range(block):
        call()
    wait()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / block * 1e-3


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage, then keep the collector off: when it runs is chance, and must not be measured."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
