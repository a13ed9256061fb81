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
    by_area, spilled = sorted(buffers, key=lambda name: _area(buffers[name])), set[str]()
    crowds = {
        level: sum(life.size for life in buffers.values() if life.first <= level <= life.last)
        for level in {life.first for life in buffers.values()}
    }  # numbers that live at once
    while True:
        places, shared = _placed({name: life for name, life in buffers.items() if name not in spilled})
        if shared <= capacity or not by_area:
            break
        excess = shared - capacity
        while by_area and (excess > 0 or max(crowds.values()) > capacity):
            name = by_area.pop()
            size, first, last = buffers[name]
            spilled.add(name)
            excess -= size
            crowds = {level: crowd - size * (first <= level <= last) for level, crowd in crowds.items()}
    others, outside = _placed({name: life for name, life in buffers.items() if name in spilled})
    where = {name: ("shared", begin) for name, begin in places.items()}
    return Plan(where | {name: ("spill", begin) for name, begin in others.items()}, shared, outside)


def _area(life: Lifetime) -> int:
    return life.size * (life.last - life.first + 1)


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
