"""The sweeps `gpu` and `gpu-large`: which cells they have. No GPU is needed to know that."""

from collections import Counter

import pytest

from metabench.report.bundles import time_key
from metabench.report.results import read_run
from metabench.sweep.builtin import find_sweep
from metabench.sweep.runner import plan
from metabench.sweep.spec import load_sweep
from places import H100

RESULTS = H100
ENGINES = {"loop", "vmap", "cudagraph", "compile", "fused", "higher", "learn2learn", "torchopt", "jax"}


@pytest.fixture(scope="module")
def cells():
    return load_sweep(find_sweep("gpu"), {}, 16).cells


def engines(cells, **axes):
    """The engines of the plain cells of MAML at these values."""
    plain = {"algorithm": "maml", "precision": "float32", "checkpoint": False, **axes}
    return {cell.engine for cell in cells if all(getattr(cell, axis) == value for axis, value in plain.items())}


@pytest.mark.parametrize("name", ["gpu", "gpu-large"])
def test_all_cells_are_timed_and_weighed_on_a_gpu(name):
    for cell in load_sweep(find_sweep(name), {}, 16).cells:
        assert (cell.device, cell.world_size, cell.iterations) == ("cuda", 1, 0)
        assert set(cell.measure) == {"time", "memory"}


def test_every_engine_and_peer_does_the_same_work_at_four_settings(cells):
    for steps in (1, 5):
        assert engines(cells, task="sinusoid", inner_steps=steps, meta_batch=25) == ENGINES
    images = {"task": "omniglot", "model": "conv4-64", "meta_batch": 32, "shots": 1}
    for steps, query in ((1, 1), (5, 15)):
        assert engines(cells, **images, inner_steps=steps, query=query) == {*ENGINES, "jax-im2col"}


def test_only_fast_engines_take_many_tasks(cells):
    for tasks in (1000, 10_000):
        for steps in (1, 5):
            found = engines(cells, task="sinusoid", inner_steps=steps, meta_batch=tasks)
            assert found == {"vmap", "compile", "fused", "jax"}


def test_algorithms_are_trained_on_the_shots_that_they_are_timed_at(cells):
    compared = [cell for cell in cells if cell.engine == "vmap" and cell.task == "omniglot" and cell.query == 15]
    plain = [cell for cell in compared if cell.precision == "float32" and not cell.checkpoint]
    names = ("maml", "fomaml", "reptile", "anil")
    assert Counter((cell.algorithm, cell.shots) for cell in plain) == {(name, k): 1 for name in names for k in (1, 5)}
    assert all(cell.train_shots == cell.shots and cell.train_ways == cell.ways == 5 for cell in plain)


def test_techniques_are_tried_where_the_plain_cell_is(cells):
    """A technique is compared with the cell that has none."""
    tried = {(c.engine, c.precision, c.checkpoint) for c in cells if c.precision != "float32" or c.checkpoint}
    assert tried == {
        *((engine, precision, False) for engine in ("vmap", "cudagraph") for precision in ("tf32", "bfloat16")),
        ("loop", "bfloat16", False),
        *((engine, "float32", True) for engine in ("loop", "vmap", "cudagraph")),
    }
    for cell in cells:
        if cell.precision != "float32" or cell.checkpoint:
            assert cell.engine in engines(cells, **{axis: getattr(cell, axis) for axis in ("task", "query", "shots")})


def test_few_processes_are_spent_on_the_noise_floor():
    sweep = load_sweep(find_sweep("gpu"), {}, 16)
    assert len(plan(sweep)) == len(sweep.cells) + 4


@pytest.mark.parametrize(("name", "folder"), [("gpu-large", "gpu-large"), ("gpu", "gpu-images")])
def test_cells_of_committed_runs_can_be_compared(name, folder):
    """`metabench compare` goes by what a cost depends on."""
    rows = read_run(RESULTS / folder).measurements
    mine = {time_key(cell) for cell in load_sweep(find_sweep(name), {}, 16).cells}
    theirs = {time_key(row.cell) for row in rows}
    # the run on images had cells at five shots that were trained on one
    asked = {time_key(row.cell) for row in rows if row.cell.shots == row.cell.train_shots}
    assert asked <= mine
    assert name == "gpu" or theirs == mine
