"""The residual network is torchvision's, but for the batch statistics that stay with the batch."""

import pytest
import torch
import torchvision

from metabench.errors import Unsupported
from metabench.models.base import MODELS


@pytest.fixture(scope="module")
def params():
    return MODELS.get("resnet18")((1, 28, 28), 5).init(torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs(params):
    net = torchvision.models.resnet18(num_classes=5)
    net.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    named = dict(net.named_parameters())
    assert {name: p.shape for name, p in params.items()} == {name: p.shape for name, p in named.items()}
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(params[name])
    return net.double()


@pytest.mark.parametrize("size", [28, 64])
def test_it_computes_what_torchvisions_computes(params, theirs, size):
    model = MODELS.get("resnet18")((1, 28, 28), 5)
    x = torch.rand(6, 1, size, size, generator=torch.Generator().manual_seed(1)).double()
    double = {name: p.double() for name, p in params.items()}
    ours = model.head(double, model.features(double, x))
    torch.testing.assert_close(ours, theirs.train()(x), rtol=1e-9, atol=1e-9)


def test_statistics_take_the_place_of_the_batchs(params, theirs):
    model = MODELS.get("resnet18")((1, 28, 28), 5)
    x = torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    double = {name: p.double() for name, p in params.items()}
    seen = model.statistics(double, x)
    for name, module in theirs.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(seen[f"{name}.mean"])
            module.running_var.copy_(seen[f"{name}.variance"])
    one = x[:1]
    expected = theirs.eval()(one)
    torch.testing.assert_close(
        model.head(double, model.features({**double, **seen}, one)), expected, rtol=1e-9, atol=1e-9
    )


def test_it_is_large_and_for_images(params):
    assert sum(p.numel() for p in params.values()) == 11_172_805
    with pytest.raises(Unsupported, match="needs images"):
        MODELS.get("resnet18")((1,), 1)
