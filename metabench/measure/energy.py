"""The energy of a meta-iteration: by the counters of a GPU (NVML) or of a processor's packages (RAPL)."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import torch

from metabench.errors import in_short
from metabench.machine.nvml import energy_counter
from metabench.record.measurement import Energy

POWERCAP = Path("/sys/class/powercap")
WINDOW_SECONDS = 3.0
BLOCK_SECONDS = 0.02
"""How long the work between two readings takes; a counter moves on every millisecond (RAPL) to tenth of a second."""
NVML_METHOD = "NVML's energy counter of the whole GPU, its idle power included"
RAPL_METHOD = "RAPL, all packages of the processor, their idle power and other programs included"

Read: TypeAlias = Callable[[], float]
"""Joules used since some moment; only differences count."""


class NoCounter(Exception):
    """There is no counter that can be read; the message says why."""


def measure_energy(run: Callable[[], object], wait: Callable[[], object], device: torch.device) -> Energy:
    """Run meta-iterations for at least 3 s and read the counter of the device before and after.

    `wait` returns when all that `run` began is done. Raises whatever these two raise.
    """
    try:
        counter, method = (_gpu(device), NVML_METHOD) if device.type == "cuda" else (_packages(), RAPL_METHOD)
        with counter as read:
            return over_window(run, wait, _told(read), method)
    except NoCounter as error:
        return Energy(None, None, None, None, f"unavailable ({error})")


def _told(read: Read) -> Read:
    """Make a counter raise `NoCounter` where a reading fails that went well before."""

    def reading() -> float:
        try:
            return read()
        except Exception as error:  # a file that is gone, a driver that ended: each has a class of its own
            raise NoCounter(f"a reading failed: {in_short(error)}") from error

    return reading


def over_window(
    run: Callable[[], object],
    wait: Callable[[], object],
    read: Read,
    method: str,
    least: float = WINDOW_SECONDS,
    now: Callable[[], float] = time.perf_counter,
) -> Energy:
    """Energy, from one step of the counter to another that is at least `least` seconds later.

    A counter moves in steps. A window that begins and ends right after one is not wrong by a part of a step.
    """

    def block() -> None:
        for _ in range(size):
            run()
        wait()

    size = 1
    begin = now()
    block()  # warms up, and tells how many iterations make a block
    size = max(1, round(BLOCK_SECONDS / max(now() - begin, BLOCK_SECONDS / 10_000)))
    first = _after_step(block, read, read(), now() + least, now)[0]
    begin, blocks, last = now(), 0, first
    while True:
        last, more = _after_step(block, read, last, now() + least, now)
        blocks += more
        seconds = now() - begin
        if seconds >= least:
            break
    if last == first:
        raise NoCounter(f"the counter did not move in {seconds:.3g} s")
    used, iterations = last - first, blocks * size
    return Energy(used / iterations, used / seconds, seconds, iterations, method)


def _after_step(
    block: Callable[[], object], read: Read, before: float, deadline: float, now: Callable[[], float]
) -> tuple[float, int]:
    """Run blocks until the counter has moved, or the deadline is over; its reading, and how many blocks there were."""
    blocks = 0
    while True:
        block()
        blocks += 1
        reading = read()
        if reading != before or now() >= deadline:
            return reading, blocks


@contextmanager
def _gpu(device: torch.device) -> Iterator[Read]:
    with ExitStack() as opened:
        try:
            read = opened.enter_context(energy_counter(device))
            read()
        except Exception as error:  # no library, no driver, no such counter: each has a class of its own
            raise NoCounter(f"NVML: {in_short(error)}") from error
        yield read


@contextmanager
def _packages() -> Iterator[Read]:
    yield rapl_counter(POWERCAP)


def rapl_counter(folder: Path) -> Read:
    """The sum of the packages' counters in Linux's powercap `folder`, in joules, which goes on where a counter starts
    anew from zero.

    Packages alone count: cores and graphics are parts of them, and `psys` is the whole board, with a package in it. A
    counter must be read at least once in each of its rounds, which take minutes. Raises `NoCounter`.
    """
    domains = [path for path in folder.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", path.name)]
    try:
        packages = [path for path in domains if (path / "name").read_text("ascii").strip().startswith("package")]
        ranges = [int((path / "max_energy_range_uj").read_text("ascii")) for path in packages]
        before = _readings(packages)
    except PermissionError as error:
        raise NoCounter(
            "RAPL: the system lets nobody but root read energy_uj; allow it by chmod a+r "
            f"{folder}/intel-rapl:*/energy_uj"
        ) from error
    except (OSError, ValueError) as error:
        raise NoCounter(f"RAPL: {in_short(error)}") from error
    if not packages:
        raise NoCounter(f"RAPL: no package in {folder}; a virtual machine has none, nor has any system but Linux")
    total = 0

    def read() -> float:
        nonlocal total, before
        readings = _readings(packages)
        for new, old, most in zip(readings, before, ranges, strict=True):
            total += new - old if new >= old else new - old + most
        before = readings
        return total * 1e-6

    return read


def _readings(packages: Sequence[Path]) -> list[int]:
    """Microjoules of each package."""
    return [int((path / "energy_uj").read_text("ascii")) for path in packages]
