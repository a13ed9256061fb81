"""C++ for a graph of tensors of known sizes: a loop for each operation, all in one function.

What fits into a processor's cache is computed and kept, an operation at a time: nothing is called, every size is a
constant of the compiler, and matrix products keep their sums in registers. What does not fit takes time to move. There
an operation on elements is a formula, which stands in the loops of all that read it, and sums over the same elements
share a loop.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metabench.engines.native.convolutions import IMAGES, Convolution, function_of
from metabench.engines.native.loops import Sums, assigned, elements, innermost, merged, nest, turned_dimension
from metabench.engines.native.value import (
    Value,
    broadcast,
    constant,
    dense,
    formula_of,
    layout,
    of_dimensions,
    order,
    places_of,
    row_major,
    strides_in,
    transposed,
    with_dimensions_kept,
)
from metabench.engines.native.windows import Windows, largest_in_windows

LARGE = 4096
"""Elements of a tensor that is better computed again than read again: 16 KiB of float32."""
WORD = re.compile(r"\w+")
CALLS = ("product<", "product_of_rows<", "convolution<", "winograd<", "there<", "back<")
LONG_ROWS = 256
"""Numbers of a row from which on two matrices are multiplied row by row: to turn one of them would take longer."""
FEW_ROWS = 64
"""Rows of the first matrix up to which this is so."""
LONGEST_FORMULA = 1200
MOST_OPERANDS = 24


class Program:
    """Statements, and the buffers that they write; buffers whose values are not needed any more are used again."""

    engine = "native"
    large = LARGE
    few_pixels = 64
    """Pixels of all images, up to which turning a convolution's weights takes longer than what it saves."""

    def __init__(self) -> None:
        self.lines: list[str | Sums] = []
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, tuple[int, int]] = {}  # first and last line
        self.written: dict[str, int] = {}  # last line that writes it
        self.touched: list[dict[str, None]] = []  # by line: what it reads and writes
        self.copies: dict[tuple[Value, tuple[int, ...]], Value] = {}
        self.computed: dict[Value, Value] = {}
        """Formulas that lie in a buffer by now: what comes after them reads that, and does not compute them again."""
        self.counts: dict[int, Value] = {}

    def kept(self, value: Any, readers: int) -> Any:
        """What an operation gave, of which so many others read."""
        return value

    def buffer(self, shape: Sequence[int], strides: Sequence[int] | None = None) -> Value:
        """A new one; row by row if no strides are given."""
        name = f"b{len(self.sizes)}"
        self.sizes[name] = math.prod(shape)
        return Value(name, tuple(shape), tuple(row_major(shape) if strides is None else strides))

    def emit(self, line: str | Sums, out: Value | Sequence[Value], *values: Value, at: int | None = None) -> None:
        """A statement with what it writes and what it reads."""
        number = len(self.lines) if at is None else at
        if number == len(self.lines):
            self.lines.append(line)
            self.touched.append({})
        targets = [out] if isinstance(out, Value) else list(out)
        self.written.update((target.base, number) for target in targets)
        for part in (*targets, *(part for value in values for part in value.parts)):
            if part.base:
                self.touched[number][part.base] = None
            if part.base in self.sizes:
                first, last = self.uses.get(part.base, (number, number))
                self.uses[part.base] = (min(first, number), max(last, number))

    def emit_nest(self, out: Value, body: str, *values: Value) -> None:
        """A statement for every index `i0`, `i1`, … of `out`, in the order in which that lies in memory."""
        indices = [f"i{d}" for d in range(len(out.shape))]
        dims = order(out)
        self.every([out.shape[d] for d in dims], [indices[d] for d in dims], body, out, *values)

    def every(self, shape: Sequence[int], indices: Sequence[str], body: str, out: Value, *values: Value) -> None:
        """A statement for every index of a shape; it writes to `out`."""
        self.emit(nest(shape, indices, body), out, *values)

    def functions(self) -> list[str]:
        """A function for each loop over a large buffer, which then is called: compilers do better on short ones.

        Loops that differ in nothing but their buffers share one. Five inner steps then take hardly longer to compile
        than two.
        """
        shared: dict[tuple[str, int], str] = {}  # names by what a function does, and how many buffers it is given
        for number, (line, touched) in enumerate(zip(self.lines, self.touched, strict=True)):
            if not str(line).startswith(CALLS) and any(self.sizes.get(name, 0) >= LARGE for name in touched):
                body = renamed(str(line), {name: f"at{i}" for i, name in enumerate(touched)})
                name = shared.setdefault((body, len(touched)), f"loop{len(shared)}")
                self.lines[number] = f"{name}({', '.join(touched)});"
        return [_function(name, body, buffers) for (body, buffers), name in shared.items()]

    def allocate(self) -> tuple[list[str], int]:
        """Declarations of the buffers, and how many numbers they take together."""
        taken: list[tuple[int, int, int]] = []  # last line, begin, end
        declarations, most = [], 0
        # Of those that begin together the longest-lived lies lowest: it does not part what is free above it.
        for name, (first, last) in sorted(self.uses.items(), key=lambda item: (item[1][0], -item[1][1])):
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
        """`expression` of every element; operands are broadcast to `shape`. If that is large, nothing is done yet."""
        shape = tuple(shape)
        if math.prod(shape) >= self.large:
            operands = [self.computed.get(operand, operand) for operand in operands]
            formula = formula_of(expression, shape, operands)
            if len(formula.formula) <= LONGEST_FORMULA and len(formula.operands) <= MOST_OPERANDS:
                return formula
            return self.pointwise(shape, [self.real(operand) for operand in operands], expression)
        out = self.buffer(shape, layout(shape, operands))
        self.loop(out, operands, expression)
        return out

    def real(self, value: Value) -> Value:
        """The value in a buffer, if it was but a formula."""
        return self.copy(value, order(value) if dense(value) else None) if value.formula else value

    def loop(
        self, out: Value, operands: Sequence[Value], expression: Callable[..., str] = "{0}".format, sign: str = "="
    ) -> None:
        """`expression` for every element of `out`."""
        values = [broadcast(value, out.shape) for value in operands]
        dims = order(out)
        shape, (target, *turned) = merged([of_dimensions(value, dims) for value in (out, *values)])
        indices = [f"i{d}" for d in range(len(shape))]
        inner = innermost([target, *turned]) if out.size >= LARGE else None
        loads, items = elements(turned, indices, inner)
        body = f"{loads} {assigned(target.at(indices), expression(*items), inner, sign)}"
        across = turned_dimension([target, *turned]) if out.size >= LARGE and inner is None else None
        self.emit(nest(shape, indices, body, inner is not None, across), out, *values)

    def total(self, value: Value, dims: Sequence[int], keep: bool) -> Value:
        """The sum over `dims`, which become the outermost loops.

        That of a large tensor joins the loops of an earlier one over the same elements, if all is there by then.
        """
        summed = {d % len(value.shape) for d in dims} or set(range(len(value.shape)))
        loops = order(value)
        over, kept = [d for d in loops if d in summed], [d for d in loops if d not in summed]
        left = [d for d in range(len(value.shape)) if d not in summed]
        shape = [value.shape[d] for d in left]
        out = self.buffer(shape, strides_in(shape, [left.index(d) for d in kept]))
        wanted = Sums(tuple(value.shape[d] for d in over), tuple(value.shape[d] for d in kept), (*over, *kept))
        number = self._alike(wanted, value) if value.size >= LARGE else None
        line = wanted if number is None else self.lines[number]
        assert isinstance(line, Sums)
        if len(line.sums) >= line.on_stack:
            line.buffers.append(self.buffer(line.kept))
        line.sums.append((of_dimensions(out, [left.index(d) for d in kept]), of_dimensions(value, line.dims)))
        self.emit(line, [out, *line.buffers], value, at=number)
        return with_dimensions_kept(out, summed, value) if keep else out

    def _alike(self, wanted: Sums, value: Value) -> int | None:
        """The last line with the loops of `wanted`, if all that `value` is made of is there before it."""
        ready = max((self.written.get(part.base, -1) for part in value.parts), default=-1)
        for number in range(len(self.lines) - 1, ready, -1):
            line = self.lines[number]
            if isinstance(line, Sums) and (line.over, line.kept, line.dims) == (wanted.over, wanted.kept, wanted.dims):
                return number
        return None

    def largest(self, value: Value, dims: Sequence[int], keep: bool) -> Value:
        """The largest element over `dims`."""
        value, gone = self.real(value), {d % len(value.shape) for d in dims} or set(range(len(value.shape)))
        kept = [d for d in range(len(value.shape)) if d not in gone]
        out = self.buffer([value.shape[d] for d in kept])
        self.loop(out, [constant(-math.inf)])
        loops = [*sorted(gone), *kept]
        indices = [f"i{d}" for d in range(len(value.shape))]
        best, item = out.at([indices[d] for d in kept]), value.at(indices)
        body = f"{best} = {best} < {item} || {item} != {item} ? {item} : {best};"  # torch takes what is not a number
        self.emit(nest([value.shape[d] for d in loops], [indices[d] for d in loops], body), out, value)
        return with_dimensions_kept(out, gone, value) if keep else out

    def copy(self, value: Value, dims: Sequence[int] | None = None) -> Value:
        """A copy in a buffer of its own, whose dimensions lie in the order `dims`: row by row if that is left out."""
        dims = tuple(range(len(value.shape)) if dims is None else dims)
        if (value, dims) not in self.copies:
            copy = self.buffer(value.shape, strides_in(value.shape, dims))
            self.copies[value, dims] = copy
            self.loop(copy, [value])
            if value.formula:
                self.computed.setdefault(value, copy)
        return self.copies[value, dims]

    def copy_of(self, value: Value) -> Value:
        """A buffer of its own that may be written to."""
        out = self.buffer(value.shape)
        self.loop(out, [value])
        return out

    def arranged(self, value: Value, dims: Sequence[int]) -> Value:
        """The value with its dimensions in that order in memory: as it is, or a copy."""
        strides = strides_in(value.shape, dims)
        there = all(n == 1 or s == t for n, s, t in zip(value.shape, value.strides, strides, strict=True))
        return value if value.stored and not value.divided and there else self.copy(value, dims)

    def count(self, length: int) -> Value:
        """The numbers from 0 to length - 1."""
        if length not in self.counts:
            self.counts[length] = self.buffer((length,))
            self.emit_nest(self.counts[length], f"{self.counts[length].at(['i0'])} = T(i0);")
        return self.counts[length]

    def product(self, a: Value, b: Value) -> Value:
        """(…, M, K) times (…, K, N): matrices, or as many of both."""
        a, b = self.real(a), self.real(b)
        (*many, m, k), n = a.shape, b.shape[-1]
        if a.constant is not None:
            a = self.copy(a)
        if b.constant is not None or (n > 1 and b.strides[-1] != 1):
            if a.strides[-2] == 1 and m > 1 and b.constant is None:  # then the transposed product has its rows in line
                return transposed(self.product(transposed(b), transposed(a)))
            in_rows = b.constant is None and a.strides[-1] == b.strides[-2] == 1 and not many
            if in_rows and k >= LONG_ROWS and m <= FEW_ROWS and k * n >= self.large:
                out = self.buffer((m, n))
                sizes = f"{m}, {n}, {k}, {a.strides[0]}, {b.strides[1]}"
                self.emit(f"product_of_rows<{sizes}>({places_of(a, b, out)});", out, a, b)
                return out
            b = self.copy(b)
        out = self.buffer((*many, m, n))
        sizes = f"{m}, {n}, {k}, {a.strides[-2]}, {a.strides[-1]}, {b.strides[-2]}"
        step = "i*{}+" if many else ""
        of_a, of_b, to = (f"{each.base} + {step.format(each.strides[0])}{each.offset}" for each in (a, b, out))
        call = f"product<{sizes}>({of_a}, {of_b}, {to});"
        self.emit(f"for (int i = 0; i < {many[0]}; ++i) {call}" if many else call, out, a, b)
        return out

    def add_product(self, out: Value, a: Value, b: Value) -> None:
        """Add a product of two matrices to what lies row by row."""
        a, b = (self.arranged(self.real(value), (0, 1)) for value in (a, b))
        sizes = f"{a.shape[0]}, {b.shape[1]}, {a.shape[1]}, {a.shape[1]}, 1, {b.shape[1]}, true"
        self.emit(f"product<{sizes}>({places_of(a, b, out)});", out, a, b)

    def convolution(self, what: Convolution, first: Value, second: Value) -> Value:
        """One of the three of a convolution from the other two, which lie as its role has them."""
        function, work = function_of(what)
        targets = [self.buffer(what.shape, strides_in(what.shape, what.dims))]
        if work:
            targets.append(self.buffer([work]))
        self.emit(f"{function}({places_of(first, second, *targets)});", targets, first, second)
        return targets[0]

    def pooled(self, x: Value, windows: Windows) -> list[Value]:
        """The largest element of each window of an image, and its place there, a number below H * W."""
        shape = (*x.shape[:2], *windows.pooled)
        values, places = (self.buffer(shape, strides_in(shape, IMAGES)) for _ in range(2))
        self.find_largest(x, values, places, windows)
        return [values, places]

    def find_largest(self, x: Value, values: Value, places: Value, windows: Windows) -> None:
        """The statement that writes what `pooled` gives."""
        self.emit(largest_in_windows(x, values, places, windows), [values, places], x)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with other words in place of some."""
    return WORD.sub(lambda word: names.get(word[0], word[0]), text)


def _function(name: str, body: str, buffers: int) -> str:
    """A function of so many buffers, which its body calls `at0`, `at1`, …."""
    types = ", ".join(f"typename A{i}" for i in range(buffers))
    parameters = ", ".join(f"A{i}* __restrict at{i}" for i in range(buffers))
    return f"template <{types}> ALONE static void {name}({parameters}) {{ {body} }}"
