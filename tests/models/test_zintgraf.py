"""The sinusoid network of CAVIA's authors' code: what its additional inputs are, how it starts, and that directions
through it are right."""

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.settings import Setting
from metabench.correctness.verification import verify
from metabench.models.base import MODELS
from metabench.tasks.base import EpisodeShape
from metabench.tensors import Batch

PLUS_5 = "mlp-40x2-plus5-zintgraf"
ADDITIONAL = {"mlp-40x2-zintgraf": 0, "mlp-40x2-plus1-zintgraf": 1, PLUS_5: 5, "mlp-40x2-plus50-zintgraf": 50}


def started(name, shape=(1,)):
    model = MODELS.get(name)(shape, 1)
    return model, model.init(torch.Generator().manual_seed(0))


def test_additional_inputs_stand_beside_the_point_as_in_the_code():
    model, params = started(PLUS_5)
    params = {name: p.double() for name, p in params.items()}
    params["additional"] = torch.randn(5, dtype=torch.float64)
    x = torch.randn(7, 1, dtype=torch.float64)
    all_inputs = torch.cat([x, params["additional"].expand(7, -1)], 1)
    first = torch.cat([params["hidden1.weight"], params["additional.weight"]], 1)
    hidden = F.relu(F.linear(all_inputs, first, params["hidden1.bias"]))
    expected = F.relu(F.linear(hidden, params["hidden2.weight"], params["hidden2.bias"]))
    torch.testing.assert_close(model.features(params, x), expected)


@pytest.mark.parametrize(("name", "count"), ADDITIONAL.items())
def test_a_name_says_how_many_there_are(name, count):
    _, params = started(name)
    assert sum(p.numel() for p in params.values()) == (1 + count) * 40 + 40 + 40 * 40 + 40 + 40 + 1 + count


def test_they_are_zero_at_first_and_the_inner_loop_moves_them():
    model, params = started(PLUS_5)
    assert params["additional"].shape == (5,) and not params["additional"].any()
    maml = ALGORITHMS.get("maml")(Learner(model, "regression"), 0.1, 1)
    x = torch.linspace(-5, 5, 10)[:, None]
    before, after = list(maml.trajectory(params, Batch(x, x.sin())))
    unmoved = {name for name in params if torch.equal(after[name], before[name])}
    assert unmoved == {"additional.weight"}, "weights that meet zeros have no gradient, and nothing else has none"


def test_weights_and_biases_start_within_one_over_the_root_of_the_units():
    _, params = started("mlp-40x2-plus50-zintgraf", (50,))
    for name, p in params.items():
        bound = {"head.weight": 1.0, "head.bias": 1.0, "additional": 0.0}.get(name, 40**-0.5)
        assert float(p.abs().max()) <= bound, name
        if p.numel() > 1000:  # a uniform distribution's standard deviation
            assert float(p.std()) == pytest.approx(bound / 3**0.5, rel=0.05), name


@pytest.mark.parametrize("name", ADDITIONAL)
def test_every_direction_through_it_is_right(name):
    setting = Setting("sinusoid", EpisodeShape(1, 10, 10), name, 2, 0.1)
    for verdict in verify(["maml", "fomaml", "cavia", "meta-curvature"], ["loop", "vmap", "native"], [setting]):
        assert verdict.word == "ok" or "compiler" in verdict.reason, (verdict.implementation, verdict.reason)
