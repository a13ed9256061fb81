"""Loops in C++: their text, and what an element is in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from metabench.engines.native.value import UNDIVIDED, Value, mapped, of_dimensions, row_major

VECTOR = 16
"""Numbers of 4 bytes in the longest vector; of 8 bytes, two of them."""
MOST_ON_STACK = 8192
"""Numbers of unfinished sums that a loop has on the stack: 64 KiB of float64, where some threads have 512 KiB."""
BLOCK = 16
"""Numbers of 4 bytes in a line of the cache."""
WHOLE_NUMBERS = "in_"
"""What the names of inputs of whole numbers begin with."""


@dataclass
class Sums:
    """Loops over the same elements, for one sum or for several."""

    over: tuple[int, ...]
    kept: tuple[int, ...]
    """Sizes, from the outermost loop to the innermost."""
    dims: tuple[int, ...]
    """The dimensions of what is summed, in the order of the loops."""
    sums: list[tuple[Value, Value]] = field(default_factory=list)
    """Target and value, both with their dimensions in that order."""
    buffers: list[Value] = field(default_factory=list)
    """Where unfinished sums lie for which there is no room on the stack, one for each of the last sums."""

    @property
    def on_stack(self) -> int:
        """How many unfinished sums the stack has room for."""
        return MOST_ON_STACK // math.prod(self.kept)

    def __str__(self) -> str:
        # A part of the sum for each of the outermost elements: rounding grows with the length of a sum.
        indices = [f"i{d}" for d in range(len(self.over) + len(self.kept))]
        kept = indices[len(self.over) :]
        stacked = [f"s{n}" for n in range(len(self.sums) - len(self.buffers))]
        parts = [*(Value(name, self.kept, row_major(self.kept)) for name in stacked), *self.buffers]
        values, outs = [value for _, value in self.sums], [out for out, _ in self.sums]
        inner = innermost([*values, *parts]) if self.kept else None
        loads, items = elements(values, indices, inner)
        adding = [assigned(part.at(kept), item, inner, "+=") for part, item in zip(parts, items, strict=True)]
        begin = nest(self.kept, kept, " ".join(f"{out.at(kept)} = 0;" for out in outs))
        size = math.prod(self.kept)
        zeros = " ".join(
            [
                *(f"T {name}[{size}] = {{}};" for name in stacked),
                *(f"std::memset({part.base}, 0, sizeof(T) * {size});" for part in self.buffers),
            ]
        )
        body = nest([*self.over[1:], *self.kept], indices[1:], " ".join([loads, *adding]), inner is not None)
        ends = [f"{out.at(kept)} += {part.at(kept)};" for out, part in zip(outs, parts, strict=True)]
        end = nest(self.kept, kept, " ".join(ends))
        return f"{{ {begin} {nest(self.over[:1], indices[:1], f'{zeros} {body} {end}')} }}"


def innermost(values: Sequence[Value]) -> int | None:
    """The last dimension, if vectors of numbers can be read and written along it; else None."""
    parts = [part for value in values for part in value.parts if part.constant is None]
    if not values[0].shape or values[0].shape[-1] % VECTOR:
        return None
    in_line = all(part.strides[-1] in (0, 1) and not part.base.startswith(WHOLE_NUMBERS) for part in parts)
    undivided = all(not part.divided or part.divided[-1] == UNDIVIDED for part in parts)
    return -1 if in_line and undivided else None


def turned_dimension(values: Sequence[Value]) -> int | None:
    """A dimension other than the last one along which some of these lie in line, if both are long; else None."""
    shape = values[0].shape
    for part in (part for value in values for part in value.parts if part.constant is None):
        for d, (n, stride) in enumerate(zip(shape[:-1], part.strides, strict=False)):
            if stride == 1 and min(n, shape[-1]) >= BLOCK and part.strides[-1] > 1:
                return d
    return None


def elements(values: Sequence[Value], indices: Sequence[str], inner: int | None = None) -> tuple[str, list[str]]:
    """Declarations of what is read for an element of each value, and the C++ of those elements.

    Along dimension `inner`, if it is given, vectors of numbers are read. Everything is read at once, outside of
    conditions: else the compiler would have to keep to them.
    """
    names: dict[str, str] = {}

    def text(part: Value) -> str:
        element = part.at(indices)
        if part.constant is not None:
            return element
        if inner is not None:
            element = f"T::from(&{element})" if part.strides[inner] else f"T({element})"
        return names.setdefault(element, f"x{len(names)}")

    texts = [f"({value.formula.format(*map(text, value.parts))})" if value.formula else text(value) for value in values]
    return " ".join(f"const T {name} = {element};" for element, name in names.items()), texts


def assigned(target: str, expression: str, inner: int | None, sign: str = "=") -> str:
    """The statement that writes an element, or a vector of them."""
    if inner is None:
        return f"{target} {sign} {expression};"
    return f"T({f'T::from(&{target}) + ' if sign == '+=' else ''}{expression}).to(&{target});"


def nest(
    shape: Sequence[int], indices: Sequence[str], body: str, vectors: bool = False, across: int | None = None
) -> str:
    """Loops around a statement, the innermost of them over vectors of numbers if it is so.

    Some of what is read may lie in line along dimension `across`, and not along the last one. Blocks of the last one
    are then taken along `across`: lines of the cache that were read are used whole before they are gone.
    """
    order = list(range(len(shape)))
    if across is not None:
        order = [*(d for d in order[:-1] if d != across), across]
    loops = [f"for (int {indices[d]} = 0; {indices[d]} < {shape[d]}; ++{indices[d]})" for d in order if shape[d] > 1]
    if across is not None:
        i, n = indices[-1], shape[-1]
        loops.insert(-1, f"for (int begin = 0; begin < {n}; begin += {BLOCK})")
        loops.append(f"for (int {i} = begin; {i} < std::min({n}, begin + {BLOCK}); ++{i})")
    if vectors:
        loops[-1] = loops[-1].replace(f"++{indices[-1]}", f"{indices[-1]} += LANES")
        body = f"typedef Lanes T; {body}"
    for i, n in zip(indices, shape, strict=True):
        if n == 1:
            body = f"constexpr int {i} = 0; {body}" if i in body else body
    return f"{' '.join(loops)} {{ {body} }}"


def merged(values: Sequence[Value]) -> tuple[tuple[int, ...], list[Value]]:
    """Views of values of one shape, in the fewest dimensions that all of their parts allow."""
    shape = values[0].shape
    parts = [part for value in values for part in value.parts]
    groups: list[list[int]] = []  # of dimensions, from the outer to the inner
    for d, n in enumerate(shape):
        if n == 1:
            continue
        joined = bool(groups) and all(_in_line(part, groups[-1][-1], d) for part in parts)
        groups = [*groups[:-1], [*groups[-1], d]] if joined else [*groups, [d]]
    sizes = tuple(math.prod(shape[d] for d in group) for group in groups)

    def view(value: Value) -> Value:
        turned = of_dimensions(value, [group[-1] for group in groups])
        return replace(turned, shape=sizes)

    return sizes, [mapped(value, view) for value in values]


def _in_line(part: Value, outer: int, inner: int) -> bool:
    divided = part.divided and {part.divided[outer], part.divided[inner]} != {UNDIVIDED}
    return part.strides[outer] == part.strides[inner] * part.shape[inner] and not divided
