"""A convolution as the engines carry it out: which of its three tensors comes from the other two, and how all lie.

Images lie with their channels in line (N, H, W, C), and weights as (KH, KW, CI, CO).
"""

from math import prod
from typing import NamedTuple

from metabench.engines.flat import WEIGHTS

IMAGES = (0, 2, 3, 1)
TURNED_WEIGHTS = (2, 3, 0, 1)
PLACES = 16
"""Numbers of a tile of winograd.cpp: 4 x 4 inputs, from which come 2 x 2 outputs."""
TILES = 48
"""Most tiles in work at once: with 64 channels they and the weights take 650 KiB of the second cache."""
VECTOR = 16  # channels
FEWER = 1.3
"""Factor by which tiles must save products to make up for what they cost."""


class Sizes(NamedTuple):
    """Stride, padding and dilation, each the same for height and width."""

    stride: int
    padding: int
    dilation: int


class Convolution(NamedTuple):
    """One of the three of a convolution from the other two: outputs y, inputs x or weights. Shapes are torch's."""

    role: str
    """`OUTPUT` is y from x and weights, `INPUT` x from y and turned weights, `WEIGHT` the weights from x and y.

    `INPUT_OF_FEW` is x from y and weights as they lie.
    """
    x: tuple[int, ...]
    y: tuple[int, ...]
    kernel: tuple[int, ...]
    sizes: Sizes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        results = {"OUTPUT": self.y, "WEIGHT": (self.y[1], self.x[1], *self.kernel)}
        return results.get(self.role, self.x)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of the result in their order in memory."""
        return WEIGHTS if self.role == "WEIGHT" else IMAGES

    @property
    def numbers(self) -> list[int]:
        """What the templates of convolutions are given after the role."""
        x, y, sizes = self.x, self.y, self.sizes
        return [x[0], *x[2:], x[1], *y[2:], y[1], *self.kernel, sizes.stride, sizes.dilation, sizes.padding]


def function_of(what: Convolution) -> tuple[str, int]:
    """The function of `native` that carries a convolution out, and how many numbers it takes to work in."""
    x, y, numbers = what.x, what.y, what.numbers
    rows, columns = x[2:] if what.role == "INPUT" else y[2:]
    tiles = -(-rows // 2) * -(-columns // 2)
    if what.role == "INPUT_OF_FEW" or not _in_tiles(what, tiles):
        work = _with_borders(what) if x[1] == 1 and what.role in ("OUTPUT", "WEIGHT") else 0
        return f"convolution<{', '.join([what.role, *map(str, [*numbers, work])])}>", work
    most = min(TILES, x[0] * tiles)
    work = PLACES * (x[1] * y[1] + most * (x[1] + y[1]) + 3 * VECTOR)
    numbers = [*numbers[:7], what.sizes.padding, most, work]
    return f"winograd<{', '.join([what.role, *map(str, numbers)])}>", work


def _with_borders(what: Convolution) -> int:
    """How many numbers an image of one channel has with the borders that places of the kernel reach."""
    stride, padding, dilation = what.sizes
    sides = zip(what.x[2:], what.y[2:], what.kernel, strict=True)
    return prod(max((out - 1) * stride + (k - 1) * dilation + 1, n + padding) for n, out, k in sides)


def _in_tiles(what: Convolution, tiles: int) -> bool:
    """Whether winograd.cpp has the convolution, and multiplies clearly less often than a direct sum inside borders."""
    x, y, sizes = what.x, what.y, what.sizes
    if (*what.kernel, sizes.stride, sizes.dilation) != (3, 3, 1, 1) or sizes.padding > 2:
        return False
    if x[1] % VECTOR or y[1] % VECTOR:
        return False
    direct = 1
    for inputs, outputs in zip(x[2:], y[2:], strict=True):
        direct *= sum(0 <= out + k - sizes.padding < inputs for out in range(outputs) for k in range(3))
    return direct >= FEWER * PLACES * tiles
