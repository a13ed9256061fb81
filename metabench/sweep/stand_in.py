"""Has the data of a sweep at hand before the first cell, or generated images in place of what is missing."""

from dataclasses import replace
from pathlib import Path

from msgspec import structs

from metabench.errors import Unsupported, UserError
from metabench.record.cell import AXES, Cell
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.spec import Sweep
from metabench.tasks.base import TASKS
from metabench.tasks.download import DataMissing


def with_data(sweep: Sweep, data_dir: Path | None) -> tuple[Sweep, str, list[str]]:
    """Prepare every task distribution once, before any cell; where one cannot be had, its stand-in if allowed.

    Gives the sweep with the tasks that will be measured, the stand-in used (or ""), and what to tell the user.
    """
    used = ""
    warnings: list[str] = []
    stand_in = sweep.settings.stand_in
    first = {cell.distribution: cell for cell in reversed(sweep.cells)}
    for (task, *_), cell in sorted(first.items()):
        try:
            training_tasks(cell, data_dir)
        except Unsupported:
            continue  # each cell says so in its row
        except DataMissing as error:
            if not stand_in:
                raise
            _check_stand_in(task, stand_in)
            used = stand_in
            warnings.append(f"{task} is not at hand, so {stand_in} stand in for it: {error}")
            sweep = _replaced(sweep, task, stand_in)
            training_tasks(_on(stand_in, cell), data_dir)
    return sweep, used, warnings


def _check_stand_in(task: str, stand_in: str) -> None:
    """Raise `UserError` for a stand-in of another kind or with other channels, whose figures would say nothing."""
    due, own = TASKS.get(task), TASKS.get(stand_in)
    known = due.input_shape and own.input_shape
    if own.kind != due.kind or (known and own.input_shape[0] != due.input_shape[0]):
        colour = due.input_shape[:1] == (3,)
        remedy = "emblems stand in for colour images" if colour else "glyphs stand in for grey ones"
        raise UserError(f"{task} is not at hand, and {stand_in} cannot stand in for it: {remedy}")


def _replaced(sweep: Sweep, task: str, stand_in: str) -> Sweep:
    """The sweep with a stand-in in place of a task, each cell once."""
    cells: dict[str, Cell] = {}
    for cell in sweep.cells:
        one = _on(stand_in, cell) if cell.task == task else cell
        cells[one.id] = cells[one.id].with_measures_of(one) if one.id in cells else one
    return replace(sweep, cells=tuple(cells.values()))


def _on(stand_in: str, cell: Cell) -> Cell:
    """The cell on a stand-in, without what says where the data of its own task are."""
    data = {axis: AXES[axis].default for axis in cell.data if axis not in TASKS.get(stand_in).axes}
    return structs.replace(cell, task=stand_in, **data)
