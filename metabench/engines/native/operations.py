"""What torch's primitive operations are in C++."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from metabench.engines.native.code import Program, Value, broadcast, row_major

Operation: TypeAlias = Callable[..., Any]
"""`(program, *arguments of the torch operation) -> Value`, or a list of them."""

POINTWISE: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "relu": "{0} <= 0 ? T(0) : {0}",
    "exp": "std::exp({0})",
    "log": "std::log({0})",
    "log1p": "std::log1p({0})",
    "sqrt": "std::sqrt({0})",
    "tanh": "std::tanh({0})",
    "sigmoid": "1 / (1 + std::exp(-{0}))",
    "abs": "std::abs({0})",
    "sign": "T(({0} > 0) - ({0} < 0))",
    "le": "T({0} <= {1})",
    "lt": "T({0} < {1})",
    "ge": "T({0} >= {1})",
    "gt": "T({0} > {1})",
    "eq": "T({0} == {1})",
    "ne": "T({0} != {1})",
    "where": "{0} != 0 ? {1} : {2}",
    "clamp_min": "{0} < {1} ? {1} : {0}",
}
"""Truth is 1, and indices are numbers like others: all that occur are small enough to be exact."""
SAME = ("clone", "alias", "detach", "convert_element_type")


def _constant(number: float, shape: Sequence[int] = ()) -> Value:
    return Value("", tuple(shape), (0,) * len(shape), constant=float(number))


def _value_of(argument: Any) -> Value:
    return argument if isinstance(argument, Value) else _constant(argument)


def _together(values: Sequence[Value]) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*(value.shape for value in values)))  # type: ignore[no-untyped-call]


def _pointwise(template: str) -> Operation:
    def operation(program: Program, *arguments: Any, alpha: float = 1, **_: Any) -> Value:
        values = [_value_of(argument) for argument in arguments]
        if alpha != 1:
            values[1] = program.pointwise(values[1].shape, [values[1]], f"{{0}} * T({alpha})".format)
        shape = _together(values)
        return program.pointwise(shape, values, template.format)

    return operation


def _power(program: Program, base: Any, exponent: Any) -> Value:
    if exponent == 2:
        return program.pointwise(base.shape, [base], "{0} * {0}".format)
    values = [_value_of(base), _value_of(exponent)]
    return program.pointwise(_together(values), values, "std::pow({0}, {1})".format)


def _view(program: Program, value: Value, shape: Sequence[int]) -> Value:
    size = math.prod(value.shape)
    known = math.prod(n for n in shape if n != -1)
    shape = tuple(size // known if n == -1 else n for n in shape)
    if value.constant is not None:
        return _constant(value.constant, shape)
    return replace(value if value.contiguous else program.copy(value), shape=shape, strides=row_major(shape))


def _permute(program: Program, value: Value, dims: Sequence[int]) -> Value:
    return replace(value, shape=tuple(value.shape[d] for d in dims), strides=tuple(value.strides[d] for d in dims))


def _expand(program: Program, value: Value, shape: Sequence[int]) -> Value:
    lead = len(shape) - len(value.shape)
    return broadcast(value, [value.shape[d - lead] if n == -1 else n for d, n in enumerate(shape)])


def _unsqueeze(program: Program, value: Value, dim: int) -> Value:
    dim %= len(value.shape) + 1
    shape, strides = list(value.shape), list(value.strides)
    shape.insert(dim, 1)
    strides.insert(dim, 1)
    return replace(value, shape=tuple(shape), strides=tuple(strides))


def _squeeze(program: Program, value: Value, dims: int | Sequence[int]) -> Value:
    gone = {d % len(value.shape) for d in ([dims] if isinstance(dims, int) else dims)}
    kept = [d for d, n in enumerate(value.shape) if not (d in gone and n == 1)]
    return _permute(program, value, kept)


def _select(program: Program, value: Value, dim: int, index: int) -> Value:
    dim, index = dim % len(value.shape), index % value.shape[dim]
    kept = [d for d in range(len(value.shape)) if d != dim]
    return replace(_permute(program, value, kept), offset=value.offset + index * value.strides[dim])


def _narrow(
    program: Program, value: Value, dim: int = 0, start: int | None = 0, end: int | None = None, step: int = 1
) -> Value:
    dim, size = dim % len(value.shape), value.shape[dim]
    begin, stop, step = slice(start, end, step).indices(size)
    shape, strides = list(value.shape), list(value.strides)
    shape[dim], strides[dim] = len(range(begin, stop, step)), strides[dim] * step
    offset = value.offset + begin * value.strides[dim]
    return replace(value, shape=tuple(shape), strides=tuple(strides), offset=offset)


def _split(program: Program, value: Value, sizes: int | Sequence[int], dim: int = 0) -> list[Value]:
    total = value.shape[dim]
    lengths = [min(sizes, total - i) for i in range(0, total, sizes)] if isinstance(sizes, int) else list(sizes)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [_narrow(program, value, dim, start, start + n) for start, n in zip(starts, lengths, strict=True)]


def _unbind(program: Program, value: Value, dim: int = 0) -> list[Value]:
    return [_select(program, value, dim, i) for i in range(value.shape[dim])]


def _concatenate(program: Program, values: Sequence[Value], dim: int = 0) -> Value:
    dim %= len(values[0].shape)
    shape = list(values[0].shape)
    shape[dim] = sum(value.shape[dim] for value in values)
    out, start = program.buffer(shape), 0
    for value in values:
        part = _narrow(program, out, dim, start, start + value.shape[dim])
        program.loop(part, [value], "{0} = {1};".format)
        start += value.shape[dim]
    return out


def _total(program: Program, value: Value, dims: Sequence[int] = (), keepdim: bool = False, **_: Any) -> Value:
    return program.reduce(value, dims or (), keepdim, 0.0, "{0} += {1};")


def _mean(program: Program, value: Value, dims: Sequence[int] = (), keepdim: bool = False, **_: Any) -> Value:
    summed = _total(program, value, dims, keepdim)
    count = math.prod(value.shape) // math.prod(summed.shape)
    return program.pointwise(summed.shape, [summed], f"{{0}} / T({count})".format)


def _largest(program: Program, value: Value, dims: Sequence[int] = (), keepdim: bool = False) -> Value:
    return program.reduce(value, dims, keepdim, -math.inf, "{0} = {0} < {1} ? {1} : {0};")


def _biased_product(program: Program, bias: Value, a: Value, b: Value, beta: float = 1, alpha: float = 1) -> Value:
    product = program.product(a, b)
    return program.pointwise(product.shape, [bias, product], f"T({beta}) * {{0}} + T({alpha}) * {{1}}".format)


def _gather(program: Program, value: Value, dim: int, index: Value) -> Value:
    out = program.buffer(index.shape)
    indices = [f"i{d}" for d in range(len(index.shape))]
    place = [f"(int){index.at(indices)}" if d == dim % len(index.shape) else i for d, i in enumerate(indices)]
    program.emit_nest(index.shape, indices, f"{out.at(indices)} = {value.at(place)};", out, value, index)
    return out


def _scatter(program: Program, value: Value, dim: int, index: Value, number: float) -> Value:
    out = program.pointwise(value.shape, [value], "{0}".format)
    indices = [f"i{d}" for d in range(len(index.shape))]
    place = [f"(int){index.at(indices)}" if d == dim % len(index.shape) else i for d, i in enumerate(indices)]
    program.emit_nest(index.shape, indices, f"{out.at(place)} = T({number});", out, index)
    return out


def _select_scatter(program: Program, value: Value, source: Value, dim: int, index: int) -> Value:
    out = program.pointwise(value.shape, [value], "{0}".format)
    program.loop(_select(program, out, dim, index), [source], "{0} = {1};".format)
    return out


def _index(program: Program, value: Value, indices: Sequence[Value]) -> Value:
    (rows,) = indices  # along the first dimension alone
    shape = (*rows.shape, *value.shape[1:])
    out = program.buffer(shape)
    names = [f"i{d}" for d in range(len(shape))]
    place = [f"(int){rows.at(names[: len(rows.shape)])}", *names[len(rows.shape) :]]
    program.emit_nest(shape, names, f"{out.at(names)} = {value.at(place)};", out, value, rows)
    return out


def _iota(program: Program, length: int, *, start: int = 0, step: int = 1, **_: Any) -> Value:
    out = program.buffer((length,))
    program.emit_nest((length,), ["i0"], f"{out.at(['i0'])} = T({start} + {step} * i0);", out)
    return out


OPERATIONS: dict[str, Operation] = {
    **{name: _pointwise(template) for name, template in POINTWISE.items()},
    **{name: lambda program, value, *_, **__: value for name in SAME},
    "pow": _power,
    "view": _view,
    "permute": _permute,
    "expand": _expand,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "select": _select,
    "slice": _narrow,
    "split": _split,
    "unbind": _unbind,
    "cat": _concatenate,
    "sum": _total,
    "mean": _mean,
    "amax": _largest,
    "gather": _gather,
    "scatter": _scatter,
    "select_scatter": _select_scatter,
    "index": _index,
    "iota": _iota,
    "mm": lambda program, a, b: program.product(a, b),
    "addmm": _biased_product,
    "full": lambda program, shape, number, **_: _constant(number, shape),
    "scalar_tensor": lambda program, number, **_: _constant(number),
    "getitem": lambda program, values, i: values[i],
}
