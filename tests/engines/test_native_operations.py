"""Every operation of `native` in many forms: each is exact, or refused by name; none crashes, none is another's.

All forms that are carried are compiled together, as one library.
"""

import ctypes
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.engines import native
from metabench.engines.native.images import KEPT
from metabench.engines.native.writing import written
from metabench.engines.tracing import traced
from metabench.errors import Unsupported

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


class Form(NamedTuple):
    """A function of tensors, what it is tried on, and the words of its refusal; none where it is carried."""

    function: Callable[..., Tensor | list[Tensor] | tuple[Tensor, ...]]
    inputs: tuple[Tensor, ...]
    refused: str = ""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def slope(function):
    """The gradient of the sum of squares in the first two arguments, and that of its own square."""

    def gradient(x, *others):
        def first(x, *others):
            return torch.func.grad(lambda x: function(x, *others).square().sum())(x)

        return [first(x, *others), torch.func.grad(lambda x: first(x, *others).square().sum())(x)]

    return gradient


A, B, ROW, ONE = numbers(3, 4), numbers(3, 4, seed=1), numbers(4), numbers()
CUBE, IMAGE, SMALL = numbers(2, 3, 4), numbers(2, 3, 8, 6), numbers(2, 3, 7, 5)
KERNEL, POSITIVE = numbers(5, 3, 3, 3), numbers(3, 4).abs() + 0.1
WHOLE, PLACES = torch.tensor([[2, 0, 1, 1]]), torch.tensor([0, 2, 1])
ODD = torch.tensor([[0.0, -0.0, float("inf"), -float("inf")], [float("nan"), 1e300, -1e-300, 2.0]], dtype=torch.float64)
ODD_IMAGE = ODD.new_full((1, 1, 5, 5), -float("inf"))
ODD_IMAGE[0, 0, 3, 3] = float("nan")

FORMS: dict[str, Form] = {
    # elements
    "add": Form(lambda a, b: a + b, (A, B)),
    "add alpha": Form(lambda a, b: torch.add(a, b, alpha=3), (A, B)),
    "sub alpha": Form(lambda a, b: torch.sub(a, b, alpha=-2), (A, ROW)),
    "broadcast": Form(lambda a, b: a[:, None] * b[None], (A, B)),
    "number": Form(lambda a, b: a * b + 2, (A, ONE)),
    "rsub": Form(lambda a: 1 - a, (A,)),
    "div": Form(lambda a, b: a / b, (A, POSITIVE)),
    "div floor": Form(lambda a, b: torch.div(a, b, rounding_mode="floor"), (A, B), "div|floor"),
    "div trunc": Form(lambda a, b: torch.div(a, b, rounding_mode="trunc"), (A, B), "div|trunc"),
    "floor divide": Form(lambda a, b: a // b, (A, B), "div|floor"),
    "remainder": Form(lambda a, b: a % b, (A, B), "remainder|floor|sub"),
    "whole division": Form(lambda i: i / 2, (WHOLE,), "float32"),
    "whole floor division": Form(lambda i: i // 2, (WHOLE,), "div|floor"),
    "whole numbers": Form(lambda i: i * 3 - i + 7, (WHOLE,)),
    "narrow whole numbers": Form(lambda i: i.to(torch.uint8) * 200, (WHOLE,), "uint8"),
    "pow 2": Form(lambda a: a**2, (A,)),
    "pow 3": Form(lambda a: a**3, (A,)),
    "pow -1.5": Form(lambda a: a**-1.5, (POSITIVE,)),
    "pow of a number": Form(lambda a: 2.0**a, (A,)),
    "pow of tensors": Form(lambda a, b: a**b, (POSITIVE, B)),
    "whole pow": Form(lambda i: i**2, (WHOLE,), "int64"),
    "relu": Form(F.relu, (ODD,)),
    "leaky": Form(lambda a: F.leaky_relu(a, 0.1), (A,)),
    "elu": Form(F.elu, (A,), "expm1|elu"),
    "gelu": Form(F.gelu, (A,), "erf|gelu"),
    "silu": Form(F.silu, (A,)),
    "softplus": Form(F.softplus, (A,)),
    "tanh": Form(torch.tanh, (A,)),
    "sigmoid": Form(torch.sigmoid, (100 * A,)),
    "abs and sign": Form(lambda a: [a.abs(), a.sign()], (A,)),
    "functions at the edge": Form(lambda a: [a.exp(), a.abs(), -a, a.clamp_min(0.5)], (ODD,)),
    "log": Form(lambda a: [a.log(), a.log1p(), a.sqrt(), a.rsqrt(), a.reciprocal()], (POSITIVE,)),
    "clamp": Form(lambda a: a.clamp(-0.5, 0.5), (A,), "clamp|minimum|maximum"),
    "clamp_min of a tensor": Form(torch.clamp_min, (A, B)),
    "maximum": Form(torch.maximum, (A, B), "maximum"),
    "compare": Form(lambda a, b: [a < b, a <= b, a > b, a >= b, a == b, a != b], (A, A.flip(0))),
    "compare not a number": Form(lambda a: [a < 1, a == a, a != a], (ODD,)),
    "and": Form(lambda a, b: (a > 0) & (b > 0), (A, B), "and"),
    "sum of truths": Form(lambda a: (a > 0).sum(), (A,)),
    "add truths": Form(lambda a, b: (a > 0) + (b > 0), (A, B), "bool"),
    "where": Form(lambda a, b: torch.where(a > b, a, b), (A, ROW)),
    "where numbers": Form(lambda a: torch.where(a > 0, 1.5, a), (A,)),
    # types
    "to whole numbers": Form(lambda a: a.long() + 1, (3 * A,), "int64"),
    "to truth": Form(lambda a: torch.where(a.bool(), a, 1.0), (A,), "bool|ne"),
    "to float32 and back": Form(lambda a: a.float().double(), (A,), "float32"),
    "to half": Form(lambda a: a.half() * 2, (A,), "float16"),
    "truth to numbers": Form(lambda a: (a > 0).double() * a, (A,)),
    "truth to float32": Form(lambda a: (a > 0).float() * a, (A,)),
    "whole to numbers": Form(lambda i: i.double() / 3, (WHOLE,)),
    "whole to float32, divided": Form(lambda i: i.float() / 3, (WHOLE,), "float32"),
    "complex": Form(lambda a: torch.view_as_real(torch.fft.fft(a)), (A,), "complex|fft|view"),
    "bits": Form(lambda a: a.view(torch.int64), (A,), "view"),
    # views
    "view": Form(lambda a: a.view(2, -1), (A,)),
    "reshape of a turned one": Form(lambda a: a.t().reshape(2, 6) * 2, (A,)),
    "flatten": Form(lambda a: a.flatten(1) + 0, (CUBE,)),
    "permute": Form(lambda a: a.permute(-1, 0, 1) * 2, (CUBE,)),
    "transpose": Form(lambda a: a.transpose(-1, -2) + 1, (CUBE,)),
    "expand": Form(lambda a: a.expand(2, -1, -1) * CUBE.new_ones(()), (A,), ""),
    "repeat": Form(lambda a: a.repeat(2, 3), (A,), "repeat|"),
    "unsqueeze": Form(lambda a: [a.unsqueeze(-1), a.unsqueeze(1), a.unsqueeze(0)], (A,)),
    "squeeze all": Form(lambda a: a[None, :, None].squeeze() * 2, (A,)),
    "squeeze one": Form(lambda a: a[None].squeeze(0) * a[None].squeeze(1)[0], (A,)),
    "squeeze of a number": Form(lambda a: a.squeeze() + a.squeeze(0), (ONE,)),
    "select": Form(lambda a: a[:, -1] + a.select(-1, 0), (A,)),
    "slice": Form(lambda a: [a[1:, ::2], a[:-1, -3:], a[..., 1:100]], (A,)),
    "flip": Form(lambda a: a.flip(0), (A,)),
    "flip of several": Form(lambda a: a.flip(0, -1) * a, (CUBE,)),
    "slice scatter": Form(lambda a, b: torch.slice_scatter(a, b[:, :2], 1, 1, 4, 2), (A, B)),
    "fma": Form(lambda a, b: torch.ops.prims.fma(a, b, a), (A, B)),
    "split": Form(lambda a: list(a.split(3, -1)), (A,)),
    "split in sizes": Form(lambda a: list(a.split([1, 3], 1)), (A,), "split|"),
    "chunk and unbind": Form(lambda a: [*a.chunk(2, 1), *a.unbind(-1)], (A,)),
    "cat": Form(lambda a, b: torch.cat([a, b, a], -1), (A, B)),
    "stack": Form(lambda a, b: torch.stack([a, b], -1), (A, B)),
    "nothing": Form(lambda a: a[:0].sum() + a.sum(), (A,), "without elements"),
    "diagonal": Form(lambda a: a[:, :3].diagonal(), (A,), "diagonal|as_strided|index"),
    "tril": Form(torch.tril, (A,), ""),
    # sums
    "sum": Form(lambda a: [a.sum(), a.sum(1), a.sum((0, -1)), a.sum(-2, keepdim=True)], (CUBE,)),
    "sum of a number": Form(lambda a: [a.sum(), a.sum(0), a.mean(-1)], (ONE,)),
    "mean": Form(lambda a: [a.mean(), a.mean((0, 2), keepdim=True)], (CUBE,)),
    "sums with much left": Form(lambda a: [a.sum((0, 1)), (a * a).sum((0, 1)), (a + 1).sum(0)], (numbers(3, 2, 5001),)),
    "sum to whole": Form(lambda a: a.sum(dtype=torch.int64), (A,), "int64|sum"),
    "prod": Form(lambda a: a.prod(), (A,), "prod"),
    "cumsum": Form(lambda a: a.cumsum(0), (A,), "cumsum"),
    "variance": Form(lambda a: [a.var(), a.var(1, correction=0), a.std(-1, keepdim=True)], (A,), "var|"),
    "variance and mean": Form(lambda a: list(torch.var_mean(a, (0, -1), correction=2, keepdim=True)), (CUBE,)),
    "variance of one": Form(lambda a: list(torch.var_mean(a[:, :1], 1)), (A,)),
    "amax": Form(lambda a: [a.amax(), a.amax(1), a.amax((0, -1), keepdim=True)], (CUBE,)),
    "amax of a number": Form(lambda a: a.amax(0), (ONE,)),
    "amax not a number": Form(lambda a: a.amax(1), (ODD,)),
    "max with places": Form(lambda a: a.max(1)[0], (A,), "max|"),
    "argmax": Form(lambda a: a.argmax(1), (A,), "argmax"),
    "norm": Form(lambda a: a.norm(), (A,), "norm|"),
    "sort": Form(lambda a: a.sort(1)[0], (A,), "sort"),
    "logsumexp": Form(lambda a: a.logsumexp(1), (A,), ""),
    # places
    "gather": Form(lambda a, i: a.gather(1, i), (A, WHOLE)),
    "gather along -1": Form(lambda a, i: a.gather(-1, i) * 2, (A, WHOLE)),
    "gather of a number": Form(lambda a: a.gather(0, torch.zeros((), dtype=torch.int64)), (ONE,), "keeps for itself|"),
    "rows": Form(lambda a, i: a[i], (A, PLACES)),
    "rows from the end": Form(lambda a, i: a[i - 3], (A, PLACES)),
    "rows of a block": Form(lambda a, i: a[i], (A, WHOLE)),
    "columns": Form(lambda a, i: a[:, i], (A, PLACES), "rows of a tensor"),
    "elements by two indices": Form(lambda a, i: a[i, i], (A, PLACES), "rows of a tensor"),
    "embedding": Form(lambda a, i: F.embedding(i, a), (A, PLACES), "embedding|"),
    "one-hot": Form(lambda i: F.one_hot(i, 4).double(), (PLACES,), ""),
    "scatter": Form(lambda a, i: a.scatter(1, i, 7.0), (A, WHOLE)),
    "scatter of a tensor": Form(lambda a, b, i: a.scatter(1, i, b), (A, B, WHOLE), "scatter"),
    "scatter_add": Form(lambda a, b, i: a.scatter_add(1, i, b), (A, B, WHOLE), "scatter"),
    "index_add": Form(lambda a, b, i: a.index_add(0, i, b), (A, B, PLACES), "index"),
    "constants": Form(
        lambda a: a + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64), (A,), "keeps for itself|lift"
    ),
    "counted": Form(lambda a: a + torch.arange(1, 9, 2), (A,)),
    # products
    "mm": Form(lambda a, b: a @ b.t(), (A, B)),
    "mm turned": Form(lambda a, b: a.t() @ b, (A, B)),
    "mv and dot": Form(lambda a, r: [a @ r, r @ r], (A, ROW), "mv|dot|"),
    "addmm": Form(lambda a, b, r: torch.addmm(r[:3], a, b.t(), beta=0.5, alpha=2), (A, B, ROW)),
    "bmm": Form(lambda a: a @ a.transpose(1, 2), (CUBE,)),
    "bmm transposed": Form(lambda a: a.transpose(1, 2) @ a, (CUBE,)),
    "bmm of columns": Form(lambda a: a @ a[:, :1].transpose(1, 2), (CUBE,)),
    "bmm of a part": Form(lambda a: a[:, 1:] @ a.transpose(1, 2)[:, :, ::2], (CUBE,)),
    "bmm of what is shared": Form(lambda a, b: torch.bmm(a, b.mT.expand(2, 4, 3)), (CUBE, A)),
    "linear": Form(lambda a, b: F.linear(a, b), (CUBE, B)),
    "outer": Form(lambda r: torch.outer(r, r), (ROW,)),
    "mm with long rows": Form(lambda a, b: a @ b.t(), (numbers(7, 301), numbers(263, 301))),
    "mm of a very wide matrix": Form(lambda a, b: a @ b, (numbers(3, 2), numbers(2, 9001))),
    "mm of a wide matrix": Form(lambda a, b: [a @ b, a.t() @ a], (numbers(3, 1203), numbers(1203, 1001))),
    # images
    "conv2d": Form(slope(lambda x, w: F.conv2d(x, w, stride=2, padding=1)), (IMAGE, KERNEL)),
    "conv2d, sizes of one number": Form(slope(lambda x, w: F.conv2d(x, w, None, (2,), [1], (1,))), (IMAGE, KERNEL)),
    "transposed, sizes of one number": Form(
        lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1), None, (2,), [1], (1,)), (IMAGE, KERNEL)
    ),
    "pool, sizes of one number": Form(lambda x: F.max_pool2d(x, (2,), [2], (0,)), (IMAGE,)),
    "conv2d with bias": Form(lambda x, w, b: F.conv2d(x, w, b), (IMAGE, KERNEL, numbers(5))),
    "conv2d dilated": Form(lambda x, w: F.conv2d(x, w, dilation=2), (IMAGE, KERNEL)),
    "conv2d of one image": Form(lambda x, w: F.conv2d(x[0], w), (IMAGE, KERNEL)),
    "conv2d same": Form(lambda x, w: F.conv2d(x, w, padding="same"), (IMAGE, KERNEL)),
    "conv2d 1x3": Form(lambda x, w: F.conv2d(x, w[:, :, :1]), (IMAGE, KERNEL)),
    "conv2d strides": Form(
        lambda x, w: F.conv2d(x, w, stride=(1, 2)), (IMAGE, KERNEL), "differ between height and width"
    ),
    "conv2d paddings": Form(
        lambda x, w: F.conv2d(x, w, padding=(0, 1)), (IMAGE, KERNEL), "differ between height and width"
    ),
    "conv2d grouped": Form(lambda x, w: F.conv2d(x, w[:3, :1], groups=3), (IMAGE, KERNEL), "grouped"),
    "conv2d turned": Form(lambda x, w: F.conv2d(x.transpose(2, 3), w), (IMAGE, KERNEL)),
    "transposed": Form(lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1)), (IMAGE, KERNEL)),
    "transposed with more": Form(
        lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1), stride=2, padding=1, output_padding=1), (IMAGE, KERNEL)
    ),
    "transposed, its slope": Form(
        slope(lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1), stride=2)), (IMAGE, KERNEL), "transposed"
    ),
    "conv1d": Form(lambda x, w: F.conv1d(x, w[:, :, 0], padding=1), (CUBE, KERNEL), "convolutions of images alone"),
    "conv1d, its slope": Form(slope(lambda x, w: F.conv1d(x, w[:, :, 0])), (CUBE, KERNEL), "of images alone"),
    "conv3d": Form(lambda x, w: F.conv3d(x[:, None], w[:, :1, None]), (IMAGE, KERNEL), "of images alone"),
    "reflected": Form(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), (IMAGE,), "reflection|index|rows|iota|"),
    "padded": Form(lambda x: F.pad(x, (1, 1, 1, 1)), (IMAGE,), "pad"),
    "pool": Form(slope(lambda x: F.max_pool2d(x, 2)), (IMAGE,)),
    "pool with an odd rest": Form(slope(lambda x: F.max_pool2d(x, 2)), (SMALL,)),
    "pool rounded up": Form(slope(lambda x: F.max_pool2d(x, 2, ceil_mode=True)), (SMALL,)),
    "pool rounded up without a rest": Form(lambda x: F.max_pool2d(x, 2, ceil_mode=True), (IMAGE,)),
    "pool padded": Form(slope(lambda x: F.max_pool2d(x, 2, padding=1)), (IMAGE,)),
    "pool dilated": Form(lambda x: F.max_pool2d(x, 2, dilation=2), (IMAGE,), "dilated"),
    "pool overlapping": Form(slope(lambda x: F.max_pool2d(x, 3, 2)), (IMAGE,)),
    "pool overlapping and padded": Form(slope(lambda x: F.max_pool2d(x, 3, 2, 1)), (SMALL,)),
    "pool of every place": Form(slope(lambda x: F.max_pool2d(x, 3, 1, 1, ceil_mode=True)), (SMALL,)),
    "pool with gaps": Form(slope(lambda x: F.max_pool2d(x, 2, 3)), (SMALL,)),
    "pool of vectors, overlapping": Form(slope(lambda x: F.max_pool2d(x, 3, 2, 1)), (numbers(2, 16, 7, 5),)),
    "pool of what is no number": Form(lambda x: list(F.max_pool2d(x, 3, 2, 1, return_indices=True)), (ODD_IMAGE,)),
    "pool 1x2": Form(lambda x: F.max_pool2d(x, (1, 2)), (IMAGE,), "height and width"),
    "pool of one image": Form(lambda x: F.max_pool2d(x[0], 2), (IMAGE,), "of images alone"),
    "pool1d": Form(lambda x: F.max_pool1d(x, 2), (CUBE,), "height and width|of images alone"),
    "pool3d": Form(lambda x: F.max_pool3d(x[:, None], 2), (IMAGE[:, :2],), "max_pool"),
    "pool with places": Form(lambda x: list(F.max_pool2d(x, 2, return_indices=True)), (IMAGE,)),
    "mean pool": Form(lambda x: F.avg_pool2d(x, 2), (IMAGE,), "avg_pool2d"),
    "adaptive mean pool to one": Form(lambda x: F.adaptive_avg_pool2d(x, 1), (IMAGE,)),
    "adaptive mean pool": Form(lambda x: F.adaptive_avg_pool2d(x, 3), (IMAGE,), "avg_pool|"),
    "adaptive max pool": Form(lambda x: F.adaptive_max_pool2d(x, 2), (IMAGE,), "max_pool|height and width"),
    "upsampled": Form(lambda x: F.interpolate(x, scale_factor=2), (IMAGE,), "upsample|index|rows|float32"),
    "batch norm": Form(slope(lambda x: F.batch_norm(x, None, None, training=True)), (IMAGE,)),
    "batch norm, affine": Form(lambda x, w: F.batch_norm(x, None, None, w[:3], w[1:4], training=True), (IMAGE, ROW)),
    "batch norm by others": Form(lambda x, w: F.batch_norm(x, w[:3], w[1:4].square(), training=False), (IMAGE, ROW)),
    "layer norm": Form(lambda x: F.layer_norm(x, (4,)), (CUBE,)),
    "group norm": Form(lambda x, r: F.group_norm(x, 3), (IMAGE, ROW)),
    "instance norm": Form(F.instance_norm, (IMAGE,)),
    # losses
    "mse": Form(slope(F.mse_loss), (A, B)),
    "mse summed": Form(lambda a, b: F.mse_loss(a, b, reduction="sum"), (A, B)),
    "mse each": Form(lambda a, b: F.mse_loss(a, b, reduction="none"), (A, B)),
    "cross entropy": Form(slope(F.cross_entropy), (A, PLACES)),
    "cross entropy summed": Form(lambda a, y: F.cross_entropy(a, y, reduction="sum"), (A, PLACES)),
    "cross entropy each": Form(lambda a, y: F.cross_entropy(a, y, reduction="none"), (A, PLACES)),
    "cross entropy smoothed": Form(
        slope(lambda a, y: F.cross_entropy(a, y, label_smoothing=0.1)), (A, PLACES), "bitwise_not|"
    ),
    "cross entropy ignoring": Form(slope(lambda a, y: F.cross_entropy(a, y, ignore_index=2)), (A, PLACES)),
    "cross entropy weighted": Form(lambda a, r, y: F.cross_entropy(a, y, weight=r), (A, ROW.abs(), PLACES), "rows|"),
    "cross entropy of shares": Form(lambda a, b: F.cross_entropy(a, b.softmax(1)), (A, B)),
    "binary cross entropy": Form(lambda a, b: F.binary_cross_entropy_with_logits(a, b.sigmoid()), (A, B), "minimum|"),
    "smooth l1": Form(F.smooth_l1_loss, (A, B), ""),
    "softmax": Form(lambda a: [a.softmax(-1), a.log_softmax(0)], (A,)),
    "random": Form(lambda a: a + torch.rand_like(a), (A,), "rand"),
}
"""A refusal that may be absent (`…|`) is of what some versions of torch write in operations that are carried."""


@dataclass(frozen=True)
class Planned:
    """The C++ of a form, or why there is none."""

    body: str
    scratch: int
    refusal: str


def plan(form: Form) -> Planned:
    inputs = list(form.inputs)
    try:
        graph = traced(lambda given: listed(form.function(*given)), inputs, KEPT)
        return Planned(*written(graph, inputs, len(inputs)), "")
    except Unsupported as refusal:
        return Planned("", 0, str(refusal))


def listed(found):
    return list(found) if isinstance(found, list | tuple) else [found]


@pytest.fixture(scope="module")
def planned():
    return {name: plan(form) for name, form in FORMS.items()}


@pytest.fixture(scope="module")
def library(planned):
    """What is carried: `run0`, `run1`, … in the order of the names."""
    kernels = "\n".join(kernel.read_text(encoding="utf-8") for kernel in native.KERNELS)
    parts = ["typedef double T;", kernels]
    for number, one in enumerate(planned.values()):
        if one.body:
            parts.append(f"namespace form{number} {{ {one.body} }}")
            call = f"form{number}::direction(meta, nullptr, out, scratch);"
            parts.append(f'extern "C" void run{number}(const T* const* meta, T* out, T* scratch) {{ {call} }}')
    return native.compiled("\n".join(parts), ("-O0", *native.FLAGS[1:]))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_exact_or_refused_by_name(name, planned, library):
    form, one = FORMS[name], planned[name]
    if one.refusal:
        assert form.refused, one.refusal
        assert re.search(form.refused, one.refusal)
        assert ": use" in one.refusal
        return
    assert not form.refused or form.refused.endswith("|"), "it was carried"
    truth = [found.to(torch.float64).reshape(-1) for found in listed(form.function(*form.inputs))]
    inputs = [tensor.contiguous() for tensor in form.inputs]
    out = torch.zeros(sum(map(len, truth)), dtype=torch.float64)
    scratch = torch.empty(one.scratch + 64, dtype=torch.float64)
    meta = (ctypes.c_void_p * len(inputs))(*(tensor.data_ptr() for tensor in inputs))
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (out, scratch)]
    getattr(library, f"run{list(FORMS).index(name)}")(meta, *pointers)
    torch.testing.assert_close(out, torch.cat(truth), rtol=1e-9, atol=1e-11, equal_nan=True)
