"""A tensor as the generated C++ sees it: where its elements lie, or how they are computed, and views of both."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

UNDIVIDED = (1, 0)


@dataclass(frozen=True)
class Value:
    """A view into a buffer (`base`), a constant, or a formula of other values that nobody has written down yet."""

    base: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Strides of the elements; for a formula, those that its buffer would have."""
    offset: int = 0
    constant: float | None = None
    divided: tuple[tuple[int, int], ...] = ()
    """Divisor of each dimension's index and the last quotient; empty where no index is divided."""
    formula: str = ""
    operands: tuple["Value", ...] = ()
    """What the formula is of, each of the shape of the whole; none is a formula itself."""

    @property
    def contiguous(self) -> bool:
        return self.stored and self.strides == row_major(self.shape)

    @property
    def stored(self) -> bool:
        """Whether its elements lie in a buffer."""
        return self.constant is None and not self.formula

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def parts(self) -> tuple["Value", ...]:
        """The values that an element is computed from."""
        return self.operands if self.formula else (self,)

    def at(self, indices: Sequence[str]) -> str:
        """The C++ of an element."""
        if self.formula:
            return f"({self.formula.format(*(operand.at(indices) for operand in self.operands))})"
        if self.constant is not None:
            return literal(self.constant)
        places = [
            f"{i if by == 1 else f'({i}/{by} < {last} ? {i}/{by} : {last})'}*{stride}"
            for i, (by, last), stride, n in zip(
                indices, self.divided or [UNDIVIDED] * len(self.shape), self.strides, self.shape, strict=True
            )
            if stride and n > 1
        ]
        return f"{self.base}[{'+'.join([*places, str(self.offset)])}]"


def places_of(*values: Value) -> str:
    """The C++ of where each begins."""
    return ", ".join(f"&{value.base}[{value.offset}]" for value in values)


def constant(number: float, shape: Sequence[int] = ()) -> Value:
    """A value that is one number everywhere."""
    return Value("", tuple(shape), (0,) * len(shape), constant=float(number))


def literal(number: float) -> str:
    """A number in C++."""
    if math.isnan(number):
        return 'T(__builtin_nan(""))'
    if math.isinf(number):
        return "T(-__builtin_inf())" if number < 0 else "T(__builtin_inf())"
    return f"T({float(number)!r})"


def formula_of(expression: Callable[..., str], shape: tuple[int, ...], values: Sequence[Value]) -> Value:
    """`expression` of values, which are broadcast to the shape; what they share stands in it once."""
    operands: dict[Value, int] = {}
    texts = []
    for value in values:
        whole = broadcast(value, shape)
        numbers = [operands.setdefault(part, len(operands)) for part in whole.parts]
        text = f"({whole.formula})" if whole.formula else "{0}"
        texts.append(text.format(*(f"{{{number}}}" for number in numbers)))
    return Value("", shape, layout(shape, values), formula=expression(*texts), operands=tuple(operands))


def layout(shape: tuple[int, ...], values: Sequence[Value]) -> tuple[int, ...]:
    """Strides for what is made of values element by element: those of a value that has the whole shape.

    The first value that does not lie row by row decides: images have their channels in line, and so have their weights.
    """
    orders = [order(value) for value in values if value.constant is None and value.shape == shape and dense(value)]
    plain = tuple(range(len(shape)))
    return strides_in(shape, next((each for each in orders if each != plain), plain))


def dense(value: Value) -> bool:
    """Whether no dimension is broadcast."""
    return all(stride for stride, n in zip(value.strides, value.shape, strict=True) if n > 1)


def order(value: Value) -> tuple[int, ...]:
    """The dimensions of a value from the outermost in memory to the innermost."""
    long = iter(sorted((d for d, n in enumerate(value.shape) if n > 1), key=lambda d: -value.strides[d]))
    return tuple(next(long) if n > 1 else d for d, n in enumerate(value.shape))


def strides_in(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps whose dimensions lie in that order."""
    steps = row_major([shape[d] for d in order])
    return tuple(steps[order.index(d)] for d in range(len(shape)))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    return tuple(accumulate(reversed(shape[1:]), operator.mul, initial=1))[::-1] if shape else ()


def mapped(value: Value, view: Callable[[Value], Value]) -> Value:
    """A view of a value, and of all that it is computed from."""
    whole = view(replace(value, formula="", operands=()))
    return replace(whole, formula=value.formula, operands=tuple(view(operand) for operand in value.operands))


def of_dimensions(value: Value, dims: Sequence[int | None]) -> Value:
    """A view with these dimensions in this order; None is a new one of size 1. One left out has size 1 or index 0."""

    def view(value: Value) -> Value:
        return replace(
            value,
            shape=tuple(1 if d is None else value.shape[d] for d in dims),
            strides=tuple(0 if d is None else value.strides[d] for d in dims),
            divided=value.divided and tuple(UNDIVIDED if d is None else value.divided[d] for d in dims),
        )

    return mapped(value, view)


def broadcast(value: Value, shape: Sequence[int]) -> Value:
    """The value as a view of that shape."""
    lead = len(shape) - len(value.shape)
    widened = of_dimensions(value, [*[None] * lead, *range(len(value.shape))])

    def view(value: Value) -> Value:
        strides = [
            stride if n == whole and n > 1 else 0
            for n, whole, stride in zip(value.shape, shape, value.strides, strict=True)
        ]
        return replace(value, shape=tuple(shape), strides=tuple(strides))

    return mapped(widened, view)


def narrowed(value: Value, dim: int, start: int, stop: int, step: int) -> Value:
    """The elements from `start` to `stop` along a dimension that no operand divides."""

    def view(value: Value) -> Value:
        shape, strides = list(value.shape), list(value.strides)
        shape[dim], strides[dim] = len(range(start, stop, step)), strides[dim] * step
        return replace(
            value, shape=tuple(shape), strides=tuple(strides), offset=value.offset + start * value.strides[dim]
        )

    return mapped(value, view)


def reshaped(value: Value, shape: tuple[int, ...]) -> Value | None:
    """The elements in another shape as a view, or None where their places do not allow it."""
    parts = [replace(value, formula="", operands=()), *value.operands]
    views = []
    for part in parts:
        strides = _restrided(part, shape)
        if strides is None:
            return None
        views.append(replace(part, shape=shape, strides=strides, divided=()))
    whole, *operands = views
    return replace(whole, formula=value.formula, operands=tuple(operands))


def _restrided(value: Value, shape: Sequence[int]) -> tuple[int, ...] | None:
    if any(by != UNDIVIDED for by in value.divided):
        return None
    runs: list[list[int]] = []  # of elements at an even distance: how many, and how far
    for n, stride in zip(value.shape, value.strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * stride:
            runs[-1] = [runs[-1][0] * n, stride]
        else:
            runs.append([n, stride])
    strides, left, distance = [], 1, 0
    for n in shape:
        if n > 1 and left == 1:
            left, distance = runs.pop(0)
        if left % n:
            return None
        left //= n
        strides.append(left * distance if n > 1 else 0)
    return tuple(strides)


def with_dimensions_kept(out: Value, gone: set[int], value: Value) -> Value:
    """`out`, which is `value` without some dimensions, with those again, of size 1."""
    left = iter(range(len(out.shape)))
    return of_dimensions(out, [None if d in gone else next(left) for d in range(len(value.shape))])


def transposed(value: Value) -> Value:
    """The view with its last two dimensions exchanged."""
    *many, m, n = range(len(value.shape))
    return of_dimensions(value, (*many, n, m))
