"""What a section is made of: columns that are declared, one builder of tables, and the list of all sections.

A section is one file of this package: a function from a run to its tables, with `@section(title, place)`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from metabench.record.cell import AXES, Cell, varying
from metabench.registry import Registry
from metabench.report.axes import OWN_AXES
from metabench.report.bundles import Bundle, telling_apart
from metabench.report.marks import MARKS
from metabench.report.numbers import NOTHING, Valued
from metabench.report.render.tables import Section, Table, axis_word, technique_text, techniques
from metabench.report.results import Run
from metabench.report.sections.differences import Differences, Influence, in_words

L = TypeVar("L", contravariant=True)
TablesOf: TypeAlias = Callable[[Run], Iterable[Table]]

DIFFERING = "Hyper-parameters differ between rows"


@dataclass(frozen=True)
class SectionMaker:
    """A kind of tables, and where it stands among the others."""

    title: str
    place: float
    tables: TablesOf

    def __call__(self, run: Run) -> Section:
        """The section of a run, which may have no table."""
        return Section(self.title, tuple(self.tables(run)))


SECTIONS: Registry[SectionMaker] = Registry("section", "metabench.report.sections")


def section(title: str, place: float) -> Callable[[TablesOf], SectionMaker]:
    """Decorator that makes a section of a function from a run to tables; sections stand in the order of `place`."""

    def add(tables: TablesOf) -> SectionMaker:
        return SECTIONS.register(title)(SectionMaker(title, place, tables))

    return add


def sections_of(run: Run) -> tuple[Section, ...]:
    """All sections that have a table, in their order."""
    makers = sorted((maker for _, maker in SECTIONS), key=lambda maker: (maker.place, maker.title))
    return tuple(made for maker in makers if (made := maker(run)).tables)


class HasBundle(Protocol):
    """A line of a table that is named by the cell of a bundle."""

    @property
    def bundle(self) -> Bundle: ...


@dataclass(frozen=True)
class Column(Generic[L]):
    """A column of a table whose lines are of one type."""

    title: str
    text: Callable[[L], str]
    droppable: bool = False
    """Whether it is left out where nothing stands in it."""
    notes: Callable[[Sequence[L]], Iterable[str]] = lambda lines: ()
    """What a reader must know of it."""
    cost: Callable[[L], Cell | None] | None = None
    """The cell whose cost it shows: a figure is marked whose cell is not of the size of the others."""
    score: Callable[[L], Cell | None] | None = None
    """The cell whose score it shows: a figure is marked whose cell is not trained and judged as the others."""
    told: tuple[str, ...] = ()
    """Axes whose values it tells, beside the axis of its title."""


def axis_columns(*axes: str) -> list[Column[HasBundle]]:
    """A column for each axis."""

    def column(axis: str) -> Column[HasBundle]:
        return Column(axis_word(axis), lambda line: str(line.bundle.cell[axis]))

    return [column(axis) for axis in axes]


def technique_columns(cells: Iterable[Cell], axes: Sequence[str]) -> list[Column[HasBundle]]:
    """A column for the techniques on these axes, where any cell uses one."""
    used = any(techniques(cell, axes) for cell in cells)
    return [Column("technique", lambda line: technique_text(line.bundle.cell, axes))] if used else []


def matched_axes(cell: Cell, *left_out: str) -> list[str]:
    """The axes on which matched cells agree: all but some, and but for training and implementation.

    Those that are not known here are among them, so that no cells are mixed up.
    """
    left_out = ("algorithm", "engine", "seed", *OWN_AXES, *left_out)
    return [axis for axis in cell.axes if axis not in left_out]


def labels(
    cells: Sequence[Cell],
    group: Sequence[str],
    named: Sequence[str],
    used: Sequence[str],
    own: Sequence[str] = OWN_AXES,
    at: int | None = None,
) -> tuple[list[Column[HasBundle]], list[str]]:
    """The columns that name the lines of a table of one group, and the axes on which all lines agree.

    Columns are those of `named`, the techniques that are `used`, and at the place `at` the axes on which lines differ:
    of training only those of `own`, where they alone tell two lines apart.
    """
    axes = matched_axes(cells[0], *group, *used)
    changing = varying(cells, axes)
    changing += telling_apart(cells, (*named, *used, *changing), own)
    columns = [*axis_columns(*named), *technique_columns(cells, used)]
    at = len(columns) if at is None else at
    return [*columns[:at], *axis_columns(*changing), *columns[at:]], [axis for axis in axes if axis not in changing]


def differing_notes(cells: Sequence[Cell], axes: Sequence[str]) -> list[str]:
    """A note that names the axes on which lines differ."""
    words = ", ".join(axis_word(axis) for axis in varying(cells, axes))
    return [f"{DIFFERING}: {words} (see results.csv)."] if words else []


def table_of(
    title: str,
    says: str,
    columns: Sequence[Column[L]],
    lines: Sequence[L],
    cells: Callable[[L], tuple[str, ...]] | None = None,
    notes: Iterable[str] = (),
    marks: Mapping[str, str] = MARKS,
) -> Table:
    """A table of the lines, without columns in which nothing stands; `cells` are the ids that a line stands on.

    Notes say first what the marks mean that stand in it, then what the columns ask for, then `notes`.
    """
    texts = [[column.text(line) for line in lines] for column in columns]
    kept = [i for i, one in enumerate(columns) if not one.droppable or any(t not in ("", NOTHING) for t in texts[i])]
    titles = tuple(columns[i].title for i in kept)
    told = {axis for i in kept for axis in columns[i].told} | {axis for axis in AXES if axis_word(axis) in titles}
    differences = Differences()
    shown = [_marked(columns[i], texts[i], lines, told, differences) for i in kept]
    said = [note for mark, note in marks.items() if any(mark in text for column in shown for text in column)]
    said += [*differences.notes, *(note for column in columns for note in column.notes(lines))]
    rows = tuple(zip(*shown, strict=True)) if shown else tuple(() for _ in lines)
    return Table(title, says, titles, rows, (*said, *notes), tuple(map(cells, lines)) if cells else ())


def _marked(
    column: Column[L], texts: Sequence[str], lines: Sequence[L], told: Collection[str], differences: Differences
) -> Sequence[str]:
    """The texts of a column, each figure with a mark whose cell is not as those of the other lines."""
    influences: tuple[tuple[Influence, Callable[[L], Cell | None] | None], ...]
    influences = (("cost", column.cost), ("score", column.score))
    for influence, cell_of in influences:
        if cell_of:
            # a cell of which nothing is shown is no neighbour
            cells = [
                cell_of(line) if isinstance(text, Valued) else None for line, text in zip(lines, texts, strict=True)
            ]
            texts = differences.marked(texts, in_words(cells, influence, told))
    return texts
