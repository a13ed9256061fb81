"""Run folders of several machines as one, in which no figure of one machine is taken for another's."""

import json
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from metabench.errors import UserError
from metabench.files import replace_file, writing
from metabench.record.environment import Environment, SweepName
from metabench.record.measurement import Measurement
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, typed
from metabench.report.provenance import revision_name
from metabench.report.results import Run, read_run, run_of


def merge(folders: Sequence[Path], out: Path) -> None:
    """Write a run folder with all rows of others, each with its machine. Raises `UserError`; `out` must be new.

    Runs of one machine with the same cells are taken for further rounds, with noise pairs of their own. Rounds of
    different runs are never compared in pairs: those of runs of one name get numbers of their own. Runs that share
    measurements are refused.
    """
    if out.exists():
        raise UserError(f"'{out}' is there already: choose another --out")
    rows, environment = _together([read_run(folder) for folder in folders])
    lines = [json.dumps(row.to_json(), allow_nan=False).encode() + b"\n" for row in rows]
    with writing(out):
        out.mkdir(parents=True)
    replace_file(out / MEASUREMENTS, b"".join(lines))
    replace_file(out / ENVIRONMENT, json.dumps(to_builtins(environment), indent=2).encode() + b"\n")


def merged(runs: Sequence[Run]) -> Run:
    """What `merge` would write of these runs, as it is read."""
    return run_of("merged", *_together(runs))


def apart(runs: Sequence[Run]) -> list[Run]:
    """Each run by itself, also of those that were merged, and each measurement once: in the first that has it."""
    known: set[Hashable] = set()
    found = []
    for run in chain.from_iterable(map(_taken_apart, runs)):
        rows = (*run.measurements, *run.noise_rows)
        revision = revision_name(run)
        keys = [(revision, _made(row, run)) for row in rows]
        if new := [row for key, row in zip(keys, rows, strict=True) if key not in known]:
            found.append(run_of(run.name, new, run.environment))
        known.update(key for key, row in zip(keys, rows, strict=True) if row.started)
    return found


def _taken_apart(run: Run) -> Iterator[Run]:
    """The runs that a run was merged of; those of one name and revision stay one. Another is by itself."""
    if not run.environment.runs:
        yield run
        return
    rows = (*run.measurements, *run.noise_rows)
    parts: dict[str, Run] = {}
    for known in run.environment.runs:
        environment = typed({name: value for name, value in known.items() if name != "run"}, Environment)
        part = run_of(known["run"], [], environment)
        parts[_name_in(part)] = part
    for name, part in parts.items():
        yield run_of(part.name, [row for row in rows if row.run == name], part.environment)


def _made(row: Measurement, run: Run) -> Hashable:
    """What no two measurements share."""
    on = _on(row, run.environment.machine_label, run)
    return on.machine, on.id, on.started, on.seconds


def _name_in(run: Run) -> str:
    """What the rows of a run are said to be of, once it is merged."""
    return f"{run.name} at {revision_name(run)}"


def _together(runs: Sequence[Run]) -> tuple[list[Measurement], Environment]:
    _check_different(runs)
    rows = list(_rows(runs))
    names = list(dict.fromkeys(name for run in runs for name in _machines(run)))
    parts = [part for run in runs for part in _parts(to_builtins(run.environment), run.name)]
    warnings = [each if run.environment.runs else f"{run.name}: {each}" for run in runs for each in run.warnings]
    sweep = SweepName("merged", f"Runs merged: {', '.join(part['run'] for part in parts)}")
    return rows, Environment(summary="; ".join(names), warnings=warnings, sweep=sweep, runs=parts)


def _machines(run: Run) -> list[str]:
    """The label of the machine of each row; that of the run where it has none."""
    label = run.environment.machine_label
    return [row.machine or label for row in (*run.measurements, *run.noise_rows)] or [label]


def _check_different(runs: Sequence[Run]) -> None:
    """Refuse runs that share measurements: counted twice, they would be repetitions that nobody made."""
    known: dict[Hashable, str] = {}
    for run in runs:
        keys = {_made(row, run) for row in (*run.measurements, *run.noise_rows) if row.started}
        for key in keys:
            if key in known:
                raise UserError(f"'{known[key]}' and '{run.name}' hold the same measurements: name each run once")
        known |= dict.fromkeys(keys, run.name)


def _parts(environment: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The environments of the runs that a run is of, each with its name: where it was merged, more than one."""
    merged = environment.get("runs")
    return [part for run in merged for part in _parts(run, run["run"])] if merged else [environment | {"run": name}]


def _rows(runs: Sequence[Run]) -> Iterator[Measurement]:
    """The rows with the machine among their axes, and rounds and pairs that do not meet those of other runs."""
    rounds: dict[tuple[str, str], int] = {}  # by machine and cell, and by machine and run
    pairs = 0
    for run in runs:
        label = run.environment.machine_label
        mine = [_on(row, label, run) for row in run.measurements]
        begin = max((rounds.get(key, 0) for row in mine for key in _counted_by(row)), default=0)
        for row in mine:
            yield replace(row, round=row.round + begin)
        for row in mine:
            for key in _counted_by(row):
                rounds[key] = max(rounds.get(key, 0), row.round + begin + 1)
        timed = [(row, row.noise) for row in run.noise_rows if row.noise]
        for row, noise in timed:
            moved = replace(noise, pair=noise.pair + pairs)
            yield replace(_on(row, label, run), noise=moved, round=moved.pair)
        pairs += max((noise.pair + 1 for _, noise in timed), default=0)


def _counted_by(row: Measurement) -> tuple[tuple[str, str], tuple[str, str]]:
    """What no other run's rows may share with a row that has its round."""
    return (row.machine, row.id), (row.machine, row.run)


def _on(row: Measurement, label: str, run: Run) -> Measurement:
    machine = row.machine or label  # that of a run which is merged itself stays
    cell = replace(row.cell, machine="")
    return replace(row, cell=cell, id=cell.id, machine=machine, run=row.run or _name_in(run))
