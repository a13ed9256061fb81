"""One meta-batch of tasks, from random numbers to tensors on the device: what training pays beside its steps."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from metabench.record.cell import Cell
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.proving import configured
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload


def cells() -> dict[str, Cell]:
    """The meta-batches of MAML's presets, on images with one query of each class and with fifteen.

    On one thread: the work is too small for several, whose waiting for each other would be measured instead.
    """
    common = {"algorithm": "maml", "engine": "vmap", "iterations": 0}
    images = {"task": ["omniglot", "glyphs"], "ways": 5, "shots": 1, "query": [1, 15], "model": "conv4-64"}
    grid = [{**common, "task": "sinusoid", "meta_batch": 25}, {**common, **images, "meta_batch": 32}]
    sweep = parse_sweep("bench", {"grid": grid}, "", 1)
    return {f"{cell.task}-{cell.meta_batch}-tasks-{cell.query}-queries": cell for cell in sweep.cells}


@pytest.mark.parametrize("cell", cells().values(), ids=cells())
def test_sampling(benchmark: BenchmarkFixture, cell: Cell) -> None:
    distribution = training_tasks(cell, None)
    benchmark.group = "sampling"
    benchmark.extra_info["cell"] = cell.to_json()
    benchmark.extra_info["data"] = distribution.provenance.content_hash
    sample = Workload(cell, distribution).sampler(torch.zeros((), device=cell.device))
    with configured(cell):
        sample()
        benchmark(sample)
