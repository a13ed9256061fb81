"""Statements of a block of threads: what each is spread over, what it computes, and its text."""

import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from metabench.engines.fused.memory import ALIGNED
from metabench.engines.native.value import Value, of_dimensions

OUT = "out"
"""The base of what a direction is added to."""
MOST_COPIED = 96
"""Functions of a program up to which those that are called once are copied: with more, compilers take twice as long."""
NAMES = re.compile(r"\b(b\d+|in_?\d+)\[")


@dataclass(frozen=True)
class Assignment:
    """An element of `target` from elements of the operands, for every index of a statement."""

    target: Value
    operands: tuple[Value, ...]
    expression: Callable[..., str]


@dataclass
class Statement:
    """A loop over `shape`, spread over the threads of a block. It has no barrier inside.

    What its head computes for an index, if it has one, and what is assigned there stays in registers for the
    assignments after it.
    """

    shape: tuple[int, ...]
    level: int
    head: Callable[[str], str] | None = None
    """Puts what is done for each index into the loop that computes `made`; without it, the loop is a plain one."""
    made: Value | None = None
    """What the head computes; it is called `r` there."""
    work: int = 0
    """Threads that the head has work for; 0 is one for each index."""
    assignments: list[Assignment] = field(default_factory=list)
    body: str = ""
    """What is done for each index besides."""

    @property
    def indices(self) -> list[str]:
        return [f"i{d}" for d in range(len(self.shape))]

    @property
    def threads(self) -> int:
        return self.work or math.prod(self.shape)

    @property
    def targets(self) -> list[Value]:
        """What it computes, in its dimensions."""
        return [*([self.made] if self.made else []), *(each.target for each in self.assignments)]

    def text(self, stored: Container[str]) -> str:
        """The C++, with buffers by name; only those that are `stored` are written to memory."""
        names: dict[str, str] = {}
        lines = []
        if self.made is not None:
            names[self.made.at(self.indices)] = "r"
            if self.made.base in stored:
                lines.append(f"{self.made.at(self.indices)} = r;")
        for number, each in enumerate(self.assignments):
            loads, items = loaded(each.operands, self.indices, names)
            target, result = each.target.at(self.indices), f"r{number}"
            lines.append(f"{loads}const T {result} = {each.expression(*items)};")
            if each.target.base == OUT:
                lines.append(f"{target} = first ? {result} : {target} + {result};")
            else:
                names[target] = result
                if each.target.base in stored:
                    lines.append(f"{target} = {result};")
        inside = " ".join([*lines, self.body])
        return self.head(inside) if self.head else spread(self.shape, self.indices, "", inside)


def loaded(values: Iterable[Value], indices: Sequence[str], names: dict[str, str]) -> tuple[str, list[str]]:
    """Declarations of what is read for an element of each value and has no name yet, and the C++ of the elements."""
    declarations = []

    def text(part: Value) -> str:
        element = part.at(indices)
        if part.constant is not None:
            return element
        if element not in names:
            names[element] = f"x{len(names)}"
            declarations.append(f"const T {names[element]} = {element}; ")
        return names[element]

    texts = [f"({value.formula.format(*map(text, value.parts))})" if value.formula else text(value) for value in values]
    return "".join(declarations), texts


def spread(shape: Sequence[int], indices: Sequence[str], begin: str, inside: str, lanes: int = 1) -> str:
    """A loop over all indices of a shape, each for one thread, or for several, of which the first ends it.

    Threads that share one exchange numbers, and so their whole warp stays together.
    """
    places, size = split("e", shape, indices), math.prod(shape)
    if lanes == 1:
        return f"for (int e = ME; e < {size}; e += THREADS) {{ {places} {begin} {inside} }}"
    own = f"const int own = (at + ME % WARP) / {lanes}, e = own < {size} ? own : 0;"
    ends = f"if (own == e && ME % {lanes} == 0) {{ {inside} }}"
    loop = f"for (int at = ME / WARP * WARP; at < {size * lanes}; at += THREADS)"
    return f"{loop} {{ {own} {places} {begin} {ends} }}"


def split(number: str, shape: Sequence[int], indices: Sequence[str]) -> str:
    """Declarations of the indices of an element of a shape, from its number."""
    declared, step = [], math.prod(shape)
    for d, (index, n) in enumerate(zip(indices, shape, strict=True)):
        step //= n
        declared.append(f"const int {index} = {number}{f' / {step}' if step > 1 else ''}{f' % {n}' if d else ''};")
    return " ".join(declared)


def lined(*values: Value) -> str:
    """Whether each begins where four numbers can be read at once, for a template."""
    return ", ".join("true" if value.offset % ALIGNED == 0 else "false" for value in values)


def without_ones(value: Value) -> Value:
    """The value without its dimensions of size 1."""
    return of_dimensions(value, [d for d, n in enumerate(value.shape) if n > 1])


@dataclass
class Pieces:
    """Functions for statements: two that differ in nothing but the places of their buffers share one."""

    places: Mapping[str, tuple[str, int]]
    """Where the buffers of each name lie: in which memory, and how far in."""
    numbers: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def call(self, text: str, start: int) -> str:
        """The call of a function for that text, whose first thread is number `start`."""
        given: dict[str, int] = {}

        def placed(match: re.Match[str]) -> str:
            memory, _ = self.places[match[1]]
            return f"{memory}[p{given.setdefault(match[1], len(given))} + "

        general = NAMES.sub(placed, text)
        number = self.numbers.setdefault(general, len(self.numbers))
        self.calls[general] = self.calls.get(general, 0) + 1
        offsets = "".join(f"{self.places[name][1]}, " for name in given)
        return f"s{number}({start}, {offsets}{OUT}, first, spill);"

    def functions(self) -> list[str]:
        """All functions: those that are called more than once, and those of a long program, are not copied."""
        found = []
        for general, number in self.numbers.items():
            count = len(set(re.findall(r"\bp\d+\b", general)))
            kind = "APART" if self.calls[general] > 1 or len(self.numbers) > MOST_COPIED else "DEVICE"
            offsets = "".join(f"int p{i}, " for i in range(count))
            found.append(f"{kind} void s{number}(int start, {offsets}T* {OUT}, bool first, T* spill) {{ {general} }}")
        return found
