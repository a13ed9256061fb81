import os
import shutil
from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines import inductor, loop
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import cast

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 4, 4), None)
SMALL = Learner(MLP(1, 1, 5, 1), "regression")
pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


def problem(algorithm, learner=SMALL, distribution=SINUSOID, **fields):
    made = ALGORITHMS.get(algorithm)(learner, 0.05, 2, **fields)
    meta = {name: p.double() for name, p in made.init(torch.Generator().manual_seed(0)).items()}
    episodes = distribution.sample("train", 3, torch.Generator().manual_seed(1))
    return made, meta, cast(episodes, next(iter(meta.values())))


@pytest.mark.parametrize(
    ("engine", "algorithm"),
    [("compile", "maml"), ("compile", "reptile"), ("compile-tasks", "meta-sgd"), ("compile-tasks", "imaml")],
)
def test_compiled_directions_are_those_of_loop(engine, algorithm):
    made, meta, episodes = problem(algorithm)
    step = ENGINES.get(engine).build(made)
    before = {name: p.clone() for name, p in meta.items()}
    for scale in (1.0, 0.5):  # the second call takes other weights through the same graph
        point = {name: scale * p for name, p in meta.items()}
        direction, metrics = step(point, episodes)
        truth, truth_metrics = loop.build(made)(point, episodes)
        assert relative_error(direction, truth) < 1e-12
        assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-12)
    assert all(torch.equal(meta[name], before[name]) for name in meta)


def test_second_order_through_batch_norm():
    """Batch norm's decomposition writes to tensors: compiled as it is, its second order is wrong by a factor."""
    glyphs = TASKS.get("glyphs").build(EpisodeShape(3, 1, 1), None)
    learner = Learner(Conv4((1, 28, 28), 3, 2, max_pool=False, normalise=True, blocks=1), "classification")
    made, meta, episodes = problem("maml", learner, glyphs)
    direction, _ = ENGINES.get("compile-tasks").build(made)(meta, episodes)
    truth, _ = loop.build(made)(meta, episodes)
    assert relative_error(direction, truth) < 1e-12
    first_order, _ = loop.build(ALGORITHMS.get("fomaml")(learner, 0.05, 2))(meta, episodes)
    assert relative_error(direction, first_order) > 1e-3


@pytest.mark.parametrize(
    "outer",
    [Outer("adam", 0.1, "linear", 4, warmup=1, clip=0.5, epsilon=0.01), Outer("sgd", 0.2, "none", 4)],
    ids=lambda outer: outer.optimizer,
)
def test_compiled_iterations_are_those_of_a_step_and_torchs_optimiser(outer):
    made, meta, episodes = problem("maml")
    mine = ENGINES.get("compile").start(made, meta, outer)
    plain = Stepwise(loop.build(made), meta, outer)
    for _ in range(4):
        losses = [float(each.run(each.take(episodes))["loss"]) for each in (mine, plain)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
        for name in meta:
            torch.testing.assert_close(mine.meta[name], plain.meta[name], rtol=1e-9, atol=1e-12)
    assert relative_error(mine.meta, meta) > 1e-2


KEPT = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))


class Keeping(MLP):
    """A network with a parameter of its own, which no algorithm knows of."""

    def features(self, params, x):
        return super().features(params, x) * KEPT


def test_what_a_network_keeps_for_itself_is_a_constant():
    made, meta, episodes = problem("maml", Learner(Keeping(1, 1, 5, 1), "regression"))
    direction, _ = ENGINES.get("compile-tasks").build(made)(meta, episodes)
    assert relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-12


@pytest.mark.parametrize("engine", ["compile", "compile-tasks"])
def test_without_a_compiler_there_is_a_sentence(engine, monkeypatch):
    """It comes with the first step: before, nobody knows whether tasks are on a GPU, for which it is not asked."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    made, meta, episodes = problem("maml", Learner(MLP(1, 1, 6, 1), "regression"))
    step = ENGINES.get(engine).build(made)
    with pytest.raises(Unsupported, match="needs a C\\+\\+ compiler"):
        step(meta, episodes)


@pytest.mark.parametrize(
    ("cxx", "search"), [(None, "/of/clang++"), ("", "/of/clang++"), ("clang++ -m64 '-D A'", "/of/clang++ -m64 '-D A'")]
)
def test_inductor_is_given_the_compiler_that_is_found(cxx, search, monkeypatch):
    """By itself it knows no clang++, and takes an empty CXX as the name of a program."""
    from torch._inductor import compile_fx, config

    seen = []
    monkeypatch.delenv("CXX", raising=False)
    if cxx is not None:
        monkeypatch.setenv("CXX", cxx)
    monkeypatch.setattr(shutil, "which", lambda name: f"/of/{name}" if name == "clang++" else None)
    monkeypatch.setattr(compile_fx, "compile_fx_inner", lambda graph, inputs: seen.append(config.cpp.cxx))
    before = config.cpp.cxx
    inductor.compiled(lambda inputs: [inputs[0] + 1], [torch.zeros(1)])
    assert seen == [(search,)]
    assert config.cpp.cxx == before


def test_pieces_are_counted_while_another_process_removes_some(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for name in ("a/one.so", "a/one.cpp", "b/c/two.cubin", "gone/three.so", "four.hsaco"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def scandir(folder):
        if str(folder).endswith("gone"):  # listed by the folder above, and removed since
            raise FileNotFoundError(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert inductor.kept_libraries() == 3


@pytest.mark.parametrize("engine", ["compile", "compile-tasks"])
def test_a_checkpointed_step_has_the_same_direction(engine):
    made, meta, episodes = problem("maml", checkpoint=True)
    direction, _ = ENGINES.get(engine).build(made)(meta, episodes)
    assert relative_error(direction, loop.build(replace(made, checkpoint=False))(meta, episodes)[0]) < 1e-12
