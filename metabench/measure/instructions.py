"""Instructions of a meta-iteration: what it asks of a processor, whatever the clock and other programs do meanwhile."""

import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TypeAlias

from metabench.measure.clock import no_garbage_collection
from metabench.measure.energy import NoCounter
from metabench.record.measurement import Instructions

WINDOWS = 5
"""How often iterations are counted: the median is taken."""
COUNTED = "counted by the processor, outside of the kernel"
SYSCALLS = {"x86_64": 298, "aarch64": 241}
"""Numbers of Linux's `perf_event_open`, by machine."""
CYCLES, INSTRUCTIONS = 0, 1  # PERF_COUNT_HW_… of <linux/perf_event.h>
INHERIT, NO_KERNEL, NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
"""Bits of `perf_event_attr`: threads that are started later count; what runs in the kernel does not."""
THREADS = Path("/proc/self/task")

Read: TypeAlias = Callable[[], int]
"""How many there were since some moment; only differences count."""


class _Attributes(ctypes.Structure):
    """The first fields of `perf_event_attr`, which are enough to count."""

    _fields_ = (
        *(("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("config", ctypes.c_uint64)),
        *(("sample_period", ctypes.c_uint64), ("sample_type", ctypes.c_uint64), ("read_format", ctypes.c_uint64)),
        *(("bits", ctypes.c_uint64), ("wakeup_events", ctypes.c_uint32), ("bp_type", ctypes.c_uint32)),
        ("config1", ctypes.c_uint64),
    )


def measure_instructions(
    run: Callable[[], object], iterations: int, emulated: Callable[[], Instructions]
) -> Instructions:
    """Instructions and cycles of a meta-iteration, as the median of a few windows of so many iterations.

    `run` returns when all is done. Where the processor's counters cannot be read, `emulated` counts instead; where
    that raises `NoCounter`, too, the figures are None, and the method says why.
    """
    try:
        with processor_counter(INSTRUCTIONS) as instructions, processor_counter(CYCLES) as cycles:
            return _counted(run, iterations, instructions, cycles)
    except NoCounter as error:
        try:
            return emulated()
        except NoCounter as other:
            return Instructions(None, None, None, f"unavailable ({error}; {other})")


def _counted(run: Callable[[], object], iterations: int, instructions: Read, cycles: Read) -> Instructions:
    found: list[tuple[float, float]] = []
    with no_garbage_collection():
        run()
        for _ in range(WINDOWS):
            before = instructions(), cycles()
            for _ in range(iterations):
                run()
            found.append(((instructions() - before[0]) / iterations, (cycles() - before[1]) / iterations))
    count, took = (median(values) for values in zip(*found, strict=True))
    return Instructions(count, took, iterations, COUNTED)


@contextmanager
def processor_counter(event: int) -> Iterator[Read]:
    """A counter of this process: of all threads that it has, and of those that they start.

    Raises `NoCounter` where the system has none or does not allow it.
    """
    number = SYSCALLS.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        raise NoCounter("the processor's counters are read on Linux alone, on x86-64 and AArch64")
    files: list[int] = []
    with ExitStack() as opened:
        for thread in THREADS.iterdir():
            files.append(_opened(number, event, int(thread.name)))
            opened.callback(os.close, files[-1])
        yield lambda: sum(int.from_bytes(os.read(file, 8), "little") for file in files)


def _opened(number: int, event: int, thread: int) -> int:
    """The file descriptor of a counter of one thread."""
    attributes = _Attributes(size=ctypes.sizeof(_Attributes), config=event, bits=INHERIT | NO_KERNEL | NO_HYPERVISOR)
    libc = ctypes.CDLL(None, use_errno=True)
    every_processor, no_group, no_flags = (ctypes.c_long(value) for value in (-1, -1, 0))
    file = int(
        libc.syscall(
            ctypes.c_long(number), ctypes.byref(attributes), ctypes.c_long(thread), every_processor, no_group, no_flags
        )
    )
    if file < 0:
        raise NoCounter(f"the processor's counters: {os.strerror(ctypes.get_errno()).lower()}")
    return file
