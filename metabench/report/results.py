"""A run folder, read and checked, and as flat data frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metabench.errors import UserError
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, Row, in_words, read_environment, read_rows
from metabench.record.schema import PHASES, identity

MEMORY_COLUMNS = (
    "tracked_bytes",
    "tracked_method",
    "resident_bytes",
    "resident_method",
    "cuda_allocated_bytes",
    "cuda_reserved_bytes",
    "nvml_bytes",
    "nvml_method",
)
ENERGY_COLUMNS = ("joules", "watts", "method")
LAUNCH_COLUMNS = ("launches", "kernels", "busy_s", "busy_share", "note")
GPU_COLUMNS = ("sm_mhz", "memory_mhz", "celsius", "watts")
"""Of the GPU right after the timing."""
PHASE_COLUMNS = {phase: f"phase_{phase.replace(' ', '_').replace('-', '_')}" for phase in PHASES}
QUALITY_COLUMNS = ("metric", "value", "low", "high", "tasks", "batch_norm", "iterations", "train_s")
WHOLE = (
    "parameters",
    "samples",
    "block",
    "quality_tasks",
    "quality_iterations",
    *(name for name in MEMORY_COLUMNS if name.endswith("_bytes")),
    *("gpu_after_sm_mhz", "gpu_after_memory_mhz", "gpu_after_celsius"),
)
"""Columns of whole numbers that may be missing."""

MACHINE = "machine"
"""The axis that tells the machines of a run of several apart."""
UNKNOWN = "an unknown machine"


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    name: str
    """The folder's name."""
    sweep: str
    """The name of the sweep; the folder's name where the run does not say."""
    measurements: tuple[Row, ...]
    """Of its cells: those of the reference are not among them."""
    environment: dict[str, Any]
    warnings: tuple[str, ...]
    """Sentences: what was noticed while reading, and what the run itself warned of."""
    references: tuple[Row, ...] = ()
    """The same cell timed again and again, for the noise floor alone."""


def read_run(folder: Path) -> Run:
    """Read a run folder. A line that is not a measurement is left out, with a warning that names it.

    Raises `UserError`: no such folder, no measurements in it, a newer schema.
    """
    if not folder.is_dir():
        raise UserError(f"there is no run folder '{folder}'")
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
    sweep = environment.get("sweep", {}).get("name", name)
    rows = located(rows)
    cells = tuple(row for row in rows if not row.get("reference"))
    references = tuple(row for row in rows if row.get("reference"))
    return Run(name, sweep, cells, environment, (*noticed, *environment.get("warnings", [])), references)


def located(rows: Sequence[Row]) -> list[Row]:
    """The rows, with the machine as one more axis of their cells where they come from several.

    By it they fall into tables of their own, so that no ratio mixes machines. A cell's id changes with it.
    """
    if len({row.get("machine") for row in rows}) < 2:
        return list(rows)
    cells = [{MACHINE: row.get("machine") or UNKNOWN, **row["cell"]} for row in rows]
    return [row | {"cell": cell, "id": identity(cell)} for row, cell in zip(rows, cells, strict=True)]


def to_frame(run: Run) -> pd.DataFrame:
    """One row a cell and round, none left out: every field of the cell, then what was observed, in s and bytes."""
    records = [_record(row) for row in run.measurements]
    frame = pd.DataFrame(records, columns=None if records else list(_record(_EMPTY)))
    frame = frame.astype(dict.fromkeys(WHOLE, "Int64"))
    return frame.astype({"noisy": "boolean"})


_EMPTY: Row = {"id": "", "round": 0, "status": "", "cell": {}}


def _record(row: Row) -> dict[str, Any]:
    cell, data, gate = row["cell"], row.get("data") or {}, row.get("gate") or {}
    time, memory, quality = row.get("time") or {}, row.get("memory") or {}, row.get("quality") or {}
    phases, work = row.get("phases") or {}, row.get("work") or {}
    seconds = phases.get("seconds") or {}
    energy, launches = row.get("energy") or {}, row.get("launches") or {}
    gpu = (time.get("gpu") or [None])[-1] or {}
    step, sampling = time.get("step") or {}, time.get("sampling") or {}
    share = sampling["median"] / step["median"] if sampling and step and step["median"] else None
    return {
        **{name: row.get(name) for name in ("id", "round", "status", "reason")},
        "world_size": 1,
        **cell,
        "measure": "+".join(cell.get("measure", [])),
        "data_name": data.get("name"),
        "data_hash": data.get("content_hash"),
        "parameters": row.get("parameters"),
        "gate_engine_error": gate.get("engine_error"),
        "gate_definition_error": gate.get("definition_error"),
        **{f"step_{name}_s": step.get(name) for name in ("median", "low", "high", "iqr")},
        "samples": step.get("n"),
        "block": step.get("block"),
        "noisy": time.get("noisy"),
        "communication_s": time.get("communication_s"),
        "sampling_median_s": sampling.get("median"),
        "sampling_share": share,
        "library": row.get("library"),
        "compile_s": time.get("compile_s"),
        "compile_cache": time.get("compile_cache"),
        "first_step_s": time.get("first_step_s"),
        "time_note": time.get("note"),
        **{name: memory.get(name) for name in MEMORY_COLUMNS},
        "phases_step_s": (phases.get("step") or {}).get("median"),
        **{f"{column}_s": (seconds.get(phase) or {}).get("value") for phase, column in PHASE_COLUMNS.items()},
        **{f"work_{name}": work.get(name) for name in ("flops", "bytes", "calls")},
        **{f"peak_{name}": (work.get("peaks") or {}).get(name) for name in ("matmul", "convolution", "bandwidth")},
        **{f"energy_{name}": energy.get(name) for name in ENERGY_COLUMNS},
        **{f"gpu_{name}": launches.get(name) for name in LAUNCH_COLUMNS},
        **{f"gpu_after_{name}": gpu.get(name) for name in GPU_COLUMNS},
        "gpu_after_reasons": ", ".join(gpu["reasons"]) if gpu.get("reasons") else None,
        **{f"quality_{name}": quality.get(name) for name in QUALITY_COLUMNS},
        "started": row.get("started"),
        "seconds": row.get("seconds"),
        "warnings": " ".join(row.get("warnings") or []),
    }


def samples_frame(run: Run) -> pd.DataFrame:
    """Every raw sample of the clock: id, round, kind (`step` or `sampling`), index, seconds per iteration."""
    return pd.DataFrame(_samples(run), columns=["id", "round", "kind", "index", "seconds"])


def _samples(run: Run) -> Iterator[tuple[Any, ...]]:
    for row in run.measurements:
        for kind in ("step", "sampling"):
            summary = (row.get("time") or {}).get(kind) or {}
            for index, seconds in enumerate(summary.get("samples", [])):
                yield row["id"], row["round"], kind, index, seconds


def curves_frame(run: Run) -> pd.DataFrame:
    """Every point of the training curves: seconds spent training, training loss, validation score."""
    keys = ("algorithm", "engine", "task", "seed")
    points = ("iteration", "seconds", "loss", "value")
    return pd.DataFrame(
        [
            (row["id"], *(row["cell"][key] for key in keys), *(point.get(name) for name in points))
            for row in run.measurements
            for point in (row.get("quality") or {}).get("curve", [])
        ],
        columns=["id", *keys, *points],
    )
