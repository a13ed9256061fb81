"""A run folder, read and checked, and as flat data frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec.structs import replace

from metabench.errors import NEAR, UserError
from metabench.record.cell import Cell
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement, Memory
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, in_words, read_environment, read_rows
from metabench.record.timing import PHASES
from metabench.report.bundles import Bundle, bundles, drift_of, grouped, time_key, training_key
from metabench.report.noise import noise_spread
from metabench.report.scores import score_of
from metabench.statistics.ratios import step_interval
from metabench.statistics.spread import Spread, noise_of, typical_spread

MEMORY_COLUMNS = Memory.__struct_fields__
ENERGY_COLUMNS = ("joules", "watts", "method")
LAUNCH_COLUMNS = ("launches", "kernels", "busy_s", "busy_share", "note")
GPU_COLUMNS = ("sm_mhz", "memory_mhz", "celsius", "watts")
"""State of the GPU right after the timing."""
DISTURBED_COLUMNS = {"disturbed": "reason", "disturbed_factor": "factor"}
PHASE_COLUMNS = {phase: f"phase_{phase.replace(' ', '_').replace('-', '_')}" for phase in PHASES}
SCORE_COLUMNS = ("value", "low", "high")
QUALITY_COLUMNS = ("tasks", "steps", "batch_norm", "iterations", "train_s")
WHOLE = (
    *("parameters", "samples", "block", "quality_tasks", "quality_steps", "quality_iterations"),
    *(name for name in MEMORY_COLUMNS if name.endswith("_bytes")),
    *("gpu_after_sm_mhz", "gpu_after_memory_mhz", "gpu_after_celsius"),
)
"""Columns of whole numbers that may be missing."""

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
        return bundles(self.measurements, time_key, self.noise)

    @cached_property
    def trained(self) -> list[Bundle]:
        """The rows of cells that differ in their training seed alone, taken together."""
        return bundles(self.measurements, training_key, self.noise)

    @cached_property
    def model_sizes(self) -> dict[str, int]:
        """The fewest meta-parameters seen with each model: those of the network, where no algorithm learns more."""
        sizes: dict[str, int] = {}
        for row in self.measurements:
            if row.parameters is not None:
                sizes[row.cell.model] = min(row.parameters, sizes.get(row.cell.model, row.parameters))
        return sizes

    @cached_property
    def data_names(self) -> dict[str, str]:
        """The name of the data behind each `Cell.problem`, from any row that got as far as loading it."""
        return {row.cell.problem: row.data.name for row in self.measurements if row.data}

    @cached_property
    def noise(self) -> Spread | None:
        """How one process of the run differs from another; None where no noise pair tells."""
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
    name = folder.resolve().name
    environment = environment or Environment()
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


def to_frame(run: Run) -> pd.DataFrame:
    """One row a cell and round, none left out: every field of the cell, then what was observed, in s and bytes."""
    columns = None if run.measurements else list(_record(_EMPTY, None))
    frame = pd.DataFrame([_record(row, run.noise) for row in run.measurements], columns=columns)
    if not frame["machine"].any():  # of one machine alone
        frame = frame.drop(columns="machine")
    return frame.astype(dict.fromkeys(WHOLE, "Int64")).astype({"noisy": "boolean"})


_EMPTY = Measurement(id="", round=0, status="ok", cell=Cell(algorithm="", task=""))


def _record(row: Measurement, noise: Spread | None) -> dict[str, Any]:
    time, quality, phases, work = row.time, row.quality, row.phases, row.work
    step, sampling = (time.step, time.sampling) if time else (None, None)
    figure = step_interval(step, noise) if step else None
    figure = figure if figure and figure.known else None
    gpu = (time.gpu or [None])[-1] if time else None
    seconds = phases.seconds if phases else {}
    share = sampling.median / step.median if sampling and step and step.median else None
    return {
        **{name: getattr(row, name) for name in ("id", "round", "status", "reason", "ended_in")},
        **{axis: row.cell[axis] for axis in row.cell.axes},
        "measure": "+".join(row.cell.measure),
        "data_name": _of(row.data, "name"),
        "data_hash": _of(row.data, "content_hash"),
        "parameters": row.parameters,
        **{f"gate_{name}": _of(row.gate, name) for name in ("engine_error", "definition_error")},
        "step_median_s": _of(step, "median"),
        **{f"step_{name}_s": _of(figure, name) for name in ("low", "high")},
        "step_iqr_s": _of(step, "iqr"),
        "samples": _of(step, "n"),
        "block": _of(step, "block"),
        "noisy": _of(figure, "noisy"),
        "drift": drift_of(step) if step else None,
        "communication_s": _of(time, "communication_s"),
        "sampling_median_s": _of(sampling, "median"),
        "sampling_share": share,
        "library": row.library,
        **{name: _of(time, name) for name in ("compile_s", "compile_cache", "first_step_s")},
        "time_note": _of(time, "note"),
        **{name: _of(time, name) for name in ("processor_share", "others_cores")},
        **{name: _of(_of(time, "disturbed"), part) for name, part in DISTURBED_COLUMNS.items()},
        **{name: _of(row.memory, name) for name in MEMORY_COLUMNS},
        "phases_step_s": _of(phases and phases.step, "median"),
        **{f"{column}_s": _of(seconds.get(phase), "value") for phase, column in PHASE_COLUMNS.items()},
        **{f"work_{name}": _of(work, name) for name in ("flops", "bytes", "calls")},
        **{f"peak_{name}": _of(work and work.peaks, name) for name in ("matmul", "convolution", "bandwidth")},
        **{f"energy_{name}": _of(row.energy, name) for name in ENERGY_COLUMNS},
        **{f"gpu_{name}": _of(row.launches, name) for name in LAUNCH_COLUMNS},
        **{f"gpu_after_{name}": _of(gpu, name) for name in GPU_COLUMNS},
        "gpu_after_reasons": ", ".join(gpu.reasons) if gpu and gpu.reasons else None,
        "quality_metric": _of(quality, "metric"),
        **{f"quality_{name}": _of(quality and score_of(quality), name) for name in SCORE_COLUMNS},
        **{f"quality_{name}": _of(quality, name) for name in QUALITY_COLUMNS},
        "started": row.started,
        "seconds": row.seconds,
        "warnings": " ".join(row.warnings),
    }


def _of(part: object, name: str) -> Any:
    """A figure of a part; None where the part was not measured."""
    return None if part is None else getattr(part, name)


def samples_frame(run: Run) -> pd.DataFrame:
    """Every raw sample of the clock: id, round, kind (`step` or `sampling`), index, seconds per iteration."""
    records = [
        (row.id, row.round, kind, index, seconds)
        for row in run.measurements
        for kind in ("step", "sampling")
        if (summary := getattr(row.time, kind, None))
        for index, seconds in enumerate(summary.samples)
    ]
    return pd.DataFrame(records, columns=["id", "round", "kind", "index", "seconds"])


def curves_frame(run: Run) -> pd.DataFrame:
    """Every point of the training curves: seconds spent training, training loss, validation score."""
    keys = ("algorithm", "engine", "task", "seed")
    points = ("iteration", "seconds", "loss", "value")
    return pd.DataFrame(
        [
            (row.id, *(row.cell[key] for key in keys), *(getattr(point, name) for name in points))
            for row in run.measurements
            for point in (row.quality.curve if row.quality else ())
        ],
        columns=["id", *keys, *points],
    )
