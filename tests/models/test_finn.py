"""The networks of MAML's authors' code: what starts how, what inner loops leave, and that all directions are right."""

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.settings import Setting
from metabench.correctness.verification import verify
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch

IMAGES, POINTS = EpisodeShape(5, 1, 2), EpisodeShape(1, 10, 10)
CONVOLUTIONS = Setting("glyphs", IMAGES, "conv2-8-finn", 2, 0.4)
PERCEPTRON = Setting("sinusoid", POINTS, "mlp-256-128-64-64-finn", 2, 0.01)
REFUSING = ("reptile", "imaml", "imaml-as-coded")
"""What learns from the inner loop alone."""
OF_IMAGES = ("matching", "matching-fce", "matching-scaled", "prototypical", "prototypical-cosine", "relation")


def params_of(name, shape=(1, 28, 28), outputs=5):
    return MODELS.get(name)(shape, outputs).init(torch.Generator().manual_seed(0))


def test_batch_norm_has_a_shift_alone_and_inner_loops_leave_it():
    model = MODELS.get("conv4-64-finn")((1, 28, 28), 5)
    params = params_of("conv4-64-finn")
    assert sorted(params) == sorted(
        [f"conv{i}.weight" for i in range(1, 5)] + [f"norm{i}.bias" for i in range(1, 5)] + ["head.weight", "head.bias"]
    )
    assert model.held == {f"norm{i}.bias" for i in range(1, 5)}
    maml = ALGORITHMS.get("maml")(Learner(model, "classification"), 2.0, 3)
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    points = list(maml.trajectory(params, Batch(x, torch.arange(5))))
    for name in params:
        moved = not torch.equal(points[-1][name], params[name])
        assert moved == (name not in model.held), name


def test_what_the_inner_loop_leaves_is_learned_by_the_outer_one():
    learner = Learner(MODELS.get("conv2-8-finn")((1, 28, 28), 5), "classification")
    for name in ("maml", "fomaml"):
        made = ALGORITHMS.get(name)(learner, 0.4, 1)
        meta = made.init(torch.Generator().manual_seed(0))
        episodes = TASKS.get("glyphs").build(IMAGES, None).sample("train", 2, torch.Generator().manual_seed(0))
        direction, _ = ENGINES.get("loop").build(made)(meta, episodes)
        assert all(float(direction[name].abs().max()) > 0 for name in learner.held)
        assert list(direction) == list(meta)


def test_weights_start_as_the_code_has_them():
    wide = params_of("conv4-64-finn", outputs=500)["head.weight"]
    assert float(wide.std()) == pytest.approx(1.0, abs=0.02)
    pooled = params_of("conv4-32-maxpool-finn", (3, 84, 84))["head.weight"]
    assert float(pooled.abs().max()) <= (6 / (5 + 800)) ** 0.5
    for name in ("mlp-256-128-64-64-finn", "mlp-40x2-finn"):
        weights = torch.cat([p.flatten() for n, p in params_of(name).items() if n.endswith("weight")])
        assert float(weights.abs().max()) <= 0.02 and float(weights.std()) == pytest.approx(0.0088, rel=0.05)


def test_a_hidden_layer_is_normalised_with_the_codes_epsilon():
    model = MODELS.get("mlp-256-128-64-64-finn")((4,), 3)
    params = {name: p.double() for name, p in model.init(torch.Generator().manual_seed(0)).items() if "1." in name} | {
        "head.weight": torch.ones(3, 256).double(),
        "head.bias": torch.zeros(3).double(),
    }
    one_layer = type(model)(4, 3, (256,), normalise=True)
    x = torch.rand(6, 4, dtype=torch.float64)
    hidden = x @ params["hidden1.weight"].T
    expected = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-3).sqrt()
    torch.testing.assert_close(one_layer.features(params, x), expected.relu())


@pytest.mark.parametrize("setting", [CONVOLUTIONS, PERCEPTRON], ids=lambda setting: setting.model)
def test_directions_are_right_or_refused_by_name(setting):
    refusing = {*REFUSING, "cnp", *(OF_IMAGES if setting is PERCEPTRON else ())}
    for verdict in verify(ALGORITHMS.names(), ["loop", "vmap"], [setting]):
        refused = verdict.implementation.partition("/")[0] in refusing
        assert verdict.word == ("unsupported" if refused else "ok"), (verdict.implementation, verdict.reason)


def test_libraries_for_networks_leave_what_is_held():
    peers = [name for name, engine in ENGINES if engine.library and not engine.compiles]
    for verdict in verify(["maml", "fomaml"], peers, [CONVOLUTIONS]):
        assert verdict.word == "ok" or "installed" in verdict.reason, (verdict.implementation, verdict.reason)


@pytest.mark.parametrize("name", REFUSING)
def test_what_learns_from_the_inner_loop_alone_says_so(name):
    learner = Learner(MODELS.get("conv2-8-finn")((1, 28, 28), 5), "classification")
    with pytest.raises(Unsupported, match="inner loops leave"):
        ALGORITHMS.get(name)(learner, 0.1, 1)
