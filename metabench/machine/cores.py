"""How many threads a process may well have here, and how long those of OpenMP spin while they wait."""

import os
from collections.abc import Mapping

import psutil

from metabench.machine.groups import quota_cores
from metabench.text import counted

ASKED_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user or a cluster tells every program its number of threads; torch heeds both."""
LIMIT = "OMP_THREAD_LIMIT"
"""Variable with the most threads that OpenMP gives to a program."""
SPINS = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}
"""How long a thread of OpenMP spins before it sleeps: GNU's in turns, some 0.15 ms, LLVM's and Intel's in milliseconds.

Left alone, they spin for 10 and 200 ms. Between two operators of a small network threads wait for some 10 µs, which
spinning bridges. But a thread whose partner has no processor, since another program runs on it, spins until the system
takes its own away: at each operator, for whole slices of time. Measured on two cores beside two busy programs,
MAML/vmap on sinusoids with two threads: 304 ms a step with GNU's default, 13 ms with 5 000 turns, 12 ms with none.
"""
OWN_CHOICE = ("OMP_WAIT_POLICY", *SPINS)
"""Variables by which a user says how threads wait; then nothing is set."""


def usable_cores() -> int:
    """Logical processors that this process may run on, by its affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """Physical cores that this process may use, by its affinity and the quotas of its control groups; at least 1.

    Of a quota, whole cores count: a process with more threads is stopped for the rest of each period of the quota.
    """
    usable = usable_cores()
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable, int(quota_cores() or usable)))


def default_threads() -> int:
    """How many threads a cell has if nobody says it: what the environment asks for, or else a thread for each core.

    They are no more than the environment's limit.
    """
    threads = threads_asked_for(os.environ) or available_cores()
    return min(threads, _number(os.environ.get(LIMIT, "")) or threads)


def threads_asked_for(variables: Mapping[str, str]) -> int | None:
    """The lower one of the numbers of threads that the environment asks for; None where it asks for none."""
    # A list has a number for each level of nested parallelism, the outermost first.
    numbers = [_number(variables.get(name, "").split(",")[0]) for name in ASKED_BY]
    return min((number for number in numbers if number), default=None)


def _number(text: str) -> int | None:
    """A number of threads; None for what is none."""
    text = text.strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def too_many_threads(threads: int) -> str | None:
    """A sentence if so many threads are more than the cores that this process may use."""
    cores = available_cores()
    if threads <= cores:
        return None
    return (
        f"{threads} threads are asked for, and this process may use {counted(cores, 'core')}: they wait for each "
        f"other, and timings say little; take threads = {cores}"
    )


def bounded_spinning(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that bound how long OpenMP's threads spin, for a process that has not loaded torch yet.

    They are none where the user has said already how threads wait.
    """
    return {} if any(variables.get(name) for name in OWN_CHOICE) else dict(SPINS)
