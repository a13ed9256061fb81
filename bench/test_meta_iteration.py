"""One meta-iteration (directions, average, outer update) of every implementation on every task."""

from dataclasses import asdict

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.measure.gate import gate
from metabench.sweep.cell import Cell
from metabench.sweep.worker import build_algorithm, initial_meta, meta_iteration
from metabench.tasks.base import TASKS


def test_meta_iteration(benchmark: BenchmarkFixture, cell: Cell) -> None:
    distribution = TASKS.get(cell.task).build(cell.shape, None)
    try:
        algorithm = build_algorithm(cell, distribution)
        step = ENGINES.get(cell.engine).build(algorithm)
    except Unsupported as reason:
        pytest.skip(str(reason))
    result = gate(algorithm, step, distribution, torch.device(cell.device))
    assert result.passed, result.reason
    benchmark.group = f"{cell.task}, {cell.model}"
    benchmark.extra_info["cell"] = cell.to_json()
    benchmark.extra_info["gate"] = asdict(result)
    benchmark.extra_info["data"] = distribution.provenance.content_hash
    iteration = meta_iteration(cell, step, initial_meta(cell, algorithm), distribution)
    iteration()
    benchmark(iteration)
