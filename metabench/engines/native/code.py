"""C++ for a graph of small tensors of known sizes: a loop for each operation, all in one function.

Whatever has the size of a few-shot task on a small network fits into a processor's cache. Then fusing loops gains
nothing; what costs is to call each of them. Here nothing is called, every size is a constant of the compiler, and
matrix products keep their sums in registers.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate


@dataclass(frozen=True)
class Value:
    """A view into a buffer (`base`), or a constant."""

    base: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    constant: float | None = None

    @property
    def contiguous(self) -> bool:
        return self.constant is None and self.strides == row_major(self.shape)

    def at(self, indices: Sequence[str]) -> str:
        """The C++ of an element."""
        if self.constant is not None:
            return literal(self.constant)
        terms = [f"{i}*{s}" for i, s, n in zip(indices, self.strides, self.shape, strict=True) if s and n > 1]
        return f"{self.base}[{'+'.join([*terms, str(self.offset)])}]"


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    return tuple(accumulate(reversed(shape[1:]), operator.mul, initial=1))[::-1] if shape else ()


def literal(number: float) -> str:
    """A number in C++."""
    if math.isnan(number):
        return 'T(__builtin_nan(""))'
    if math.isinf(number):
        return "T(-__builtin_inf())" if number < 0 else "T(__builtin_inf())"
    return f"T({float(number)!r})"


class Program:
    """Statements, and the buffers that they write; buffers whose values are not needed any more are used again."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, tuple[int, int]] = {}  # first and last line
        self.copies: dict[Value, Value] = {}

    def buffer(self, shape: Sequence[int]) -> Value:
        """A new one."""
        name = f"b{len(self.sizes)}"
        self.sizes[name] = math.prod(shape)
        return Value(name, tuple(shape), row_major(shape))

    def emit(self, line: str, *values: Value) -> None:
        """A statement, and all values that it reads or writes."""
        number = len(self.lines)
        self.lines.append(line)
        for value in values:
            if value.base in self.sizes:
                self.uses[value.base] = (self.uses.get(value.base, (number, 0))[0], number)

    def emit_nest(self, shape: Sequence[int], indices: Sequence[str], body: str, *values: Value) -> None:
        """A statement inside loops."""
        self.emit(nest(shape, indices, body), *values)

    def allocate(self) -> tuple[list[str], int]:
        """Declarations of the buffers, and how many numbers they take together."""
        taken: list[tuple[int, int, int]] = []  # last line, begin, end
        declarations, most = [], 0
        for name, (first, last) in sorted(self.uses.items(), key=lambda item: item[1]):
            taken = sorted((block for block in taken if block[0] >= first), key=lambda block: block[1])
            size, begin = -(-self.sizes[name] // 16) * 16, 0  # whole cache lines
            for _, low, high in taken:
                if begin + size <= low:
                    break
                begin = max(begin, high)
            taken.append((last, begin, begin + size))
            most = max(most, begin + size)
            declarations.append(f"T* const {name} = scratch + {begin};")
        return declarations, most

    def pointwise(self, shape: Sequence[int], operands: Sequence[Value], expression: Callable[..., str]) -> Value:
        """One loop nest over `shape`; operands are broadcast to it. What is made of transposed matrices is one."""
        whole = [v for v in operands if v.constant is None and v.shape == tuple(shape) and math.prod(shape) > 1]
        if len(shape) == 2 and whole and all(v.strides == row_major(shape[::-1])[::-1] for v in whole):
            out = transposed(self.buffer(shape[::-1]))
        else:
            out = self.buffer(shape)
        self.loop(out, operands, lambda target, *items: f"{target} = {expression(*items)};")
        return out

    def loop(self, out: Value, operands: Sequence[Value], statement: Callable[..., str]) -> None:
        """`statement` for every element of `out`."""
        values = [out, *(broadcast(value, out.shape) for value in operands)]
        order = sorted(range(len(out.shape)), key=lambda d: -out.strides[d])  # as the output lies in memory
        shape, strides = merged([out.shape[d] for d in order], [[value.strides[d] for d in order] for value in values])
        values = [replace(value, shape=shape, strides=s) for value, s in zip(values, strides, strict=True)]
        indices = [f"i{d}" for d in range(len(shape))]
        self.emit(nest(shape, indices, statement(*(value.at(indices) for value in values))), *values)

    def reduce(self, value: Value, dims: Sequence[int], keep: bool, first: float, statement: str) -> Value:
        """`statement` ("{0} += {1};") over `dims`, which become the outermost loops."""
        dims = [d % len(value.shape) for d in dims] or list(range(len(value.shape)))
        kept = [d for d in range(len(value.shape)) if d not in dims]
        out = self.buffer([value.shape[d] for d in kept])
        self.loop(out, [], lambda target: f"{target} = {literal(first)};")
        order = [*dims, *kept]
        indices = [f"i{d}" for d in range(len(value.shape))]
        body = statement.format(out.at([indices[d] for d in kept]), value.at(indices))
        self.emit(nest([value.shape[d] for d in order], [indices[d] for d in order], body), out, value)
        shape = [1 if d in dims else n for d, n in enumerate(value.shape)] if keep else out.shape
        return Value(out.base, tuple(shape), row_major(shape))

    def copy(self, value: Value) -> Value:
        """The same in a contiguous buffer of its own."""
        if value not in self.copies:
            self.copies[value] = self.buffer(value.shape)
            self.loop(self.copies[value], [value], "{0} = {1};".format)
        return self.copies[value]

    def product(self, a: Value, b: Value) -> Value:
        """(M, K) times (K, N)."""
        (m, k), n = a.shape, b.shape[1]
        if a.constant is not None:
            a = self.copy(a)
        if b.constant is not None or (n > 1 and b.strides[1] != 1):
            if a.strides[0] == 1 and m > 1 and b.constant is None:  # then the transposed product has its rows in line
                return transposed(self.product(transposed(b), transposed(a)))
            b = self.copy(b)
        out = self.buffer((m, n))
        sizes = f"{m}, {n}, {k}, {a.strides[0]}, {a.strides[1]}, {b.strides[0]}"
        self.emit(f"product<{sizes}>({a.base} + {a.offset}, {b.base} + {b.offset}, {out.base});", out, a, b)
        return out


def nest(shape: Sequence[int], indices: Sequence[str], body: str) -> str:
    """Loops around a statement."""
    loops = [f"for (int {i} = 0; {i} < {n}; ++{i})" for i, n in zip(indices, shape, strict=True) if n > 1]
    for i, n in zip(indices, shape, strict=True):
        if n == 1:
            body = f"constexpr int {i} = 0; {body}" if i in body else body
    return f"{' '.join(loops)} {{ {body} }}"


def merged(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The same elements in as few dimensions as all strides allow."""
    kept = [d for d, n in enumerate(shape) if n != 1]
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in kept:
        if sizes and all(mine[-1] == each[d] * shape[d] for mine, each in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[d]
            for mine, each in zip(steps, strides, strict=True):
                mine[-1] = each[d]
        else:
            sizes.append(shape[d])
            for mine, each in zip(steps, strides, strict=True):
                mine.append(each[d])
    return tuple(sizes), [tuple(mine) for mine in steps]


def broadcast(value: Value, shape: Sequence[int]) -> Value:
    """The value as a view of that shape."""
    lead = len(shape) - len(value.shape)
    strides = [0] * lead + [
        s if n == shape[lead + d] else 0 for d, (n, s) in enumerate(zip(value.shape, value.strides, strict=True))
    ]
    return replace(value, shape=tuple(shape), strides=tuple(0 if shape[d] == 1 else s for d, s in enumerate(strides)))


def transposed(value: Value) -> Value:
    """The view with its two dimensions exchanged."""
    return replace(value, shape=value.shape[::-1], strides=value.strides[::-1])
