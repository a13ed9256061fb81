"""A step timed by the harness against the same step timed by a bare loop, in the same process, taking turns.

Steps are meta-iterations of cells, and steps of a user's own as `metabench time` times them.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from tabulate import tabulate

from metabench.machine.cores import default_threads
from metabench.measure.clock import Budget, measure_time
from metabench.statistics.intervals import summarise
from metabench.sweep.cell_tasks import train_shape
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta
from metabench.tasks.base import TASKS
from metabench.timing.measuring import Effort, measure_clock, prepared

ROUNDS = 15
SECONDS = 0.3
CPU = torch.device("cpu")
LENGTHS_S = (1e-4, 1e-3, 1e-2)
"""About how long the steps of a user's own take."""

Timed = tuple[float, int, int]
"""Median seconds of a call, calls in a block, samples."""


def bare_loop(call: Callable[[], object], block: int, samples: int) -> float:
    """Median seconds a call over `samples` blocks, with nothing but a clock around each."""
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(block):
            call()
        times.append((time.perf_counter() - start) / block)
    return median(times)


def cells() -> Iterator[tuple[str, Callable[[], object], Callable[[], Timed]]]:
    """Name, step and harness of short and long meta-iterations."""
    grids = [
        {"task": "sinusoid", "algorithm": "maml", "engine": ["loop", "vmap"], "inner_steps": 1},
        {"task": "glyphs", "algorithm": "maml", "model": "conv4-32", "meta_batch": 4, "inner_steps": 1},
    ]
    for cell in parse_sweep("overhead", {"grid": grids}, "", default_threads()).cells:
        torch.set_num_threads(cell.threads)
        workload = Workload(cell, TASKS.get(cell.task).build(train_shape(cell), None))
        iteration = workload.repeatable(initial_meta(cell, workload.algorithm))

        def by_harness(call: Callable[[], object] = iteration) -> Timed:
            summary = measure_time(call, CPU, Budget(seconds=SECONDS)).summary
            return summary.median, summary.block, summary.n

        yield cell.describe(), iteration, by_harness


def own_steps() -> Iterator[tuple[str, Callable[[], object], Callable[[], Timed]]]:
    """Name, step and harness of steps of a user's own: a chain of small products, of about the lengths above."""
    matrix = torch.full((32, 32), 1 / 32)

    def chain(products: int) -> None:
        value = matrix
        for _ in range(products):
            value = value @ matrix

    chain(1000)
    each = bare_loop(lambda: chain(100), 1, 50) / 100
    for seconds in LENGTHS_S:
        products = max(1, round(seconds / each))

        def step(products: int = products) -> None:
            chain(products)

        def by_harness(call: Callable[[], object] = step) -> Timed:
            found: dict[str, object] = {}
            effort = Effort(CPU, SECONDS)
            measure_clock(effort, prepared(effort, call, found.update), found.update)
            call_summary = found["time"].call  # type: ignore[attr-defined]
            return call_summary.median, call_summary.block, call_summary.n

        yield f"metabench time, a step of {1e3 * seconds:g} ms", step, by_harness


def main() -> None:
    """Print both medians and their ratio, with its interval over the rounds, for short and long steps."""
    rows = []
    for name, step, by_harness in (*cells(), *own_steps()):
        harness, bare = [], []
        for number in range(ROUNDS):
            found, block, samples = by_harness()
            own = bare_loop(step, block, samples)
            if number:  # the first of all is warmer for the second
                harness.append(found)
                bare.append(own)
        ratio = summarise([h / b for h, b in zip(harness, bare, strict=True)])
        shown = f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        rows.append([name, f"{1e3 * median(harness):.3f}", f"{1e3 * median(bare):.3f}", shown])
    print(tabulate(rows, headers=["step", "harness, ms", "bare loop, ms", "ratio"], disable_numparse=True))


if __name__ == "__main__":
    main()
