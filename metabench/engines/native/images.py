"""Convolution and pooling of images, which lie with their channels in line (N, H, W, C), in a program of any engine.

Shapes are torch's, (N, C, H, W); strides say how the elements lie. Weights (CO, CI, KH, KW) lie as (KH, KW, CI, CO).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from metabench.engines.flat import WEIGHTS
from metabench.engines.native.code import Program
from metabench.engines.native.convolutions import (
    IMAGES,
    TURNED_WEIGHTS,
    VECTOR,
    Convolution,
    Sizes,
)
from metabench.engines.native.value import UNDIVIDED, Value, broadcast, mapped, of_dimensions, strides_in
from metabench.engines.native.windows import HERE, Windows, gathered_from_windows
from metabench.errors import Unsupported

Operation: TypeAlias = Callable[..., Any]
"""`(program, *arguments of the torch operation) -> Value`, or a list of them."""
Pair: TypeAlias = Sequence[int]

KEPT = (torch.ops.aten.max_pool2d_with_indices.default, torch.ops.aten.max_pool2d_with_indices_backward.default)
"""What tracing leaves whole."""


def _convolution(
    program: Program,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    transposed: bool,
    output_padding: Pair,
    groups: int,
) -> Value:
    _check_images(program, "convolutions", x)
    if groups != 1:
        raise _without(program, "grouped convolutions")
    sizes = Sizes(*(_same(program, pair) for pair in (stride, padding, dilation)))
    s, p, d = sizes
    out_channels = weight.shape[1] if transposed else weight.shape[0]
    more = (output_padding[0], output_padding[-1])  # torch takes one number for both, too
    extents = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + extra if transposed else (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, extra in zip(x.shape[2:], weight.shape[2:], more, strict=True)
    ]
    shape = (x.shape[0], out_channels, *extents)
    if transposed:
        out = _inputs(program, x, weight, shape, sizes)
    elif _in_line(x, 0) and _in_line(weight, 0):  # a gradient of weights: batch and channels have changed places
        swapped = Sizes(sizes.dilation, sizes.padding, sizes.stride)
        out = _weights(program, of_dimensions(x, (1, 0, 2, 3)), of_dimensions(weight, (1, 0, 2, 3)), shape[2:], swapped)
        out = of_dimensions(out, (1, 0, 2, 3))
    else:
        out = _outputs(program, x, weight, shape, sizes)
    if bias is None:
        return out
    return program.pointwise(out.shape, [out, of_dimensions(bias, (None, 0, None, None))], "{0} + {1}".format)


def _convolution_backward(
    program: Program,
    gradient: Value,
    x: Value,
    weight: Value,
    bias_sizes: Any,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    transposed: bool,
    output_padding: Pair,
    groups: int,
    wanted: Sequence[bool],
) -> list[Value | None]:
    _check_images(program, "convolutions", x)
    if transposed or groups != 1:
        raise _without(program, "gradient of grouped or transposed convolutions")
    sizes = Sizes(*(_same(program, pair) for pair in (stride, padding, dilation)))
    of_x, of_weight, of_bias = wanted
    return [
        _inputs(program, gradient, weight, x.shape, sizes) if of_x else None,
        _weights(program, x, gradient, weight.shape[2:], sizes) if of_weight else None,
        program.total(gradient, (0, 2, 3), False) if of_bias else None,
    ]


def _without(program: Program, what: str) -> Unsupported:
    return Unsupported(f"{program.engine} has no {what}: use loop or compile-tasks")


def _check_images(program: Program, what: str, x: Value) -> None:
    """Raise `Unsupported` for anything but (N, C, H, W)."""
    if len(x.shape) != 4:
        here = f"here are {len(x.shape)} dimensions"
        raise Unsupported(f"{program.engine} has {what} of images alone, and {here}: use loop")


def _same(program: Program, pair: Pair) -> int:
    if len(set(pair)) > 1:
        raise _without(program, "convolutions that differ between height and width")
    return pair[0]


def _in_line(value: Value, dim: int) -> bool:
    return value.shape[dim] > 1 and value.strides[dim] == 1


def _outputs(program: Program, x: Value, weight: Value, shape: Sequence[int], sizes: Sizes) -> Value:
    what = Convolution("OUTPUT", x.shape, tuple(shape), weight.shape[2:], sizes)
    return program.convolution(what, program.arranged(x, IMAGES), program.arranged(weight, WEIGHTS))


def _inputs(program: Program, y: Value, weight: Value, shape: Sequence[int], sizes: Sizes) -> Value:
    many_weights = weight.shape[0] * weight.shape[1] >= program.large
    few = y.size // y.shape[1] <= program.few_pixels and many_weights and y.shape[1] % VECTOR == 0
    what = Convolution("INPUT_OF_FEW" if few else "INPUT", tuple(shape), y.shape, weight.shape[2:], sizes)
    weight = program.arranged(weight, WEIGHTS if few else TURNED_WEIGHTS)
    return program.convolution(what, program.arranged(y, IMAGES), weight)


def _weights(program: Program, x: Value, y: Value, kernel: Sequence[int], sizes: Sizes) -> Value:
    what = Convolution("WEIGHT", x.shape, y.shape, tuple(kernel), sizes)
    return program.convolution(what, program.arranged(x, IMAGES), program.arranged(y, IMAGES))


def _max_pool(
    program: Program,
    x: Value,
    kernel: Pair,
    stride: Pair = (),
    padding: Pair = (0,),
    dilation: Pair = (1,),
    ceil: bool = False,
) -> list[Value]:
    """Values, and the place of each in its image of H * W."""
    return program.pooled(x, _windows(program, x, kernel, stride, padding, dilation, ceil))


def _max_pool_backward(
    program: Program,
    gradient: Value,
    x: Value,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil: bool,
    places: Value,
) -> Value:
    """The gradient of the input: each element has the gradients of the windows in which it was the largest, else 0."""
    windows = _windows(program, x, kernel, stride, padding, dilation, ceil)
    gradient, places = program.real(gradient), program.real(places)
    if not windows.side_by_side:
        out = program.buffer(x.shape, strides_in(x.shape, IMAGES))
        body = f"{gathered_from_windows(gradient, places, windows)}{out.at(HERE)} = sum;"
        program.emit_nest(out, body, gradient, places)
        return out
    h, w = windows.image
    spread = [_spread(value, x.shape, windows.size) for value in (gradient, places)]
    numbers = program.count(h * w)
    here = broadcast(replace(numbers, shape=(1, 1, h, w), strides=(0, 0, w, 1)), x.shape)
    return program.pointwise(x.shape, [*spread, here], "where(eq({1}, {2}), {0}, T(0))".format)


def _spread(value: Value, shape: tuple[int, ...], size: int) -> Value:
    """Each element of (N, C, H / size, W / size) wherever its window reaches, the last ones beyond it, too."""
    _, _, h, w = value.shape
    divided = (UNDIVIDED, UNDIVIDED, (size, h - 1), (size, w - 1))
    return mapped(value, lambda each: replace(each, shape=shape, divided=divided))


def _windows(
    program: Program, x: Value, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil: bool
) -> Windows:
    _check_images(program, "pooling", x)
    if any(len(set(pair)) > 1 for pair in (kernel, stride, padding)):
        raise _without(program, "pooling that differs between height and width")
    if set(dilation) != {1}:
        raise _without(program, "dilated pooling")
    h, w = x.shape[2:]
    by = (*stride, *kernel)[0]
    rows, columns = F.max_pool2d(torch.empty(1, h, w, device="meta"), kernel[0], by, padding[0], 1, ceil).shape[1:]
    return Windows(kernel[0], by, padding[0], (h, w), (rows, columns))


IMAGE_OPERATIONS: dict[str, Operation] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "max_pool2d_with_indices": _max_pool,
    "max_pool2d_with_indices_backward": _max_pool_backward,
}
