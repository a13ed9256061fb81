"""Convolutions and pooling of `fused`, on a processor in the GPU's place."""

import shutil

import pytest
import torch
import torch.nn.functional as F

import fused_on_a_processor as processor
from convolutional import WAYS, Net, net_of, problem, replace_images
from metabench.correctness.gate import relative_error
from metabench.engines import loop
from metabench.engines.base import ENGINES
from metabench.engines.fused.kernel import Kernel
from metabench.engines.native.convolutions import IMAGES
from metabench.engines.native.value import Value, strides_in
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


def error(made, meta, episodes):
    direction, metrics = ENGINES.get("fused").build(made)(meta, episodes)
    truth, true_metrics = loop.build(made)(meta, episodes)
    assert float(metrics["loss"]) == pytest.approx(float(true_metrics["loss"]), rel=1e-12)
    return relative_error(direction, truth)


@pytest.mark.parametrize(
    ("net", "threads", "blocks"),
    [
        (Net(16, stride=2), 4, 1),
        (Net(5, stride=2, padding=0), 1, 1),
        (Net(4, channels=4), 4, 2),
        (Net(2, dilation=2, padding=2), 2, 1),
        (Net(3, kernel=2, pool=3, bias=True), 4, 1),
        (Net(3, kernel=2, pool=3, pool_stride=2), 4, 1),
    ],
    ids=str,
)
def test_convolutions_of_every_kind_are_exact(monkeypatch, net, threads, blocks):
    processor.in_its_place(monkeypatch, threads, blocks)
    assert error(*problem(net, (net.channels, 9, 8))) < 1e-12


@pytest.mark.parametrize(
    ("pool", "steps", "capacity"),
    [(False, 1, 1 << 20), (True, 1, 4000), (False, 5, 1 << 20)],
    ids=["strides", "pooling, some elsewhere", "five steps"],
)
def test_the_networks_of_the_field_are_exact(monkeypatch, pool, steps, capacity):
    """Normalised over the batch, at the second order."""
    processor.in_its_place(monkeypatch, 4, 2, capacity)
    net = Conv4((1, 8, 8), WAYS, 4, pool, True, blocks=2)
    assert error(*problem(net, (1, 8, 8), steps=steps)) < 1e-12


def test_products_of_many_matrices_are_exact(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 1)
    net = MODELS.get("conv2-8-maxpool")((1, 8, 8), WAYS)
    assert error(*problem(net, (1, 8, 8), algorithm="relation")) < 1e-12


def test_the_network_of_the_paper_is_exact(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 1, 227 << 10)
    monkeypatch.setattr(processor, "FLAGS", ("-O1", *processor.FLAGS[1:]))  # it computes for longer than it compiles
    made, meta, episodes = problem(MODELS.get("conv4-32")((1, 28, 28), WAYS), (1, 28, 28))
    assert error(made, meta, episodes) < 1e-12


def test_the_gradients_are_products_of_images(monkeypatch):
    """With 16 channels, four threads hold a tile of pixels; a tile of weights lies within a place of the kernel."""
    processor.in_its_place(monkeypatch, 256, 1)
    text = processor.source_for(*problem(Net(16, stride=2), (1, 9, 8))).text
    assert all(f"images<{role}, " in text for role in ("OUTPUT", "INPUT"))
    assert "images<OUTPUT, 6, 5, 4, 16, 3, 2, 16, 3, 3, 2, 1, 1, 4, 4, 4, true, true>" in text
    assert "weights<6, 9, 8, 1, 5, 4, 16, 3, 3, 2, 1, 1, 1, 4, 4, true, true>" in text


def test_a_sum_over_maps_has_work_for_all_threads():
    shape, kernel = (5, 64, 7, 7), Kernel(256)
    kernel.total(Value("in0", shape, strides_in(shape, IMAGES)), (0, 2, 3), False)
    (statement,) = kernel.statements
    assert statement.threads == 256 and "over_lanes<4>" in statement.text(kernel.fetched)


def test_of_equal_elements_the_first_is_taken_as_torch_does_and_nan_of_all(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 1)
    made, meta, episodes = problem(Net(3, pool=2), (1, 8, 8))
    assert error(made, meta, replace_images(episodes, torch.round)) < 1e-12
    broken = replace_images(episodes, lambda x: torch.where(x > 2, torch.nan, x))
    assert ENGINES.get("fused").build(made)(meta, broken)[1]["loss"].isnan()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, w: F.conv2d(x, w[:, :1], groups=2), "fused has no grouped convolutions"),
        (lambda x, w: F.max_pool2d(x, 3, 2, dilation=2), "fused has no dilated pooling"),
    ],
)
def test_what_it_cannot_carry_is_said(monkeypatch, change, words):
    processor.in_its_place(monkeypatch, 4, 1)
    with pytest.raises(Unsupported, match=words):
        error(*problem(net_of(change), (2, 9, 8)))
