"""Checkpointing, bfloat16 and TF32 on the fast engines of a GPU."""

from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES
from metabench.engines.outer import DESCENT, Outer
from metabench.models.base import MODELS
from metabench.sweep.cell_tasks import train_shape
from metabench.sweep.workload import Workload, build_algorithm, initial_meta
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import cast

FAST = pytest.mark.parametrize("engine", ["compile", "cudagraph"])
SHAPE = EpisodeShape(2, 1, 4)


def problem(gpu, model="conv4-16", dtype=torch.float32, **options):
    tasks = TASKS.get("glyphs").build(SHAPE, None)
    learner = Learner(MODELS.get(model)(tasks.input_shape, tasks.outputs), tasks.kind, tasks.training_classes)
    made = ALGORITHMS.get("maml")(learner, 0.1, options.pop("inner_steps", 2), **options)
    meta = {name: p.to(gpu, dtype) for name, p in made.init(torch.Generator().manual_seed(0)).items()}
    return made, meta, cast(tasks.sample("train", 4, torch.Generator().manual_seed(1)), next(iter(meta.values())))


def direction_of(engine, made, meta, episodes):
    iteration = ENGINES.get(engine).start(made, meta, DESCENT)
    iteration.run(iteration.take(episodes))
    iteration.wait()
    return {name: p - iteration.meta[name] for name, p in meta.items()}, iteration


@FAST
def test_checkpointing_changes_no_direction_and_spares_memory(gpu, engine):
    """Inductor may compute a part of what is recomputed early: how much it spares is its own affair."""
    held = {}
    for checkpoint in (False, True):
        made, meta, episodes = problem(gpu, dtype=torch.float64, inner_steps=5, checkpoint=checkpoint)
        found, iteration = direction_of(engine, made, meta, episodes)
        truth, _ = ENGINES.get("loop").build(replace(made, checkpoint=False))(meta, episodes)
        assert relative_error(found, truth) < 1e-10
        held[checkpoint] = iteration.held
    if engine == "cudagraph":
        assert held[True] < 0.7 * held[False]


@FAST
def test_bfloat16_reaches_the_fast_engines(gpu, engine):
    made, meta, episodes = problem(gpu, "conv4-16-nonorm")
    exact, _ = direction_of(engine, made, meta, episodes)
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        reference, _ = ENGINES.get("loop").build(made)(meta, episodes)
        iteration = ENGINES.get(engine).start(made, meta, DESCENT)
    iteration.run(iteration.take(episodes))
    found = {name: p - iteration.meta[name] for name, p in meta.items()}
    assert 1e-4 < relative_error(found, exact) < 3 * relative_error(reference, exact)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@FAST
def test_a_training_in_each_precision_lowers_the_loss(gpu, engine, precision, monkeypatch):
    from metabench.sweep.spec import parse_sweep

    for flags in (torch.backends.cudnn, torch.backends.cuda.matmul):
        monkeypatch.setattr(flags, "allow_tf32", precision == "tf32")
    axes = {"task": "sinusoid", "algorithm": "maml", "engine": engine, "precision": precision, "device": "cuda"}
    (cell,) = parse_sweep("test", {"grid": [{**axes, "outer_lr": 0.01}]}, "", 1).cells
    tasks = TASKS.get("sinusoid").build(train_shape(cell), None)
    workload = Workload(cell, tasks)
    meta = initial_meta(cell, build_algorithm(cell, tasks))
    iteration, _ = workload.training(meta)
    sample = workload.sampler(next(iter(meta.values())))
    losses = [float(iteration.run(iteration.take(sample()))["loss"]) for _ in range(100)]
    assert sum(losses[-20:]) < sum(losses[:20])


@FAST
@pytest.mark.parametrize("decay", ["none", "linear", "cosine", "halving"])
def test_the_schedule_is_inside_the_graph(gpu, engine, decay):
    """Iterations give what a step and torch's optimiser give, whatever the rates."""
    from metabench.engines.base import Stepwise

    made, meta, episodes = problem(gpu, "conv2-8", torch.float64)
    outer = Outer("adam", 0.01, decay, 6, warmup=2, clip=0.5)
    mine = ENGINES.get(engine).start(made, meta, outer)
    plain = Stepwise(ENGINES.get("loop").build(made), meta, outer)
    for _ in range(6):
        for each in (mine, plain):
            each.run(each.take(episodes))
    assert relative_error(mine.meta, plain.meta) < 1e-8
    assert relative_error(mine.meta, meta) > 1e-4
