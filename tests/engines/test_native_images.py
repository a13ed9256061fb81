"""Convolutions and pooling of `native`."""

import re
import shutil

import pytest
import torch
import torch.nn.functional as F

from convolutional import WAYS, Net, net_of, problem, replace_images, task
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.maml import MAML
from metabench.correctness.gate import relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES
from metabench.engines.native import code
from metabench.engines.native.convolutions import Convolution, Sizes, function_of
from metabench.engines.native.value import Value, row_major
from metabench.engines.tracing import stage_of
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.resnet import ResNet12, ResNet18
from metabench.tensors import tensors_of

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@pytest.fixture(autouse=True)
def compiled_in_a_hurry(monkeypatch):
    """What comes out is the same."""
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))


def functions(net, steps):
    """How many functions the source of MAML's direction has, and how often they are called."""
    made = ALGORITHMS.get("maml")(Learner(net, "classification"), 0.1, steps)
    meta, episodes = made.init(torch.Generator().manual_seed(1)), task(net.channels, (9, 8))
    shapes = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors_of(episodes))
    text, _ = native.body_for(stage_of(made)[0], tuple((name, p.shape) for name, p in meta.items()), shapes)
    return text.count("ALONE static void"), len(re.findall(r"^ +loop\d+\(", text, re.MULTILINE))


def test_inner_steps_share_their_functions(monkeypatch):
    """So that more of them take hardly longer to compile: of a step in the middle only sums over all steps are new."""
    monkeypatch.setattr(code, "LARGE", 64)
    monkeypatch.setattr(code.Program, "large", 64)
    (three, calls), (five, more) = functions(Net(16), 3), functions(Net(16), 5)
    assert five - three < (more - calls) / 4


def error(net, size=(9, 8), algorithm="maml", episodes=None):
    made, meta, noise = problem(net, (getattr(net, "channels", 1), *size), algorithm)
    episodes = episodes or noise
    direction, metrics = ENGINES.get("native").build(made)(meta, episodes)
    truth, true_metrics = loop.build(made)(meta, episodes)
    assert float(metrics["loss"]) == pytest.approx(float(true_metrics["loss"]), rel=1e-12)
    return relative_error(direction, truth)


@pytest.mark.parametrize(
    "net",
    [
        Net(4),
        Net(5, stride=2),
        Net(3, padding=0),
        Net(3, padding=2, stride=2),
        Net(2, dilation=2, padding=2),
        Net(3, kernel=1, padding=0),
        Net(3, kernel=2),
        Net(3, channels=2),
        Net(3, pool=2),
        Net(3, pool=3, bias=True),
    ],
    ids=str,
)
def test_convolutions_of_every_kind_are_exact(net, monkeypatch):
    """With every tensor counted as large, so that operations on elements are formulas."""
    monkeypatch.setattr(code, "LARGE", 1)
    assert error(net) < 1e-12


@pytest.mark.parametrize("net", [Net(3, pool=2, bias=True), Net(4, stride=2)], ids=str)
def test_what_is_small_is_written_down_at_once(net):
    assert error(net) < 1e-12


@pytest.mark.parametrize("pool", [False, True])
def test_the_networks_of_the_field_are_exact(pool):
    """16 channels: whole vectors of numbers."""
    assert error(Conv4((1, 28, 28), WAYS, 16, pool, True), episodes=task(1, (28, 28))) < 1e-11


class Narrow18(ResNet18):
    widths = (4, 16, 6, 8)
    blocks = 1


class Narrow12(ResNet12):
    widths = (4, 16, 6, 8)


@pytest.mark.parametrize("network", [Narrow18, Narrow12])
def test_residual_networks_are_exact(network, monkeypatch):
    monkeypatch.setattr(code, "LARGE", 64)
    assert error(network((1, 36, 36), WAYS), episodes=task(1, (36, 36))) < 1e-11


@pytest.mark.parametrize("algorithm", ["relation", "matching-fce"])
def test_algorithms_with_networks_of_their_own_are_exact(algorithm):
    assert error(MODELS.get("conv2-8-maxpool")((1, 8, 8), WAYS), algorithm=algorithm, episodes=task(1, (8, 8))) < 1e-10


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (Net(16, channels=16), (8, 7)),  # more tiles than are in work at once; the last column half outside
        (Net(32, channels=16, padding=0), (12, 10)),
        (Net(16, channels=32, padding=2), (6, 6)),
    ],
    ids=str,
)
def test_convolutions_in_tiles_are_exact(net, size, monkeypatch):
    sources, compiled = [], native.compiled
    monkeypatch.setattr(native, "compiled", lambda source, flags: sources.append(source) or compiled(source, flags))
    assert error(net, size) < 1e-12
    assert all(f"winograd<{role}, " in source for source in sources for role in ("OUTPUT", "INPUT", "WEIGHT"))


@pytest.mark.parametrize("net", [Net(64, channels=64), Net(64, channels=64, stride=2, kernel=2)], ids=str)
def test_few_pixels_under_many_weights_are_exact(net, monkeypatch):
    sources, compiled = [], native.compiled
    monkeypatch.setattr(native, "compiled", lambda source, flags: sources.append(source) or compiled(source, flags))
    assert error(net, (3, 4)) < 1e-12
    assert all("convolution<INPUT_OF_FEW, " in source for source in sources)


@pytest.mark.parametrize("algorithm", ["fomaml", "reptile", "anil", "meta-sgd", "imaml", "prototypical"])
def test_other_algorithms_on_images(algorithm, monkeypatch):
    monkeypatch.setattr(code, "LARGE", 64)
    assert error(Net(4, pool=2), algorithm=algorithm) < 1e-10


def test_of_equal_elements_the_first_is_taken_as_torch_does():
    flat = task(1, (8, 8))
    flat = replace_images(flat, torch.round)
    assert error(Net(3, pool=2), episodes=flat) < 1e-12


def test_not_a_number_is_taken():
    made = MAML(Learner(Net(3, pool=2), "classification"), 0.1, 1)
    meta = {name: p.double() for name, p in made.init(torch.Generator().manual_seed(1)).items()}
    broken = replace_images(task(1, (8, 8)), lambda x: torch.where(x > 2, torch.nan, x))
    assert ENGINES.get("native").build(made)(meta, broken)[1]["loss"].isnan()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, w: F.conv2d(x, w[:, :1], groups=2), "no grouped convolutions"),
        (lambda x, w: F.conv2d(x, w, stride=(1, 2)), "differ between height and width"),
        (lambda x, w: F.max_pool2d(x, 3, 2, dilation=2), "no dilated pooling"),
    ],
)
def test_what_it_cannot_carry_is_said(change, words):
    with pytest.raises(Unsupported, match=words):
        error(net_of(change))


def test_what_grows_with_a_tensor_is_not_on_the_stack():
    """A thread's stack may have but 512 KiB."""
    program, size = code.Program(), (4, 3000)
    for i in range(4):
        program.total(Value(f"in{i}", size, row_major(size)), [0], False)
    (line,) = program.lines
    assert re.findall(r"T s\d+\[(\d+)\]", str(line)) == ["3000", "3000"]
    assert sum(numbers == 3000 for numbers in program.sizes.values()) == 4 + 2
    program.total(Value("in4", (4, 9000), (9000, 1)), [0], False)
    assert "T s" not in str(program.lines[-1])
    of_one = Convolution("OUTPUT", (2, 1, 500, 300), (2, 16, 250, 150), (3, 3), Sizes(2, 1, 1))
    assert function_of(of_one)[1] == 501 * 301
    assert not re.search(r"\bT \w+\[[^\]]*[HW]\b", native.KERNELS[2].read_text("utf-8"))


def test_large_tensors_are_computed_where_they_are_read():
    """A formula is no buffer; sums over the same elements share their loops."""
    program, size = code.Program(), (8, 16, 32)
    a, b = (Value(name, size, row_major(size)) for name in ("in0", "in1"))
    product_ = program.pointwise(size, [a, b], "{0} * {1}".format)
    both = program.pointwise(size, [product_, a], "{0} + {1}".format)
    assert not program.lines and both.operands == (a, b)
    sums = [program.total(each, (0, 1), False) for each in (both, product_)]
    assert len(program.lines) == 1 and [out.shape for out in sums] == [(32,), (32,)]
    later = program.real(both)
    program.total(later, (0, 1), False)  # reads what is written after that line
    assert len(program.lines) == 3
