"""Convolutions of images, which lie with their channels in line: (N, H, W, C).

Shapes are torch's, (N, C, H, W); strides say how the elements lie. Weights (CO, CI, KH, KW) lie as (KH, KW, CI, CO).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from metabench.engines.flat import WEIGHTS
from metabench.engines.native.code import Program
from metabench.engines.native.pooling import IMAGES, POOLING, Operation, Pair, check_images
from metabench.engines.native.value import Value, of_dimensions, strides_in
from metabench.errors import Unsupported

KEPT = (torch.ops.aten.max_pool2d_with_indices.default, torch.ops.aten.max_pool2d_with_indices_backward.default)
"""What tracing leaves whole."""
TURNED_WEIGHTS = (2, 3, 0, 1)
PLACES = 16
"""Numbers of a tile of winograd.cpp: 4 x 4 inputs, from which come 2 x 2 outputs."""
TILES = 48
"""Most tiles in work at once: with 64 channels they and the weights take 650 KiB of the second cache."""
VECTOR = 16  # channels
COLUMNS = 4
"""Channels of inputs that `few_pixels` computes at once."""
FEW_PIXELS = 64
"""Pixels of all images, up to which turning the weights takes longer than what it saves."""
FEWER = 1.3
"""Factor by which tiles must save products to make up for what they cost."""


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
    check_images("convolutions", x)
    if groups != 1:
        raise Unsupported("native has no grouped convolutions: use loop or compile-tasks")
    sizes = _Sizes(_same(stride), _same(padding), _same(dilation))
    out_channels = weight.shape[1] if transposed else weight.shape[0]
    extents = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + extra if transposed else (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d, extra in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, output_padding, strict=True
        )
    ]
    shape = (x.shape[0], out_channels, *extents)
    if transposed:
        out = _inputs(program, x, weight, shape, sizes)
    elif _in_line(x, 0) and _in_line(weight, 0):  # a gradient of weights: batch and channels have changed places
        swapped = _Sizes(sizes.dilation, sizes.padding, sizes.stride)
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
    check_images("convolutions", x)
    if transposed or groups != 1:
        raise Unsupported("native has no gradient of grouped or transposed convolutions: use loop or compile-tasks")
    sizes = _Sizes(_same(stride), _same(padding), _same(dilation))
    of_x, of_weight, of_bias = wanted
    return [
        _inputs(program, gradient, weight, x.shape, sizes) if of_x else None,
        _weights(program, x, gradient, weight.shape[2:], sizes) if of_weight else None,
        program.total(gradient, (0, 2, 3), False) if of_bias else None,
    ]


class _Sizes(NamedTuple):
    """Stride, padding and dilation, each the same for height and width."""

    stride: int
    padding: int
    dilation: int


def _same(pair: Pair) -> int:
    if len(set(pair)) > 1:
        raise Unsupported("native has no convolutions that differ between height and width: use loop or compile-tasks")
    return pair[0]


def _in_line(value: Value, dim: int) -> bool:
    return value.shape[dim] > 1 and value.strides[dim] == 1


def _outputs(program: Program, x: Value, weight: Value, shape: Sequence[int], sizes: _Sizes) -> Value:
    x, weight = program.arranged(x, IMAGES), program.arranged(weight, WEIGHTS)
    return _call(program, "OUTPUT", x, weight, x.shape, shape, weight.shape[2:], sizes, shape, IMAGES)


def _inputs(program: Program, y: Value, weight: Value, shape: Sequence[int], sizes: _Sizes) -> Value:
    in_vectors = weight.shape[1] % COLUMNS == 0 and y.shape[1] % VECTOR == 0
    few = y.size // y.shape[1] <= FEW_PIXELS and weight.shape[0] * weight.shape[1] >= program.large and in_vectors
    y, weight = program.arranged(y, IMAGES), program.arranged(weight, WEIGHTS if few else TURNED_WEIGHTS)
    role = "INPUT_OF_FEW" if few else "INPUT"
    return _call(program, role, y, weight, shape, y.shape, weight.shape[2:], sizes, shape, IMAGES)


def _weights(program: Program, x: Value, y: Value, kernel: Sequence[int], sizes: _Sizes) -> Value:
    x, y = program.arranged(x, IMAGES), program.arranged(y, IMAGES)
    shape = (y.shape[1], x.shape[1], *kernel)
    return _call(program, "WEIGHT", x, y, x.shape, y.shape, kernel, sizes, shape, WEIGHTS)


def _call(
    program: Program,
    role: str,
    first: Value,
    second: Value,
    x: Sequence[int],
    y: Sequence[int],
    kernel: Sequence[int],
    sizes: _Sizes,
    shape: Sequence[int],
    dims: Sequence[int],
) -> Value:
    out = program.buffer(shape, strides_in(shape, dims))
    numbers = [x[0], *x[2:], x[1], *y[2:], y[1], *kernel, sizes.stride, sizes.dilation, sizes.padding]
    operands = ", ".join(f"{value.base} + {value.offset}" for value in (first, second))
    rows, columns = x[2:] if role == "INPUT" else y[2:]
    tiles = -(-rows // 2) * -(-columns // 2)
    if role != "INPUT_OF_FEW" and _in_tiles(x, y, kernel, sizes, tiles):
        most = min(TILES, x[0] * tiles)
        work = program.buffer([PLACES * (x[1] * y[1] + most * (x[1] + y[1]) + 3 * VECTOR)])
        numbers = [*numbers[:7], sizes.padding, most, work.size]
        line = f"winograd<{', '.join([role, *map(str, numbers)])}>({operands}, {out.base}, {work.base});"
        program.emit(line, [out, work], first, second)
    else:
        line = f"convolution<{', '.join([role, *map(str, numbers)])}>({operands}, {out.base});"
        program.emit(line, out, first, second)
    return out


def _in_tiles(x: Sequence[int], y: Sequence[int], kernel: Sequence[int], sizes: _Sizes, tiles: int) -> bool:
    """Whether winograd.cpp has the convolution, and multiplies clearly less often than a direct sum inside borders."""
    if (*kernel, sizes.stride, sizes.dilation) != (3, 3, 1, 1) or sizes.padding > 2 or x[1] % VECTOR or y[1] % VECTOR:
        return False
    direct = 1
    for inputs, outputs in zip(x[2:], y[2:], strict=True):
        direct *= sum(0 <= out + k - sizes.padding < inputs for out in range(outputs) for k in range(3))
    return direct >= FEWER * PLACES * tiles


IMAGE_OPERATIONS: dict[str, Operation] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    **POOLING,
}
