"""Marks at figures whose cell is not trained or judged as those of the other lines of a table."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from metabench.record.cell import AXES, Cell, axes_of
from metabench.report.numbers import Valued
from metabench.report.render.tables import axis_word

Influence: TypeAlias = Literal["cost", "score"]
"""What a figure is: what an iteration takes, or what a training reaches."""
SHARED = axes_of("task", "size")
INFLUENCES: dict[Influence, tuple[str, ...]] = {
    "cost": (*SHARED, *(name for name, axis in AXES.items() if axis.cost)),
    "score": (*SHARED, *axes_of("evaluation"), "iterations"),
}
"""Axes beside the algorithm's own method that a figure depends on, and that lines of a table should agree in."""
SHAPES = ("train_ways", "train_shots")
STEPS = ("inner_steps", "eval_steps")
TESTED = {
    "eval_steps": "test steps",
    "eval_query": "test queries",
    "eval_queries": "classes of test queries",
    "eval_batch": "test batch",
    "eval_rotation": "test rotation",
    "eval_classes": "test classes",
    "eval_tasks": "test tasks",
}
"""What tables call the axes of testing."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Differences:
    """The differences that are marked in one table: a letter for each, in the order of their figures."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """What each letter means."""
        return [f"{mark} {said}." for said, mark in self.letters.items()]

    def marked(self, figures: Sequence[str], words: Sequence[str]) -> list[str]:
        """The figures of a column, each with the mark of its words; what is no figure stays as it is."""
        return [
            text + f" {self._mark(said)}" if said and isinstance(text, Valued) else text
            for text, said in zip(figures, words, strict=True)
        ]

    def _mark(self, said: str) -> str:
        number = len(self.letters)
        name = LETTERS[number] if number < len(LETTERS) else str(number)
        return self.letters.setdefault(said, f"({name})")


def in_words(cells: Sequence[Cell | None], influence: Influence, told: Collection[str]) -> list[str]:
    """What is different about each cell of a column, in words; `told` are axes that the table tells already.

    A cell without an inner loop has no steps, which is no difference.
    """
    axes = [axis for axis in INFLUENCES[influence] if axis not in (*told, *SHAPES)]
    usual = {axis: _usual(cells, axis) for axis in axes}
    words = []
    for cell in cells:
        found = []
        if cell and cell.trained_otherwise:
            found.append(cell.trained_otherwise)
        for axis in axes:
            if cell and _has(cell, axis) and cell[axis] != usual[axis]:
                found.append(f"{TESTED.get(axis, axis_word(axis))} {cell[axis]}, not {usual[axis]}")
        words.append("; ".join(found))
    return words


def _usual(cells: Sequence[Cell | None], axis: str) -> object:
    """The value that most cells have; of several, that which comes first."""
    counts = Counter(cell[axis] for cell in cells if cell and _has(cell, axis))
    return max(counts, key=lambda value: counts[value], default=None)


def _has(cell: Cell, axis: str) -> bool:
    """Whether the axis says something of the cell."""
    return axis not in STEPS or cell.inner_steps > 0
