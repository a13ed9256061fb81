import gc
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import product

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.maml import MAML
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES
from metabench.engines.peers.module import Network, installed
from metabench.engines.refusals import refusal
from metabench.errors import Unsupported, in_short
from metabench.extras import INSTALL
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch, Task, cast
from problems import SMOOTH, image_episodes, perturbed

HOW = {name: INSTALL[name] for name in ("higher", "learn2learn", "torchopt")}
STEP = ("higher.optim", "DifferentiableOptimizer.step")
ADAPT = ("learn2learn.algorithms", "MAML.adapt")
PRIMITIVES = {
    **dict.fromkeys(product(["higher"], ["maml", "fomaml", "reptile", "anil", "meta-sgd"]), STEP),
    **dict.fromkeys(product(["learn2learn"], ["maml", "fomaml", "reptile", "anil"]), ADAPT),
    ("learn2learn", "meta-sgd"): ("learn2learn.algorithms", "MetaSGD.adapt"),
    **dict.fromkeys(product(["torchopt"], ["maml", "anil"]), ("torchopt", "MetaSGD.step")),
    **dict.fromkeys(product(["torchopt"], ["fomaml", "reptile"]), ("torchopt", "apply_updates")),
}
"""What each library adapts with, for the algorithms that it carries."""


def where_installed(cases):
    """Cases that begin with a library's name; skipped, with the way to install it, where it is missing."""
    return [
        pytest.param(
            *case, marks=pytest.mark.skipif(find_spec(case[0]) is None, reason=f"no {case[0]}: {HOW[case[0]]}")
        )
        for case in cases
    ]


CARRIED = pytest.mark.parametrize(("peer", "algorithm"), where_installed(PRIMITIVES))


def episodes_of(kind):
    if kind == "images":
        return image_episodes(2, 5, shots=1, query=2)
    generator = torch.Generator().manual_seed(0)
    episodes = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None).sample("train", 3, generator)
    return cast(episodes, torch.zeros((), dtype=torch.float64))


def made(algorithm, model, steps, **options):
    if model == "mlp-40x2":
        learner, rate = Learner(MODELS.get(model)((1,), 1), "regression"), 0.01
    else:
        learner, rate = Learner(MODELS.get(model)((1, 28, 28), 5), "classification"), 0.4
    return ALGORITHMS.get(algorithm)(learner, rate, steps, **options)


@lru_cache
def direction_of(engine, algorithm, model, steps, **options):
    one = made(algorithm, model, steps, **options)
    episodes = episodes_of("sinusoid" if model == "mlp-40x2" else "images")
    return ENGINES.get(engine).build(one)(perturbed(one, 0.05), episodes)


def assert_agrees(peer, algorithm, model, steps, **options):
    truth, truth_metrics = direction_of("loop", algorithm, model, steps, **options)
    direction, metrics = direction_of(peer, algorithm, model, steps, **options)
    assert list(direction) == list(truth)
    assert relative_error(direction, truth) < 1e-10
    assert metrics.keys() == truth_metrics.keys()
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("model", ["mlp-40x2", "conv4-16", "conv4-16-nonorm"])
@CARRIED
def test_a_peer_agrees_with_loop(peer, algorithm, model, steps):
    assert_agrees(peer, algorithm, model, steps)


@pytest.mark.parametrize(
    ("peer", "algorithm"), where_installed(pair for pair in PRIMITIVES if pair[0] != "learn2learn")
)
def test_momentum_is_the_same_mathematics(peer, algorithm):
    assert_agrees(peer, algorithm, "mlp-40x2", 3, inner_optimizer="momentum")


@pytest.mark.parametrize(
    ("peer", "algorithm"), where_installed([*product(HOW, ["maml", "anil"]), ("learn2learn", "meta-sgd")])
)
def test_first_order_agrees_with_loop_and_is_not_the_second(peer, algorithm):
    assert_agrees(peer, algorithm, "mlp-40x2", 3, first_order=True)
    second, _ = direction_of(peer, algorithm, "mlp-40x2", 3)
    assert relative_error(direction_of(peer, algorithm, "mlp-40x2", 3, first_order=True)[0], second) > 1e-3


@pytest.mark.parametrize("model", ["mlp-40x2", "conv4-16"])
@pytest.mark.parametrize("peer", where_installed(product(HOW)))
def test_fomaml_is_not_maml(peer, model):
    first, second = (direction_of(peer, algorithm, model, 5)[0] for algorithm in ("fomaml", "maml"))
    assert relative_error(first, second) > 1e-2


@CARRIED
def test_each_inner_step_is_one_of_the_library(peer, algorithm, monkeypatch):
    calls = []
    package, path = PRIMITIVES[peer, algorithm]
    one = made(algorithm, "mlp-40x2", 5)
    step = ENGINES.get(peer).build(one)  # imports the library
    *owners, name = path.split(".")
    owner = sys.modules[package]
    for attribute in owners:
        owner = getattr(owner, attribute)
    primitive = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: (calls.append(1), primitive(*args, **kwargs))[1])
    step(perturbed(one), episodes_of("sinusoid"))
    assert len(calls) == 3 * 5  # tasks times inner steps: nothing beside the work


@CARRIED
def test_nothing_is_written_to(peer, algorithm):
    one = made(algorithm, "mlp-40x2", 2)
    meta = perturbed(one)
    before = {name: p.clone() for name, p in meta.items()}
    direction, metrics = ENGINES.get(peer).build(one)(meta, episodes_of("sinusoid"))
    assert all(torch.equal(meta[name], before[name]) and not meta[name].requires_grad for name in meta)
    assert not any(tensor.requires_grad for tensor in [*direction.values(), *metrics.values()])
    assert not {p.data_ptr() for p in meta.values()} & {d.data_ptr() for d in direction.values()}


@pytest.mark.parametrize("peer", where_installed(product(HOW)))
def test_no_graph_is_kept(peer):
    one = made("maml", "mlp-40x2", 2)
    step = ENGINES.get(peer).build(one)
    graphs = in_graphs()
    kept = step(perturbed(one), episodes_of("sinusoid"))
    assert in_graphs() <= graphs
    assert kept


def in_graphs():
    """How many living tensors were computed with a graph; `higher` leaves its own to the garbage collector."""
    gc.collect()
    return sum(type(found) is torch.Tensor and found.grad_fn is not None for found in gc.get_objects())


@CARRIED
def test_modules_are_made_once_and_see_whatever_meta_parameters_are_given(peer, algorithm, monkeypatch):
    made_of = []
    of = Network.of
    monkeypatch.setattr(Network, "of", lambda *args: (made_of.append(args), of(*args))[1])
    one = made(algorithm, "mlp-40x2", 2)
    step, truth = ENGINES.get(peer).build(one), ENGINES.get("loop").build(one)
    meta, episodes = perturbed(one), episodes_of("sinusoid")
    step(meta, episodes)
    for p in meta.values():
        p.mul_(0.9)
    assert relative_error(step(meta, episodes)[0], truth(meta, episodes)[0]) < 1e-10
    single = {name: 0.9 * p.float() for name, p in meta.items()}
    episodes = cast(episodes, torch.zeros(()))
    direction, _ = step(single, episodes)
    assert all(d.dtype == torch.float32 for d in direction.values())
    assert relative_error(direction, truth(single, episodes)[0]) < 1e-5
    assert len(made_of) == 1


@CARRIED
def test_same_input_same_direction_even_where_no_gradients_are_wanted(peer, algorithm):
    one = made(algorithm, "conv4-16", 2)
    step, meta, episodes = ENGINES.get(peer).build(one), perturbed(one), episodes_of("images")
    first = step(meta, episodes)[0]
    with torch.no_grad():
        assert relative_error(step(meta, episodes)[0], first) < 1e-12


@pytest.mark.parametrize(
    ("peer", "algorithm", "options", "reason"),
    [
        *product(HOW, ["meta-curvature"], [{}], ["no primitive for MetaCurvature"]),
        *product(HOW, ["maml"], [{"checkpoint": True}], ["cannot recompute inner steps: use the engine loop"]),
        *product(HOW, ["maml"], [{"inner_optimizer": "adam"}], ["no inner optimiser that computes what adam does"]),
        *product(HOW, ["reptile"], [{"inner_optimizer": "rmsprop"}], ["computes what rmsprop does"]),
        ("learn2learn", "maml", {"inner_optimizer": "momentum"}, "computes what momentum does"),
        ("higher", "meta-sgd", {"first_order": True}, "no graph for the rates"),
        ("torchopt", "meta-sgd", {}, "one rate, which is not learned"),
    ],
)
def test_what_a_library_cannot_do_is_refused(peer, algorithm, options, reason):
    with pytest.raises(Unsupported, match=reason):
        ENGINES.get(peer).build(made(algorithm, "mlp-40x2", 1, **options))


@pytest.mark.parametrize("peer", HOW)
def test_a_subclass_is_another_algorithm(peer):
    @dataclass(frozen=True)
    class Other(MAML):
        pass

    with pytest.raises(Unsupported, match=f"{peer} has no primitive for Other"):
        ENGINES.get(peer).build(Other(SMOOTH, 0.1, 1))


@pytest.mark.parametrize("peer", HOW)
def test_a_library_that_is_not_installed(peer, monkeypatch):
    monkeypatch.setitem(sys.modules, peer, None)
    with pytest.raises(Unsupported) as caught:
        ENGINES.get(peer).build(MAML(SMOOTH, 0.1, 1))
    assert str(caught.value) == f"{peer} is not installed: {HOW[peer]}"
    assert in_short(caught.value) == str(caught.value)  # it names no file, so a table can show it


def test_a_library_that_misses_another(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import a_module_that_there_is_not")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(INSTALL, "half_installed", "so")
    with pytest.raises(
        Unsupported, match="half_installed needs a_module_that_there_is_not, which is not installed: so"
    ):
        installed("half_installed")


def test_engines_name_the_library_that_does_the_work():
    assert {name: ENGINES.get(name).library for name in HOW} == {name: name for name in HOW}


@dataclass(frozen=True)
class Odd:
    """A dense network with parameters of kinds that libraries may not foresee."""

    kind: str
    outputs: int = 3
    batch_statistics = False

    @property
    def head_names(self):
        return frozenset(
            {"head.weight", "head.bias"} | ({"head.unused"} if self.kind == "unused in the head" else set())
        )

    def init(self, generator):
        names = {"unused": "body.unused", "unused in the head": "head.unused", "query alone": "shift"}
        params = {"body.weight": torch.randn(6, 4, generator=generator), "body.bias": torch.zeros(6)}
        if self.kind in names:
            params = {names[self.kind]: torch.ones(6)} | params
        params |= {"scale": torch.tensor(1.2)} if self.kind == "no dimension" else {}
        params |= {"again": params["body.bias"]} if self.kind == "two names" else {}
        return params | {"head.weight": torch.randn(3, 6, generator=generator), "head.bias": torch.zeros(3)}

    def features(self, params, x):
        h = torch.tanh(torch.nn.functional.linear(x, params["body.weight"], params["body.bias"]))
        h = h * params["scale"] if "scale" in params else h
        h = h + params["again"] if "again" in params else h
        return h + params["shift"] if "shift" in params and len(x) == 6 else h

    def head(self, params, features):
        return torch.nn.functional.linear(features, params["head.weight"], params["head.bias"])


def odd_direction(engine, algorithm, kind):
    one = ALGORITHMS.get(algorithm)(Learner(Odd(kind), "classification"), 0.1, 2)
    meta = perturbed(one, 0.05)
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    y = torch.arange(6).remainder(3).expand(2, 6)
    episodes = Task(Batch(x[:, :3], y[:, :3]), Batch(x, y), torch.zeros(2, 3, dtype=torch.int64))
    return ENGINES.get(engine).build(one)(meta, episodes)


ODD = ("unused", "unused in the head", "query alone", "no dimension", "two names")


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile", "anil", "meta-sgd"])
def test_vmap_carries_odd_parameters(algorithm, kind):
    truth, _ = odd_direction("loop", algorithm, kind)
    assert relative_error(odd_direction("vmap", algorithm, kind)[0], truth) < 1e-12
    unused = {"unused": "body.unused", "unused in the head": "head.unused"}.get(kind)
    assert not unused or not truth[unused].any()


@pytest.mark.parametrize("kind", ODD)
@CARRIED
def test_peers_carry_odd_parameters(peer, algorithm, kind):
    """What forward does not use has a direction of zero."""
    truth, _ = odd_direction("loop", algorithm, kind)
    if (peer, algorithm) == ("learn2learn", "meta-sgd") and kind in ("unused", "unused in the head", "query alone"):
        with pytest.raises(RuntimeError) as caught:  # its MetaSGD cannot be told to allow it
            odd_direction(peer, algorithm, kind)
        assert "learn2learn takes inner gradients in all parameters" in refusal(caught.value, peer)
        return
    assert relative_error(odd_direction(peer, algorithm, kind)[0], truth) < 1e-12
