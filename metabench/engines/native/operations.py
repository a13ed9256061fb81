"""What torch's primitive operations are in C++."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from metabench.engines.native.code import Program
from metabench.engines.native.images import IMAGE_OPERATIONS, Operation
from metabench.engines.native.value import (
    Value,
    broadcast,
    constant,
    layout,
    narrowed,
    of_dimensions,
    reshaped,
)
from metabench.errors import Unsupported

POINTWISE: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "relu": "where(le({0}, T(0)), T(0), {0})",
    "exp": "exp_of({0})",
    "log": "log_of({0})",
    "log1p": "log1p_of({0})",
    "sqrt": "sqrt_of({0})",
    "reciprocal": "1 / {0}",
    "rsqrt": "1 / sqrt_of({0})",
    "tanh": "tanh_of({0})",
    "sigmoid": "1 / (1 + exp_of(-{0}))",
    "abs": "abs_of({0})",
    "sign": "T(gt({0}, T(0))) - T(lt({0}, T(0)))",
    **{name: f"T({name}({{0}}, {{1}}))" for name in ("le", "lt", "ge", "gt", "eq", "ne")},
    "where": "where({0}, {1}, {2})",
    "fma": "{0} * {1} + {2}",
    "clamp_min": "where(lt({0}, {1}), {1}, {0})",
}
"""C++ of each operation on elements. Truth is 1, and all indices that occur are small enough to be exact."""
SAME = ("clone", "alias", "detach")


def _value_of(argument: Any) -> Value:
    return argument if isinstance(argument, Value) else constant(argument)


def _together(values: Sequence[Value]) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*(value.shape for value in values)))  # type: ignore[no-untyped-call]


def _pointwise(template: str) -> Operation:
    def operation(program: Program, *arguments: Any, alpha: float = 1) -> Value:
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
    return program.pointwise(_together(values), values, "pow_of({0}, {1})".format)


def _within(value: Value, dims: int | Sequence[int] | None) -> list[int]:
    """Dimensions counted from the front; a number without dimensions has none, whatever torch calls its one."""
    given = [dims] if isinstance(dims, int) else dims or ()
    return [d % len(value.shape) for d in given] if value.shape else []


def _view(program: Program, value: Value, shape: Sequence[int]) -> Value:
    known = math.prod(n for n in shape if n != -1)
    shape = tuple(value.size // known if n == -1 else n for n in shape)
    view = reshaped(value, shape)
    return reshaped(program.copy(value), shape) if view is None else view  # type: ignore[return-value]


def _permute(program: Program, value: Value, dims: Sequence[int]) -> Value:
    return of_dimensions(value, [d % len(value.shape) for d in dims])


def _expand(program: Program, value: Value, shape: Sequence[int]) -> Value:
    lead = len(shape) - len(value.shape)
    return broadcast(value, [value.shape[d - lead] if n == -1 else n for d, n in enumerate(shape)])


def _unsqueeze(program: Program, value: Value, dim: int) -> Value:
    dims: list[int | None] = list(range(len(value.shape)))
    dims.insert(dim % (len(dims) + 1), None)
    return of_dimensions(value, dims)


def _squeeze(program: Program, value: Value, dims: int | Sequence[int] | None = None) -> Value:
    dims = range(len(value.shape)) if dims is None else dims
    gone = set(_within(value, dims))
    return of_dimensions(value, [d for d, n in enumerate(value.shape) if not (d in gone and n == 1)])


def _select(program: Program, value: Value, dim: int, index: int) -> Value:
    dim, index = dim % len(value.shape), index % value.shape[dim]
    one = _narrow(program, value, dim, index, index + 1)
    return of_dimensions(one, [d for d in range(len(value.shape)) if d != dim])


def _narrow(
    program: Program, value: Value, dim: int = 0, start: int | None = 0, end: int | None = None, step: int = 1
) -> Value:
    dim %= len(value.shape)
    if any(part.divided for part in value.parts):
        value = program.real(value)
    return narrowed(value, dim, *slice(start, end, step).indices(value.shape[dim]))


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
        program.loop(part, [value])
        start += value.shape[dim]
    return out


def _total(program: Program, value: Value, dims: Sequence[int] | None = (), keepdim: bool = False) -> Value:
    return program.total(value, _within(value, dims), keepdim)


def _mean(program: Program, value: Value, dims: Sequence[int] | None = (), keepdim: bool = False) -> Value:
    summed = _total(program, value, dims, keepdim)
    count = value.size // summed.size
    return program.pointwise(summed.shape, [summed], f"{{0}} / T({count})".format)


def _variance_and_mean(
    program: Program,
    value: Value,
    dims: Sequence[int] | None = (),
    *,
    correction: float | None = 1,
    keepdim: bool = False,
) -> list[Value]:
    centre = _mean(program, value, dims, True)
    squares = program.pointwise(value.shape, [value, centre], "({0} - {1}) * ({0} - {1})".format)
    summed = _total(program, squares, dims, keepdim)
    count = max(0, value.size // summed.size - (1 if correction is None else correction))
    variance = program.pointwise(summed.shape, [summed], f"{{0}} / T({count})".format)
    return [variance, centre if keepdim else _squeeze(program, centre, dims or list(range(len(value.shape))))]


def _largest(program: Program, value: Value, dims: Sequence[int] = (), keepdim: bool = False) -> Value:
    return program.largest(value, _within(value, dims), keepdim)


def _biased_product(program: Program, bias: Value, a: Value, b: Value, beta: float = 1, alpha: float = 1) -> Value:
    product = program.product(a, b)
    return program.pointwise(product.shape, [bias, product], f"T({beta}) * {{0}} + T({alpha}) * {{1}}".format)


def _gather(program: Program, value: Value, dim: int, index: Value) -> Value:
    value, index = program.real(value), program.real(index)
    out = program.buffer(index.shape, layout(index.shape, [index]))
    indices, along = [f"i{d}" for d in range(len(index.shape))], _within(index, dim)
    place = [f"(int){index.at(indices)}" if d in along else i for d, i in enumerate(indices)]
    program.emit_nest(out, f"{out.at(indices)} = {value.at(place)};", value, index)
    return out


def _scatter(program: Program, value: Value, dim: int, index: Value, number: float) -> Value:
    out, index = program.copy_of(value), program.real(index)
    indices, along = [f"i{d}" for d in range(len(index.shape))], _within(index, dim)
    place = [f"(int){index.at(indices)}" if d in along else i for d, i in enumerate(indices)]
    program.every(index.shape, indices, f"{out.at(place)} = T({number});", out, index)
    return out


def _select_scatter(program: Program, value: Value, source: Value, dim: int, index: int) -> Value:
    out = program.copy_of(value)
    program.loop(_select(program, out, dim, index), [source])
    return out


def _slice_scatter(
    program: Program,
    value: Value,
    source: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    out = program.copy_of(value)
    program.loop(_narrow(program, out, dim, start, end, step), [source])
    return out


def _reversed(program: Program, value: Value, dims: Sequence[int]) -> Value:
    value, turned = program.real(value), _within(value, dims)
    out = program.buffer(value.shape)
    here = [f"i{d}" for d in range(len(value.shape))]
    there = [f"({n - 1}-{i})" if d in turned else i for d, (i, n) in enumerate(zip(here, value.shape, strict=True))]
    program.emit_nest(out, f"{out.at(here)} = {value.at(there)};", value)
    return out


def _index(program: Program, value: Value, indices: Sequence[Value | None]) -> Value:
    if len(indices) != 1 or indices[0] is None:
        raise Unsupported(f"{program.engine} takes rows of a tensor by their numbers, and no other indices: use loop")
    rows, value = program.real(indices[0]), program.real(value)
    shape = (*rows.shape, *value.shape[1:])
    out = program.buffer(shape)
    names = [f"i{d}" for d in range(len(shape))]
    row = rows.at(names[: len(rows.shape)])
    place = [f"(int)({row} < 0 ? {row} + {value.shape[0]} : {row})", *names[len(rows.shape) :]]
    program.emit_nest(out, f"{out.at(names)} = {value.at(place)};", value, rows)
    return out


def _iota(program: Program, length: int, *, start: int = 0, step: int = 1) -> Value:
    numbers = program.count(length)
    return program.pointwise((length,), [numbers], f"T({start}) + T({step}) * {{0}}".format)


OPERATIONS: dict[str, Operation] = {
    **IMAGE_OPERATIONS,
    **{name: _pointwise(template) for name, template in POINTWISE.items()},
    **{name: lambda program, value: value for name in SAME},
    "convert_element_type": lambda program, value, dtype: value,
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
    "var_mean": _variance_and_mean,
    "amax": _largest,
    "gather": _gather,
    "scatter": _scatter,
    "select_scatter": _select_scatter,
    "slice_scatter": _slice_scatter,
    "rev": _reversed,
    "index": _index,
    "iota": _iota,
    "mm": lambda program, a, b: program.product(a, b),
    "bmm": lambda program, a, b: program.product(a, b),
    "addmm": _biased_product,
    "full": lambda program, shape, number: constant(number, shape),
    "scalar_tensor": lambda program, number: constant(number),
    "getitem": lambda program, values, i: values[i],
}
