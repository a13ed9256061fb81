"""One meta-iteration (directions, average, outer update) of every implementation on every task."""

from dataclasses import asdict

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.gate import gate, refuse
from metabench.engines.base import in_process
from metabench.errors import Unsupported
from metabench.machine.cores import default_threads
from metabench.record.cell import Cell
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta, train_shape
from metabench.tasks.base import TASKS


def cells() -> dict[str, Cell]:
    """One cell for each implementation and task, small enough that the whole suite takes a minute or two.

    Engines that compile or need a library are left to `metabench run engines`.
    """
    common = {"algorithm": ALGORITHMS.names(), "engine": in_process(), "inner_steps": 1, "iterations": 0}
    grid = [
        {**common, "task": "sinusoid", "meta_batch": 25},
        {**common, "task": ["omniglot", "glyphs"], "model": "conv4-32", "meta_batch": 4, "query": 5},
    ]
    sweep = parse_sweep("bench", {"grid": grid}, "", default_threads())
    return {f"{cell.implementation}-{cell.task}": cell for cell in sweep.cells}


def test_meta_iteration(benchmark: BenchmarkFixture, cell: Cell) -> None:
    distribution = TASKS.get(cell.task).build(train_shape(cell), None)
    try:
        workload = Workload(cell, distribution)
        step = workload.build(workload.algorithm)
    except Unsupported as reason:
        pytest.skip(str(reason))
    result = gate(workload.algorithm, step, distribution, torch.device(cell.device))
    refuse(result.fault)
    benchmark.group = f"{cell.task}, {cell.model}"
    benchmark.extra_info["cell"] = cell.to_json()
    benchmark.extra_info["gate"] = asdict(result)
    benchmark.extra_info["data"] = distribution.provenance.content_hash
    meta = initial_meta(cell, workload.algorithm)
    run = workload.repeatable(meta)
    run()
    refuse(workload.proof(meta).before(run.iteration))
    benchmark(run)
