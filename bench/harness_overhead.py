"""A step timed by the harness against the same step timed by a bare loop, in the same process, taking turns."""

import time
from collections.abc import Callable
from statistics import median

import torch
from tabulate import tabulate

from metabench.machine.cores import default_threads
from metabench.measure.clock import Budget, measure_time
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta, train_shape
from metabench.tasks.base import TASKS

ROUNDS = 15
CPU = torch.device("cpu")


def bare_loop(call: Callable[[], object], block: int, samples: int) -> float:
    """Median seconds a call over `samples` blocks, with nothing but a clock around each."""
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(block):
            call()
        times.append((time.perf_counter() - start) / block)
    return median(times)


def main() -> None:
    """Print both medians and their ratio, for a short and a long step."""
    grids = [
        {"task": "sinusoid", "algorithm": "maml", "engine": ["loop", "vmap"], "inner_steps": 1},
        {"task": "glyphs", "algorithm": "maml", "model": "conv4-32", "meta_batch": 4, "inner_steps": 1},
    ]
    rows = []
    for cell in parse_sweep("overhead", {"grid": grids}, "", default_threads()).cells:
        torch.set_num_threads(cell.threads)
        distribution = TASKS.get(cell.task).build(train_shape(cell), None)
        workload = Workload(cell, distribution)
        iteration = workload.repeatable(initial_meta(cell, workload.algorithm))
        harness, bare = [], []
        for _ in range(ROUNDS):
            timing = measure_time(iteration, CPU, Budget(seconds=0.3))
            harness.append(timing.summary.median)
            bare.append(bare_loop(iteration, timing.summary.block, timing.summary.n))
        ratio = median(h / b for h, b in zip(harness, bare, strict=True))
        rows.append([cell.describe(), f"{1e3 * median(harness):.3f}", f"{1e3 * median(bare):.3f}", f"{ratio:.3f}"])
    print(tabulate(rows, headers=["step", "harness, ms", "bare loop, ms", "ratio"], disable_numparse=True))


if __name__ == "__main__":
    main()
