"""Runs as flat data frames."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.record.measurement import STATUSES, Measurement, Memory
from metabench.record.timing import PHASES, Summary
from metabench.report.apart import READ
from metabench.report.bundles import Bundle, bundles, drift_of
from metabench.report.results import Run
from metabench.report.scores import score_of
from metabench.statistics.ratios import step_interval
from metabench.statistics.spread import Spread

MEMORY_COLUMNS = Memory.__struct_fields__
ENERGY_COLUMNS = ("joules", "watts", "method")
APART_COLUMNS = {
    "adaptation": "adaptation",
    "support": "adaptation_support",
    "query": "adaptation_query",
    "once": "double_backward_once",
    "twice": "double_backward_twice",
}
"""What is timed apart from the meta-iteration, with how its columns begin."""
LAUNCH_COLUMNS = ("launches", "kernels", "busy_s", "busy_share", "note")
GPU_COLUMNS = ("sm_mhz", "memory_mhz", "celsius", "watts")
"""State of the GPU right after the timing."""
DISTURBED_COLUMNS = {"disturbed": "reason", "disturbed_factor": "factor"}
PHASE_COLUMNS = {phase: f"phase_{phase.replace(' ', '_').replace('-', '_')}" for phase in PHASES}
SCORE_COLUMNS = ("value", "low", "high")
QUALITY_COLUMNS = ("tasks", "steps", "batch_norm", "iterations", "train_s", "eval_s", "test_s")
WHOLE = (
    *("parameters", "samples", "block", "quality_tasks", "quality_steps", "quality_iterations"),
    *("adaptation_steps", "double_backward_examples"),
    *(name for name in MEMORY_COLUMNS if name.endswith("_bytes")),
    *("gpu_after_sm_mhz", "gpu_after_memory_mhz", "gpu_after_celsius"),
)
"""Columns of whole numbers that may be missing."""
OVER_ROUNDS = (
    *("repetitions", "ok_repetitions", "status", "reason", "ended_in"),
    *("step_s", "step_low_s", "step_high_s", "noisy", "drift"),
)
"""Columns that say something of all rounds of a cell together."""
OF_A_PROCESS = ("round", "step_median_s", "step_iqr_s", "samples", "block", "started", "seconds", "warnings")
"""Columns that say something of one process alone."""


def to_frame(run: Run) -> pd.DataFrame:
    """One row a cell and round, none left out: every field of the cell, then what was observed, in s and bytes."""
    columns = None if run.measurements else list(_record(_EMPTY, None))
    frame = pd.DataFrame([_record(row, run.noise) for row in run.measurements], columns=columns)
    if not frame["machine"].any():  # of one machine alone
        frame = frame.drop(columns="machine")
    # astype leaves a block of memory for each column: pandas would warn whoever adds one. A copy joins them.
    return frame.astype(dict.fromkeys(WHOLE, "Int64")).astype({"noisy": "boolean"}).copy()


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
        **_apart(row, noise),
        **{f"work_{name}": _of(work, name) for name in ("flops", "bytes", "calls")},
        **{f"peak_{name}": _of(work and work.peaks, name) for name in ("matmul", "convolution", "bandwidth")},
        **{f"energy_{name}": _of(row.energy, name) for name in ENERGY_COLUMNS},
        **{name: _of(row.instructions, name) for name in ("instructions", "cycles")},
        "instructions_method": _of(row.instructions, "method"),
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


def _apart(row: Measurement, noise: Spread | None) -> dict[str, Any]:
    """What one process took beside its meta-iterations, with the intervals, and what disturbed it."""
    columns: dict[str, Any] = {}
    for figure, name in APART_COLUMNS.items():
        part = READ[figure](row)
        seconds = step_interval(part, noise) if isinstance(part, Summary) else None
        known = seconds if seconds and seconds.known else None
        columns[f"{name}_s"] = _of(seconds, "value")
        columns |= {f"{name}_{end}_s": _of(known, end) for end in ("low", "high")}
    for measure, count in (("adaptation", "steps"), ("double_backward", "examples")):
        found = getattr(row, measure)
        columns[f"{measure}_{count}"] = _of(found, count)
        columns[f"{measure}_disturbed"] = _of(_of(found, "disturbed"), "reason")
    return columns


def configurations_frame(run: Run) -> pd.DataFrame:
    """One row a cell, none left out: what the first round has that measured it, and the time over all rounds, in s.

    A cell's status is the worst of its rounds. Of a cell that was incorrect in any of them no figure is shown.
    """
    rounds = to_frame(run)
    names = list(rounds.columns)
    figures = names[names.index("step_median_s") : names.index("started")]
    rounds.loc[rounds["id"].isin(rounds.loc[rounds["status"] == "incorrect", "id"]), figures] = None
    first = rounds.groupby("id", sort=False).first().copy().reset_index()
    # By the id that a row has: of rows of earlier versions it is not that which their cell would have today.
    found = grouped(run.measurements, lambda row: row.id)
    records = [_over_rounds(*bundles(found[name], lambda cell: (), run.noise)) for name in first["id"]]
    own = pd.DataFrame(records, columns=list(OVER_ROUNDS), index=first.index)
    rest = first.drop(columns=["id", *OF_A_PROCESS, *(name for name in own if name in first)])
    frame = pd.concat([first[["id"]], own, rest], axis=1)
    return frame.astype({"noisy": "boolean"})


def _over_rounds(bundle: Bundle) -> dict[str, Any]:
    worst = min(bundle.rows, key=lambda row: (row.status == "ok", STATUSES.index(row.status)))
    known = bundle.step if bundle.step and bundle.step.known else None
    return {
        "repetitions": len({row.round for row in bundle.rows}),
        "ok_repetitions": len({row.round for row in bundle.rows if row.status == "ok"}),
        **{name: getattr(worst, name) for name in ("status", "reason", "ended_in")},
        "step_s": _of(bundle.step, "value"),
        **{f"step_{name}_s": _of(known, name) for name in ("low", "high")},
        "noisy": _of(known, "noisy"),
        "drift": bundle.drift if bundle.step else None,
    }


def _of(part: object, name: str) -> Any:
    """A figure of a part; None where the part was not measured."""
    return None if part is None else getattr(part, name)


def samples_frame(run: Run) -> pd.DataFrame:
    """Every raw sample of the clock: id, round, kind, index, seconds.

    Kinds are `step` and `sampling`, in seconds per meta-iteration, and the names of APART_COLUMNS."""
    records = [
        (row.id, row.round, kind, index, seconds)
        for row in run.measurements
        for kind, summary in _timings(row)
        for index, seconds in enumerate(summary.samples)
    ]
    return pd.DataFrame(records, columns=["id", "round", "kind", "index", "seconds"])


def _timings(row: Measurement) -> Iterator[tuple[str, Summary]]:
    """What the clock took samples of in a row."""
    parts: dict[str, Any] = {kind: getattr(row.time, kind, None) for kind in ("step", "sampling")}
    parts |= {name: READ[figure](row) for figure, name in APART_COLUMNS.items()}
    yield from ((name, part) for name, part in parts.items() if isinstance(part, Summary))


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
