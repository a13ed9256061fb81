"""Convolution and pooling of images for the threads of a block, which are handed an element at a time."""

import math

from metabench.engines.fused.statements import lined, loaded, split
from metabench.engines.native.convolutions import IMAGES, Convolution
from metabench.engines.native.value import Value, constant, places_of
from metabench.engines.native.windows import Windows


def factors_of(what: Convolution) -> tuple[int, int, int, int]:
    """Rows and columns of a convolution as a product, what threads that share a tile divide, and a run of rows.

    A tile lies within a run: weights of one place of the kernel, or any pixels.
    """
    m, n = math.prod(what.shape) // what.shape[what.dims[-1]], what.shape[what.dims[-1]]
    if what.role == "WEIGHT":
        return m, n, what.y[0] * what.y[2], what.x[1]
    return m, n, what.x[1] if what.role == "OUTPUT" else what.y[1], m


def convolved(what: Convolution, first: Value, second: Value, tile: tuple[int, int, int], inside: str) -> str:
    """The call of a convolution in tiles of so many rows and columns, of so many threads; `inside` ends an element."""
    function = "weights<" if what.role == "WEIGHT" else f"images<{what.role}, "
    call = f"{function}{', '.join(map(str, [*what.numbers, *tile]))}, {lined(first, second)}>"
    rows = [what.shape[d] for d in what.dims[:-1] if what.shape[d] > 1]
    indices = [f"i{d}" for d in range(len(rows))]
    ends = f"{split('row', rows, indices)} {inside}"
    return f"{call}(ME, {places_of(first, second)}, [&](int row, int i{len(rows)}, T r) {{ {ends} }});"


def search(x: Value, values: Value, indices: list[str], windows: Windows) -> str:
    """The search for the largest element `r` of a window, and for its `place` in the image: as torch's, NaN is taken.

    Indices are those of `values`, in their order in memory, without dimensions of size 1.
    """
    given = iter(indices)
    here = {d: next(given) if values.shape[d] > 1 else "0" for d in IMAGES}
    found = []
    for i in range(windows.size):
        for j in range(windows.size):
            row, column = windows.place(here[2], i), windows.place(here[3], j)
            loads, (item,) = loaded([x], [here[0], here[1], row, column], {})
            there = "" if windows.inside else f"if ({windows.within(row, column)}) "
            take = f"if (x > r || x != x) {{ r = x; place = T({row} * {windows.image[1]} + {column}); }}"
            found.append(f"{there}{{ {loads}const T x = {item}; {take} }}")
    first = windows.first(here[2], here[3])
    return f"T r = {constant(-math.inf).at([])}, place = T({first}); {' '.join(found)}"
