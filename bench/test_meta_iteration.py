"""One meta-iteration (directions, average, outer update) of every implementation on every task."""

from dataclasses import asdict

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from metabench.errors import Unsupported
from metabench.measure.gate import gate
from metabench.sweep.cell import Cell
from metabench.sweep.workload import Workload, initial_meta
from metabench.tasks.base import TASKS


def test_meta_iteration(benchmark: BenchmarkFixture, cell: Cell) -> None:
    distribution = TASKS.get(cell.task).build(cell.shape, None)
    try:
        workload = Workload(cell, distribution)
        step = workload.build(workload.algorithm)
    except Unsupported as reason:
        pytest.skip(str(reason))
    result = gate(workload.algorithm, step, distribution, torch.device(cell.device))
    assert result.passed, result.reason
    benchmark.group = f"{cell.task}, {cell.model}"
    benchmark.extra_info["cell"] = cell.to_json()
    benchmark.extra_info["gate"] = asdict(result)
    benchmark.extra_info["data"] = distribution.provenance.content_hash
    iteration, _ = workload.repeatable(initial_meta(cell, workload.algorithm))
    iteration()
    benchmark(iteration)
