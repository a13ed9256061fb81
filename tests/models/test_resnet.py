"""Residual networks are those of others, but for the batch statistics that stay with the batch."""

import re

import pytest
import torch
import torchvision

from metabench.errors import Unsupported
from metabench.models.base import MODELS
from nets import ResNet12


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


@pytest.mark.parametrize("name", ["resnet18", "resnet12"])
def test_scales_and_shifts_are_all_vectors_but_the_heads_bias(name):
    model = MODELS.get(name)((1, 28, 28), 5)
    params = model.init(torch.Generator().manual_seed(0))
    assert model.norm_names == {each for each, p in params.items() if p.dim() == 1} - {"fc.bias"}


def test_it_is_large_and_for_images(params):
    assert sum(p.numel() for p in params.values()) == 11_172_805
    with pytest.raises(Unsupported, match="needs images"):
        MODELS.get("resnet18")((1,), 1)


def test_that_of_few_shot_learning_computes_what_another_implementation_does():
    model = MODELS.get("resnet12")((3, 20, 16), 5)
    params = {name: p.double() for name, p in model.init(torch.Generator().manual_seed(0)).items()}
    assert sum(p.numel() for p in params.values()) == 12_427_525
    theirs = ResNet12((3, 20, 16), 5, widths=(64, 160, 320, 640)).double()
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, p in params.items():
            named.pop(in_their_words(name)).copy_(p)
    assert not named
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    x = torch.rand(6, 3, 20, 16, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(model.head(params, model.features(params, x)), theirs.train()(x), rtol=1e-9, atol=1e-9)


def in_their_words(name):
    found = re.fullmatch(r"block(\d)\.(conv|norm|shortcut)(\d?)\.(weight|bias)", name)
    if found is None:
        return name.replace("fc", "classifier")
    block, kind, number, what = found.groups()
    if number:
        return f"blocks.{int(block) - 1}.{kind}s.{int(number) - 1}.{what}"
    return f"blocks.{int(block) - 1}.shortcut.{int(kind == 'norm')}.{what}"
