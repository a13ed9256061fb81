"""Where buffers lie: in the memory that a block's threads share, used again by lifetime, or in the GPU's memory."""

from collections.abc import Mapping
from typing import NamedTuple

ALIGNED = 4
"""Numbers that are read at once."""


class Lifetime(NamedTuple):
    """A buffer's size in numbers, and the first and last level that uses it."""

    size: int
    first: int
    last: int


class Plan(NamedTuple):
    """Where each buffer begins, and how many numbers there are of each memory."""

    places: dict[str, tuple[str, int]]
    shared: int
    spilled: int


def planned(buffers: Mapping[str, Lifetime], capacity: int) -> Plan:
    """All buffers in shared memory, if they fit into its numbers; else large ones with long lives lie elsewhere."""
    spilled: list[str] = []
    by_area = sorted(buffers, key=lambda name: _area(buffers[name]))
    while True:
        inside = {name: life for name, life in buffers.items() if name not in set(spilled)}
        places, shared = _placed(inside)
        if shared <= capacity or not by_area:
            break
        excess = max(_peak(inside) - capacity, 1)
        while excess > 0 and by_area:
            spilled.append(by_area.pop())
            excess -= buffers[spilled[-1]].size
    others, outside = _placed({name: buffers[name] for name in spilled})
    where = {name: ("shared", begin) for name, begin in places.items()}
    return Plan(where | {name: ("spill", begin) for name, begin in others.items()}, shared, outside)


def _area(life: Lifetime) -> int:
    return life.size * (life.last - life.first + 1)


def _peak(buffers: Mapping[str, Lifetime]) -> int:
    """The most numbers that live at once."""
    return max(
        (sum(b.size for b in buffers.values() if b.first <= a.first <= b.last) for a in buffers.values()), default=0
    )


def _placed(buffers: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """The first gap for each, the largest first; buffers that live in the same level do not overlap."""
    placed: list[tuple[int, int, Lifetime]] = []
    begins: dict[str, int] = {}
    for name, life in sorted(buffers.items(), key=lambda item: -item[1].size):
        begin, size = 0, -(-life.size // ALIGNED) * ALIGNED
        for low, high, other in placed:
            if other.first <= life.last and life.first <= other.last:
                if begin + size <= low:
                    break
                begin = max(begin, high)
        begins[name] = begin
        placed = sorted([*placed, (begin, begin + size, life)], key=lambda each: each[:2])
    return begins, max((high for _, high, _ in placed), default=0)
