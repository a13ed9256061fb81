"""CUDA for a graph of tensors of known sizes: a program for the threads of one block, in levels with a barrier each.

What is computed element by element is a formula until something needs it in memory. The loop that makes its operands
then computes it, too, if it can: the bias and the ReLU of a layer stand at the end of its product, and a step of
descent at the end of the product that is the gradient. Statements that do not need each other share a level, so that
all threads have work, and barriers are few.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from metabench.engines.fused.images import convolved, factors_of, search
from metabench.engines.fused.statements import (
    OUT,
    Assignment,
    Statement,
    lined,
    loaded,
    spread,
    without_ones,
)
from metabench.engines.native.code import Program
from metabench.engines.native.convolutions import IMAGES, Convolution
from metabench.engines.native.value import (
    Value,
    broadcast,
    constant,
    of_dimensions,
    order,
    places_of,
    strides_in,
    transposed,
    with_dimensions_kept,
)
from metabench.engines.native.windows import Windows

LONGEST_SUM = 16
"""Numbers that one thread adds up; of more, threads take parts."""
TILES = 64
"""Threads that a product should have work for: its tiles are as large as leaves so much."""
ROWS, COLUMNS = (5, 4, 3, 2, 1), (4, 2, 1)
"""Sizes of a tile, the sums that a thread holds in registers."""
UNROLLED = 16
"""Numbers of a sum that a thread asks for at once: all loops together are unrolled so often."""
MANY = 4096
"""Numbers of a product for which tiles are enough: threads need not share them."""
LANES, FEWEST = (1, 2, 4, 8, 16, 32), 4
"""Threads that may share a sum, and the fewest numbers for each."""


class Kernel(Program):
    """Statements by level, and the buffers that they read and write."""

    engine = "fused"
    large = 0  # all that is computed by element is a formula first
    few_pixels = 0

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads
        self.statements: list[Statement] = []
        self.makers: dict[str, Statement] = {}
        """The statement that computes a buffer, if it is one alone."""
        self.ready: dict[str, int] = {}
        """The last level that writes a buffer."""
        self.begun: dict[str, int] = {}
        """The first level that writes a buffer."""
        self.read: dict[str, int] = {}
        """The last level that reads a buffer."""
        self.fetched: set[str] = set()
        """Buffers that are read by others than the statement that makes them."""

    @property
    def levels(self) -> int:
        """How many barriers a task takes."""
        return 1 + max(statement.level for statement in self.statements)

    def kept(self, value: Any, readers: int) -> Any:
        """What several read is computed once."""
        return self.real(value) if isinstance(value, Value) and value.formula and readers > 1 else value

    def loop(
        self, out: Value, operands: Sequence[Value], expression: Callable[..., str] = "{0}".format, sign: str = "="
    ) -> None:
        dims = [d for d in order(out) if out.shape[d] > 1]
        target, *turned = (of_dimensions(broadcast(value, out.shape), dims) for value in (out, *operands))
        assignment = Assignment(target, tuple(turned), expression)
        statement = self._host(assignment)
        if statement is None:
            statement = self._begin(Statement(target.shape, 0), out, turned)
        else:
            self._note(statement, out, turned)
        statement.assignments.append(assignment)

    def every(self, shape: Sequence[int], indices: Sequence[str], body: str, out: Value, *values: Value) -> None:
        statement = Statement(tuple(shape), 0, body=body)
        statement.head = partial(spread, statement.shape, indices, "")
        self._begin(statement, out, values)

    def total(self, value: Value, dims: Sequence[int], keep: bool) -> Value:
        summed = sorted({d % len(value.shape) for d in dims} or set(range(len(value.shape))))
        kept = [d for d in range(len(value.shape)) if d not in summed]
        whole = of_dimensions(value, [*kept, *(d for d in summed if value.shape[d] > 1)])
        out = self._sum(whole, len(kept))
        return with_dimensions_kept(out, set(summed), value) if keep else out

    def _sum(self, value: Value, kept: int) -> Value:
        """The sum over all dimensions but the first ones. Several threads share one that is long."""
        over = value.shape[kept:]
        out = self.buffer(value.shape[:kept])
        made = without_ones(out)
        dims = [d for d in range(kept) if value.shape[d] > 1]
        turned = of_dimensions(value, [*dims, *range(kept, len(value.shape))])
        lanes = self._lanes(over, made.size)
        statement = Statement(made.shape, 0, made=made, work=made.size * lanes)
        inner = [f"j{d}" for d in range(len(over))]
        loads, (item,) = loaded([turned], [*statement.indices, *inner], {})
        loops, together = "", UNROLLED
        for j, n in reversed(list(zip(inner, over, strict=True))):
            first, step = (f"ME % {lanes}", lanes) if j == inner[-1] and lanes > 1 else ("0", 1)
            loops = f"UNROLL_BY({together}) for (int {j} = {first}; {j} < {n}; {j} += {step}) {loops}"
            together = max(1, together * step // n)
        adding = f"T sum = 0; {loops}{{ {loads}sum += {item}; }} const T r = over_lanes<{lanes}>(sum);"
        statement.head = partial(spread, made.shape, statement.indices, adding, lanes=lanes)
        self._begin(statement, out, [turned])
        return out

    def _lanes(self, over: Sequence[int], sums: int) -> int:
        """Threads for each of so many sums: as many as leave each of them some numbers of the innermost dimension.

        Of maps that may be one number, if the sum is long and there are threads without work.
        """
        size = math.prod(over)
        if size <= LONGEST_SUM:
            return 1
        fitting = [n for n in LANES if n <= self.threads and n * FEWEST <= over[-1]]
        idle = [n for n in LANES if n * sums <= self.threads and n <= over[-1] and n * LONGEST_SUM <= size]
        return max([1, *fitting, *idle])

    def largest(self, value: Value, dims: Sequence[int], keep: bool) -> Value:
        value = self.real(value)
        gone = sorted({d % len(value.shape) for d in dims} or set(range(len(value.shape))))
        kept = [d for d in range(len(value.shape)) if d not in gone]
        out = self.buffer([value.shape[d] for d in kept])
        made = without_ones(out)
        turned = of_dimensions(value, [*(d for d in kept if value.shape[d] > 1), *gone])
        statement = Statement(made.shape, 0, made=made)
        item = turned.at([*statement.indices, *(f"j{d}" for d in gone)])
        loops = " ".join(f"for (int j{d} = 0; j{d} < {value.shape[d]}; ++j{d})" for d in gone)
        better = "r < x || x != x"  # torch takes what is not a number
        search = f"T r = {constant(-math.inf).at([])}; {loops} {{ const T x = {item}; r = {better} ? x : r; }}"
        statement.head = partial(spread, made.shape, statement.indices, search)
        self._begin(statement, out, [turned])
        return with_dimensions_kept(out, set(gone), value) if keep else out

    def product(self, a: Value, b: Value) -> Value:
        (*many, m, k), n = a.shape, b.shape[-1]
        if many:
            pair = [of_dimensions(a, (0, 1, None, 2)), of_dimensions(b, (0, None, 2, 1))]
            terms = self.pointwise((*many, m, n, k), pair, "{0} * {1}".format)
            return self.total(terms, (3,), False)
        if k == 1:
            return self.pointwise((m, n), [a, b], "{0} * {1}".format)
        if n == 1:
            terms = self.pointwise((m, k), [a, transposed(b)], "{0} * {1}".format)
            return of_dimensions(self.total(terms, (1,), False), (0, None))
        if m == 1:
            return transposed(self.product(transposed(b), transposed(a)))
        a, b = (self.copy(value) if value.constant is not None else self.real(value) for value in (a, b))
        out = self.buffer((m, n))
        rows, columns, lanes = self._tile(m, n, k, m)
        strides = f"{a.strides[0]}, {a.strides[1]}, {b.strides[0]}, {b.strides[1]}"
        call = f"product<{m}, {n}, {k}, {strides}, {rows}, {columns}, {lanes}, {lined(a, b)}>"

        def head(inside: str) -> str:
            return f"{call}(ME, {places_of(a, b)}, [&](int i0, int i1, T r) {{ {inside} }});"

        work = m // rows * (n // columns) * lanes
        self._begin(Statement((m, n), 0, head, out, work), out, [a, b])
        return out

    def add_product(self, out: Value, a: Value, b: Value) -> None:
        self.loop(out, [self.product(a, b)], sign="+=")

    def convolution(self, what: Convolution, first: Value, second: Value) -> Value:
        out = self.buffer(what.shape, strides_in(what.shape, what.dims))
        m, n, k, run = factors_of(what)
        tile = self._tile(m, n, k, run)
        head = partial(convolved, what, first, second, tile)
        work = m // tile[0] * (n // tile[1]) * tile[2]
        made = without_ones(of_dimensions(out, what.dims))
        self._begin(Statement(made.shape, 0, head, made, work), out, [first, second])
        return out

    def find_largest(self, x: Value, values: Value, places: Value, windows: Windows) -> None:
        made, beside = (without_ones(of_dimensions(each, IMAGES)) for each in (values, places))
        statement = Statement(made.shape, 0, made=made, assignments=[Assignment(beside, (), lambda: "place")])
        statement.head = partial(spread, made.shape, statement.indices, search(x, values, statement.indices, windows))
        self._begin(statement, values, [x])
        self._note(statement, places, [])

    def _tile(self, m: int, n: int, k: int, run: int) -> tuple[int, int, int]:
        """Rows and columns of a tile, and the threads that share it: as large as leaves work for enough threads.

        A tile lies within a run of rows.
        """
        heights = [r for r in ROWS if run % r == 0]
        shared = [(r, 4, 4) for r in heights if n % 4 == 0 and k >= LONGEST_SUM and self.threads >= 4]
        alone = [(r, c, 1) for r in heights for c in COLUMNS if n % c == 0]
        for tiles in (alone, shared) if m * n >= MANY else (shared, alone):
            enough = [tile for tile in tiles if m // tile[0] * (n // tile[1]) * tile[2] >= TILES]
            if enough:
                return max(enough, key=lambda tile: (tile[0] * tile[1], tile[1]))
        return min(shared or alone, key=lambda tile: (tile[0] * tile[1], tile[0]))

    def _begin(self, statement: Statement, out: Value, values: Sequence[Value]) -> Statement:
        """A new statement, in the first level after all that it depends on."""
        bases = [part.base for value in values for part in value.parts if part.base]
        after = [self.ready.get(base, -1) for base in [*bases, out.base]] + [self.read.get(out.base, -1)]
        statement.level = max(after) + 1
        self.statements.append(statement)
        self._note(statement, out, values)
        return statement

    def _note(self, statement: Statement, out: Value, values: Sequence[Value]) -> None:
        """Write down what a statement reads and writes."""
        for part in (part for value in values for part in value.parts):
            if part.base and self.makers.get(part.base) is not statement:
                self.fetched.add(part.base)
                self.read[part.base] = max(self.read.get(part.base, -1), statement.level)
        if out.base != OUT:
            alone = out.base not in self.ready
            self.ready[out.base] = statement.level
            self.begun.setdefault(out.base, statement.level)
            if alone:
                self.makers[out.base] = statement
            else:
                self.makers.pop(out.base, None)
                self.fetched.add(out.base)

    def _host(self, assignment: Assignment) -> Statement | None:
        """The statement that has what is assigned in registers, if all else is there before it."""
        parts = [part for value in assignment.operands for part in value.parts if part.base]
        makers = [self.makers[part.base] for part in parts if part.base in self.makers]
        host = max(makers, key=lambda maker: maker.level, default=None)
        if host is None or assignment.target.base in self.ready or host.shape != assignment.target.shape or host.body:
            return None
        there = {target.at(host.indices) for target in host.targets if target.base != OUT}
        for part in parts:
            if self.makers.get(part.base) is host:
                if part.at(host.indices) not in there:
                    return None
            elif self.ready.get(part.base, -1) >= host.level:
                return None
        return host
