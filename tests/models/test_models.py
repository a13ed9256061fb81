import pytest
import torch
import torch.nn.functional as F

from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import batch_norm


@pytest.mark.parametrize("name", MODELS.names())
def test_shapes_and_head(name):
    model = MODELS.get(name)((1, 28, 28), 5)
    params = model.init(torch.Generator().manual_seed(0))
    features = model.features(params, torch.rand(6, 1, 28, 28))
    outputs = model.head({n: params[n] for n in model.head_names}, features)
    assert features.shape[0] == 6 and features.ndim == 2
    assert outputs.shape == (6, 5)
    assert outputs.isfinite().all()
    assert model.head_names < params.keys()
    assert all(p.dtype == torch.float32 for p in params.values())


@pytest.mark.parametrize("name", MODELS.names())
def test_initial_parameters_depend_on_the_seed_alone(name):
    model = MODELS.get(name)((1, 28, 28), 5)
    one, same, other = (model.init(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[n], same[n]) for n in one)
    (weight,) = (name for name in model.head_names if name.endswith("weight"))
    assert not torch.equal(one[weight], other[weight])


def test_parameter_counts_are_those_of_the_published_networks():
    def count(name, shape, outputs):
        return sum(p.numel() for p in MODELS.get(name)(shape, outputs).init(torch.Generator()).values())

    assert count("mlp-40x2", (1,), 1) == 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1
    kernels = 9 * 64 + 3 * 9 * 64 * 64
    assert count("conv4-64", (1, 28, 28), 5) == kernels + 4 * 2 * 64 + 64 * 5 + 5
    assert count("conv4-64-maxpool-nonorm", (1, 28, 28), 20) == kernels + 4 * 64 + 64 * 20 + 20


def test_batch_norm_is_torchs():
    x, weight, bias = torch.randn(7, 3, 4, 5).double(), torch.randn(3).double(), torch.randn(3).double()
    params = {"norm1.weight": weight, "norm1.bias": bias}
    torch.testing.assert_close(
        batch_norm(x, params, "norm1"),
        F.batch_norm(x, None, None, weight, bias, training=True),
        rtol=1e-12,
        atol=1e-12,
    )
    mean, variance = torch.randn(3).double(), torch.rand(3).double()
    torch.testing.assert_close(
        batch_norm(x, params | {"norm1.mean": mean, "norm1.variance": variance}, "norm1"),
        F.batch_norm(x, mean, variance, weight, bias),
        rtol=1e-12,
        atol=1e-12,
    )


def test_statistics_of_a_batch_take_the_place_of_the_batch():
    model = MODELS.get("conv4-16")((1, 28, 28), 5)
    params = model.init(torch.Generator().manual_seed(0))
    x = torch.rand(50, 1, 28, 28)
    statistics = model.statistics(params, x)
    assert sorted(statistics) == sorted(f"norm{i}.{word}" for i in range(1, 5) for word in ("mean", "variance"))
    # the variance is the unbiased one: the same but for that
    torch.testing.assert_close(model.features(params | statistics, x), model.features(params, x), rtol=0.02, atol=0.01)
    one = model.features(params | statistics, x[:1])
    torch.testing.assert_close(one, model.features(params | statistics, x)[:1], rtol=1e-4, atol=1e-5)
    assert MODELS.get("conv4-16-nonorm")((1, 28, 28), 5).statistics(params, x) == {}


def test_stride_and_pooling_are_the_two_published_forms():
    x = torch.rand(2, 1, 28, 28)
    strided, pooled = MODELS.get("conv4-16")((1, 28, 28), 5), MODELS.get("conv4-16-maxpool")((1, 28, 28), 5)
    params = strided.init(torch.Generator().manual_seed(0))
    for model, stride in ((strided, 2), (pooled, 1)):
        h = x
        for i in range(1, 5):
            h = F.conv2d(h, params[f"conv{i}.weight"], stride=stride, padding=1)
            h = F.relu(F.batch_norm(h, None, None, params[f"norm{i}.weight"], params[f"norm{i}.bias"], training=True))
            h = h if stride == 2 else F.max_pool2d(h, 2)
        expected = h.mean((2, 3)) if stride == 2 else h.flatten(1)
        torch.testing.assert_close(model.features(params, x), expected)


def test_halfpool_pools_in_the_first_two_blocks_alone():
    x = torch.rand(2, 1, 28, 28)
    model = MODELS.get("conv4-64-halfpool")((1, 28, 28), 5)
    params = model.init(torch.Generator().manual_seed(0))
    h = x
    for i in range(1, 5):
        h = F.conv2d(h, params[f"conv{i}.weight"], padding=1)
        h = F.relu(F.batch_norm(h, None, None, params[f"norm{i}.weight"], params[f"norm{i}.bias"], training=True))
        h = F.max_pool2d(h, 2) if i <= 2 else h
    assert h.shape == (2, 64, 7, 7)
    torch.testing.assert_close(model.feature_map(params, x), h)
    assert params["head.weight"].shape == (5, 64 * 7 * 7)


def test_conv4_refuses_what_is_no_image():
    with pytest.raises(Unsupported, match="needs images"):
        MODELS.get("conv4-16")((1,), 1)


@pytest.mark.parametrize(
    ("name", "parameter", "fans"), [("mlp-640x2", "hidden2.weight", 640 + 640), ("conv4-64", "conv3.weight", 9 * 128)]
)
def test_weights_are_glorot_uniform(name, parameter, fans):
    weight = MODELS.get(name)((1, 28, 28), 5).init(torch.Generator().manual_seed(0))[parameter]
    assert float(weight.abs().max()) <= (6 / fans) ** 0.5
    assert float(weight.var()) == pytest.approx(2 / fans, rel=0.02)


@pytest.mark.parametrize(
    "name", ["conv4-16", "conv4-16-maxpool", "conv4-64-halfpool", "conv2-8-maxpool", "resnet18", "resnet12"]
)
@pytest.mark.parametrize("size", [(0, 9), (1, 1), (3, 4), (4, 3), (4, 4), (15, 16), (16, 16)], ids=str)
def test_images_are_large_enough_or_refused_with_both_sizes(name, size):
    least = {"conv4-16-maxpool": 16, "conv4-64-halfpool": 4, "conv2-8-maxpool": 4}.get(name, 1)
    if min(size) < least:
        with pytest.raises(
            Unsupported, match=f"needs images of {least}x{least} pixels or more, not of {size[0]}x{size[1]}"
        ):
            MODELS.get(name)((3, *size), 5)
        return
    model = MODELS.get(name)((3, *size), 5)
    params = model.init(torch.Generator().manual_seed(0))
    outputs = model.head(params, model.features(params, torch.rand(6, 3, *size)))
    assert outputs.shape == (6, 5) and outputs.isfinite().all()
