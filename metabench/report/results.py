"""A run folder, read and checked.

Reading one takes 30 ms. NumPy, SciPy and pandas take half a second to import: they are loaded with the first figure
that is asked for. Frames stand in `frames`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from metabench.errors import NEAR, UserError
from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, in_words, read_environment, read_rows

if TYPE_CHECKING:
    from metabench.report.bundles import Bundle
    from metabench.statistics.spread import Spread

UNKNOWN = "an unknown machine"


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    name: str
    """The folder's name."""
    sweep: str
    """The name of the sweep; the folder's name where the run does not say."""
    measurements: tuple[Measurement, ...]
    """Measurements of the run's cells, without those of the noise configuration."""
    environment: Environment
    warnings: tuple[str, ...]
    """Sentences: what was noticed while reading, and what the run itself warned of."""
    noise_rows: tuple[Measurement, ...] = ()
    """Rows of the noise configuration, timed in pairs again and again, for the noise floor alone."""

    @cached_property
    def timed(self) -> list[Bundle]:
        """The rows of cells whose meta-iterations cost the same, taken together."""
        from metabench.report.bundles import bundles, time_key

        return bundles(self.measurements, time_key, self.noise)

    @cached_property
    def trained(self) -> list[Bundle]:
        """The rows of cells that differ in their training seed alone, taken together."""
        from metabench.report.bundles import bundles, training_key

        return bundles(self.measurements, training_key, self.noise)

    @cached_property
    def trained_anywhere(self) -> list[Bundle]:
        """The rows of cells that differ in seed and machine alone, taken together. A score is of no machine."""
        from metabench.report.bundles import bundles, training_key

        rows = [replace(row, cell=replace(row.cell, machine="")) for row in self.measurements]
        return bundles(rows, training_key, self.noise)

    def model_sizes(self, cell: Cell) -> Mapping[str, int]:
        """The fewest meta-parameters seen with each model on such tasks: those of the network, where no algorithm has
        more. A network on other data, or of other ways, has another number."""
        return self._sizes.get((cell.distribution, cell.ways), {})

    @cached_property
    def _sizes(self) -> Mapping[Hashable, Mapping[str, int]]:
        sizes: dict[Hashable, dict[str, int]] = {}
        for row in self.measurements:
            if row.parameters is not None:
                seen = sizes.setdefault((row.cell.distribution, row.cell.ways), {})
                seen[row.cell.model] = min(row.parameters, seen.get(row.cell.model, row.parameters))
        return sizes

    @cached_property
    def data_names(self) -> dict[str, str]:
        """The name of the data behind each `Cell.problem`, from any row that got as far as loading it."""
        return {row.cell.problem: row.data.name for row in self.measurements if row.data}

    @cached_property
    def noise(self) -> Spread | None:
        """How one process of the run differs from another; None where no noise pair tells."""
        from metabench.report.noise import noise_spread
        from metabench.statistics.spread import noise_of, typical_spread

        pairs = noise_spread(self.noise_rows)
        cells = grouped([row for row in self.measurements if row.status == "ok" and row.time], lambda row: row.id)
        logs = [[math.log(row.time.step.median) for row in rows if row.time] for rows in cells.values()]
        return pairs and noise_of(pairs, typical_spread(logs))


def read_run(folder: Path) -> Run:
    """Read a run folder. A line that is not a measurement is left out, with a warning that names it.

    Raises `UserError`: no such folder, no measurements in it, a newer schema.
    """
    if not folder.is_dir():
        raise no_run_folder(folder)
    rows, damages = read_rows(folder / MEASUREMENTS)
    noticed = in_words(damages)
    if damages and not rows:
        raise UserError(f"'{folder}' holds no measurement at all: {noticed[0]}")
    if damages:
        noticed.append("Resume the run to measure what was left out.")
    environment = read_environment(folder / ENVIRONMENT)
    if not environment:
        noticed.append(f"{ENVIRONMENT} is missing: it is not known on which machine this was measured.")
    return run_of(folder.resolve().name, rows, environment or Environment(), noticed)


def run_of(name: str, rows: Sequence[Measurement], environment: Environment, noticed: Sequence[str] = ()) -> Run:
    """A run of these rows; `noticed` are sentences on how they were read."""
    rows = located(rows)
    cells = tuple(row for row in rows if not row.noise)
    noise_rows = tuple(row for row in rows if row.noise)
    warnings = (*noticed, *environment.warnings)
    return Run(name, environment.sweep.name or name, cells, environment, warnings, noise_rows)


def no_run_folder(folder: Path) -> UserError:
    """The error for a run folder that is not there, with the run of the nearest name beside it."""
    try:
        beside = [found.name for found in folder.parent.iterdir() if (found / MEASUREMENTS).is_file()]
    except OSError:
        beside = []
    near = get_close_matches(folder.name, beside, n=1, cutoff=NEAR)
    hint = f": did you mean '{folder.parent / near[0]}'?" if near else ""
    return UserError(f"there is no run folder '{folder}'{hint}")


def located(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows, with the machine as one more axis of their cells where they come from several.

    Each machine therefore has tables of its own, and no ratio mixes machines. A cell's id changes with it.
    """
    if len({row.machine for row in rows}) < 2:
        return list(rows)
    cells = [replace(row.cell, machine=row.machine or UNKNOWN) for row in rows]
    return [replace(row, cell=cell, id=cell.id) for row, cell in zip(rows, cells, strict=True)]
