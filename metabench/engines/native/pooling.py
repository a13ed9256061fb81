"""Pooling of images, which lie with their channels in line: (N, H, W, C). Shapes are torch's, (N, C, H, W)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F

from metabench.engines.native.code import Program
from metabench.engines.native.loops import assigned, elements, innermost, nest
from metabench.engines.native.value import UNDIVIDED, Value, broadcast, mapped, of_dimensions, strides_in
from metabench.errors import Unsupported

Operation: TypeAlias = Callable[..., Any]
"""`(program, *arguments of the torch operation) -> Value`, or a list of them."""
Pair: TypeAlias = Sequence[int]

IMAGES = (0, 2, 3, 1)
HERE = ("i0", "i1", "i2", "i3")


def check_images(what: str, x: Value) -> None:
    """Raise `Unsupported` for anything but (N, C, H, W)."""
    if len(x.shape) != 4:
        raise Unsupported(f"native has {what} of images alone, and here are {len(x.shape)} dimensions: use loop")


class _Windows(NamedTuple):
    """Windows of a pooling, the same for height and width, over images of H x W."""

    size: int
    stride: int
    padding: int
    image: tuple[int, int]
    pooled: tuple[int, int]

    @property
    def apart(self) -> bool:
        """Whether no element lies in two windows, and no window reaches beyond the image."""
        return self.size == self.stride and self.inside

    @property
    def inside(self) -> bool:
        """Whether no window reaches beyond the image."""
        ends = ((out - 1) * self.stride + self.size for out in self.pooled)
        return self.padding == 0 and all(end <= n for end, n in zip(ends, self.image, strict=True))

    def begin(self, index: str, side: int) -> str:
        """Row or column of a window's side in the image."""
        return f"({self.stride}*{index}+{side - self.padding})"


def _windows(x: Value, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil: bool) -> _Windows:
    check_images("pooling", x)
    if any(len(set(pair)) > 1 for pair in (kernel, stride, padding)):
        raise Unsupported("native has no pooling that differs between height and width: use loop or compile-tasks")
    if set(dilation) != {1}:
        raise Unsupported("native has no dilated pooling: use loop or compile-tasks")
    h, w = x.shape[2:]
    by = (*stride, *kernel)[0]
    rows, columns = F.max_pool2d(torch.empty(1, h, w, device="meta"), kernel[0], by, padding[0], 1, ceil).shape[1:]
    return _Windows(kernel[0], by, padding[0], (h, w), (rows, columns))


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
    windows = _windows(x, kernel, stride, padding, dilation, ceil)
    (h, w), shape = windows.image, (*x.shape[:2], *windows.pooled)
    values, places = (program.buffer(shape, strides_in(shape, IMAGES)) for _ in range(2))
    inner = 1 if innermost([of_dimensions(each, IMAGES) for each in (x, values)]) is not None else None
    first = [f"std::max(0, {windows.begin(index, 0)})" for index in HERE[2:]]
    body = f"T best = T(-__builtin_inf()), place = T({first[0]}*{w}+{first[1]}); "
    take = "const auto better = either(gt(item, best), ne(item, item)); "
    for i in range(windows.size):
        for j in range(windows.size):
            row, column = windows.begin("i2", i), windows.begin("i3", j)
            loads, (element,) = elements([x], ["i0", "i1", row, column], inner)
            change = f"best = where(better, item, best); place = where(better, T({row}*{w}+{column}), place);"
            there = "" if windows.inside else f"if ({_inside(row, h)} && {_inside(column, w)}) "
            body += f"{there}{{ {loads} const T item = {element}; {take}{change} }} "
    ends = [assigned(each.at(HERE), item, inner) for each, item in ((values, "best"), (places, "place"))]
    loop = nest([shape[d] for d in IMAGES], [HERE[d] for d in IMAGES], f"{body}{' '.join(ends)}", inner is not None)
    program.emit(loop, [values, places], x)
    return [values, places]


def _inside(index: str, n: int) -> str:
    return f"{index} >= 0 && {index} < {n}"


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
    windows = _windows(x, kernel, stride, padding, dilation, ceil)
    gradient, places = program.real(gradient), program.real(places)
    if not windows.apart:
        return _gathered(program, gradient, places, x, windows)
    h, w = windows.image
    spread = [_spread(value, x.shape, windows.size) for value in (gradient, places)]
    numbers = program.count(h * w)
    here = broadcast(replace(numbers, shape=(1, 1, h, w), strides=(0, 0, w, 1)), x.shape)
    return program.pointwise(x.shape, [*spread, here], "where(eq({1}, {2}), {0}, T(0))".format)


def _gathered(program: Program, gradient: Value, places: Value, x: Value, windows: _Windows) -> Value:
    """That gradient where windows overlap or reach beyond the image: of all windows that an element may lie in."""
    out = program.buffer(x.shape, strides_in(x.shape, IMAGES))
    turned = [of_dimensions(each, IMAGES) for each in (out, gradient, places)]
    inner = 1 if innermost(turned) is not None else None
    body = "T sum = T(0); "
    back = range(math.ceil(windows.size / windows.stride))
    last = [f"(({index}+{windows.padding})/{windows.stride})" for index in HERE[2:]]
    for i in back:
        for j in back:
            row, column = f"({last[0]}-{i})", f"({last[1]}-{j})"
            loads, items = elements([gradient, places], ["i0", "i1", row, column], inner)
            there = " && ".join(map(_inside, (row, column), windows.pooled))
            number = f"T(i2*{windows.image[1]}+i3)"
            body += f"if ({there}) {{ {loads} sum = sum + where(eq({items[1]}, {number}), {items[0]}, T(0)); }} "
    body += assigned(out.at(HERE), "sum", inner)
    loop = nest([x.shape[d] for d in IMAGES], [HERE[d] for d in IMAGES], body, inner is not None)
    program.emit(loop, out, gradient, places)
    return out


def _spread(value: Value, shape: tuple[int, ...], size: int) -> Value:
    """Each element of (N, C, H / size, W / size) wherever its window reaches, the last ones beyond it, too."""
    _, _, h, w = value.shape
    divided = (UNDIVIDED, UNDIVIDED, (size, h - 1), (size, w - 1))
    return mapped(value, lambda each: replace(each, shape=shape, divided=divided))


POOLING: dict[str, Operation] = {
    "max_pool2d_with_indices": _max_pool,
    "max_pool2d_with_indices_backward": _max_pool_backward,
}
