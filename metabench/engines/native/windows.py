"""Windows of a pooling over images, which lie with their channels in line (N, H, W, C), and the loops over them."""

from typing import NamedTuple

from metabench.engines.native.convolutions import IMAGES
from metabench.engines.native.loops import assigned, elements, innermost, nest
from metabench.engines.native.value import Value, of_dimensions

HERE = ("i0", "i1", "i2", "i3")


class Windows(NamedTuple):
    """Windows of one size, the same for height and width, over images of some rows and columns."""

    size: int
    stride: int
    padding: int
    image: tuple[int, int]
    pooled: tuple[int, int]

    @property
    def inside(self) -> bool:
        """Whether no window reaches beyond the image."""
        ends = ((out - 1) * self.stride + self.size for out in self.pooled)
        return self.padding == 0 and all(end <= n for end, n in zip(ends, self.image, strict=True))

    @property
    def side_by_side(self) -> bool:
        """Whether no element lies in two windows, none between two of them, and no window reaches beyond the image."""
        return self.size == self.stride and self.inside

    def place(self, index: str, side: int) -> str:
        """The C++ of a row (or column) of the image: that of a window's row (or column) `side`."""
        return f"({self.stride}*{index}+{side - self.padding})"

    def within(self, row: str, column: str) -> str:
        """The C++ of the condition that a place lies in the image."""
        return f"{row} >= 0 && {row} < {self.image[0]} && {column} >= 0 && {column} < {self.image[1]}"

    def first(self, row: str, column: str) -> str:
        """The C++ of the number, in its image, of the first place of a window."""
        corner = (f"({begin} > 0 ? {begin} : 0)" for begin in (self.place(row, 0), self.place(column, 0)))
        return f"{next(corner)}*{self.image[1]}+{next(corner)}"


def largest_in_windows(x: Value, values: Value, places: Value, windows: Windows) -> str:
    """Loops over windows of an image: the largest element of each, and its place in the image."""
    inner = 1 if innermost([of_dimensions(each, IMAGES) for each in (x, values)]) is not None else None
    body = f"T best = T(-__builtin_inf()), place = T({windows.first('i2', 'i3')}); "
    take = "const auto better = either(gt(item, best), ne(item, item)); "
    for i in range(windows.size):
        for j in range(windows.size):
            row, column = windows.place("i2", i), windows.place("i3", j)
            loads, (element,) = elements([x], ["i0", "i1", row, column], inner)
            number = f"T({row}*{windows.image[1]}+{column})"
            change = f"best = where(better, item, best); place = where(better, {number}, place);"
            there = "" if windows.inside else f"if ({windows.within(row, column)}) "
            body += f"{there}{{ {loads} const T item = {element}; {take}{change} }} "
    ends = [assigned(each.at(HERE), item, inner) for each, item in ((values, "best"), (places, "place"))]
    shape, indices = [values.shape[d] for d in IMAGES], [HERE[d] for d in IMAGES]
    return nest(shape, indices, f"{body}{' '.join(ends)}", inner is not None)


def gathered_from_windows(gradient: Value, places: Value, windows: Windows) -> str:
    """The C++ of `sum`, an element of the gradient of the image: of all windows that it may lie in."""
    body = "T sum = T(0); "
    last = [f"(({index}+{windows.padding})/{windows.stride})" for index in HERE[2:]]
    for i in range(-(-windows.size // windows.stride)):
        for j in range(-(-windows.size // windows.stride)):
            at = [f"({last[0]}-{i})", f"({last[1]}-{j})"]
            there = " && ".join(f"{index} >= 0 && {index} < {n}" for index, n in zip(at, windows.pooled, strict=True))
            loads, items = elements([gradient, places], ["i0", "i1", *at])
            chosen = f"where(eq({items[1]}, T(i2*{windows.image[1]}+i3)), {items[0]}, T(0))"
            body += f"if ({there}) {{ {loads} sum += {chosen}; }} "
    return body
