"""The network of iMAML's authors' code: what its head sees, how it starts, and that directions through it are right."""

import math

import pytest
import torch

from metabench.correctness.settings import Setting
from metabench.correctness.verification import verify
from metabench.models.base import MODELS
from metabench.tasks.base import EpisodeShape

SETTING = Setting("glyphs", EpisodeShape(5, 1, 2), "conv2-8-rajeswaran", 2, 0.1)


@pytest.mark.parametrize(("size", "features"), [(28, 256), (27, 256), (33, 576), (1, 64)])
def test_the_head_sees_the_whole_last_map(size, features):
    model = MODELS.get("conv4-64-rajeswaran")((1, size, size), 5)
    params = model.init(torch.Generator().manual_seed(0))
    found = model.features(params, torch.rand(3, 1, size, size))
    assert found.shape == (3, features) and params["head.weight"].shape == (5, features)
    assert model.head(params, found).shape == (3, 5)


def test_padding_after_the_second_block_changes_nothing_for_omniglot():
    """The code pads maps of 7x7 right and below by one, before a convolution that pads by one itself."""
    x, weight = torch.randn(2, 3, 7, 7), torch.randn(4, 3, 3, 3)
    plain, padded = (
        torch.nn.functional.conv2d(each, weight, stride=2, padding=1)
        for each in (x, torch.nn.functional.pad(x, (0, 1, 0, 1)))
    )
    torch.testing.assert_close(plain, padded)


def test_weights_start_from_glorot_s_times_a_gain_and_the_head_from_small_biases():
    params = MODELS.get("conv4-64-rajeswaran")((1, 28, 28), 500).init(torch.Generator().manual_seed(0))
    for name, fans in (("conv2.weight", 9 * 128), ("head.weight", 256 + 500)):
        limit = 1.73 * math.sqrt(6 / fans)
        assert 0.99 * limit < float(params[name].abs().max()) <= limit, name
    bias = params["head.bias"]
    assert 0 <= float(bias.min()) < 0.001 and 0.049 < float(bias.max()) <= 0.05
    assert all(torch.equal(params[f"norm{i}.weight"], torch.ones(64)) for i in range(1, 5))
    assert not any(params[f"norm{i}.bias"].any() for i in range(1, 5))


@pytest.mark.parametrize("algorithm", ["maml", "imaml", "imaml-as-coded", "prototypical"])
def test_every_direction_through_it_is_right(algorithm):
    for verdict in verify([algorithm], ["loop", "vmap", "native"], [SETTING]):
        assert verdict.word == "ok" or "compiler" in verdict.reason, (verdict.implementation, verdict.reason)
