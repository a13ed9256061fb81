"""Instructions of a meta-iteration: what it asks of a processor, whatever the clock and other programs do meanwhile."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
BOTH_TIMES = 1 | 2
"""The times of `read_format`: how long the counter was asked for, and how long it counted."""
READING = struct.Struct("=QQQ")
"""A count, and these two times in nanoseconds."""
NONE_THERE = "this machine has none that can be read, as most virtual machines"
NOT_ALLOWED = (
    "the system does not allow it: set kernel.perf_event_paranoid to 2 or lower; in a container, allow perf_event_open"
)
WHY = {
    **dict.fromkeys((errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP), NONE_THERE),
    **dict.fromkeys((errno.EACCES, errno.EPERM), NOT_ALLOWED),
}
"""What the system's errors mean here, and what to do."""
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
            with suppress(ProcessLookupError):  # it has ended meanwhile
                files.append(_opened(number, event, int(thread.name)))
                opened.callback(os.close, files[-1])
        yield lambda: sum(count_of(os.read(file, READING.size)) for file in files)


def count_of(reading: bytes) -> int:
    """What a counter has counted. Raises `NoCounter` where it had to share its place in the processor with others."""
    count, enabled, running = READING.unpack(reading)
    if running < enabled:
        raise NoCounter("the processor's counters: others count, too, and each has them for a part of the time")
    return int(count)


def _opened(number: int, event: int, thread: int) -> int:
    """The file descriptor of a counter of one thread; raises `NoCounter`, and ProcessLookupError for one that ended."""
    bits = INHERIT | NO_KERNEL | NO_HYPERVISOR
    attributes = _Attributes(size=ctypes.sizeof(_Attributes), config=event, read_format=BOTH_TIMES, bits=bits)
    libc = ctypes.CDLL(None, use_errno=True)
    every_processor, no_group, no_flags = (ctypes.c_long(value) for value in (-1, -1, 0))
    file = int(
        libc.syscall(
            ctypes.c_long(number), ctypes.byref(attributes), ctypes.c_long(thread), every_processor, no_group, no_flags
        )
    )
    if file < 0:
        code = ctypes.get_errno()
        if code == errno.ESRCH:
            raise ProcessLookupError(code, os.strerror(code))
        raise NoCounter(f"the processor's counters: {WHY.get(code) or os.strerror(code).lower()}")
    return file
