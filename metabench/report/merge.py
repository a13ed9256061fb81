"""Run folders of several machines as one, in which no figure of one machine is taken for another's."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metabench.errors import UserError
from metabench.files import replace_file, writing
from metabench.record.machines import machine_label
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, Row
from metabench.record.schema import identity
from metabench.report.provenance import revision_name
from metabench.report.results import MACHINE, Run, read_run


def merge(folders: Sequence[Path], out: Path) -> None:
    """Write a run folder with all rows of others, each with its machine. Raises `UserError`; `out` must be new.

    Runs of one machine with the same cells are taken for further rounds, with pairs of the reference of their own.
    """
    if out.exists():
        raise UserError(f"'{out}' is there already: choose another --out")
    runs = [read_run(folder) for folder in folders]
    rows = list(_rows(runs))
    names = list(dict.fromkeys(row["machine"] for row in rows))
    warnings = [f"{run.name}: {sentence}" for run in runs for sentence in run.warnings]
    environment: dict[str, Any] = {
        "summary": "; ".join(names),
        "warnings": warnings,
        "sweep": {"name": "merged", "title": f"Runs merged: {', '.join(run.name for run in runs)}"},
        "runs": [run.environment | {"run": run.name} for run in runs],
    }
    with writing(out):
        out.mkdir(parents=True)
    replace_file(out / MEASUREMENTS, b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))
    replace_file(out / ENVIRONMENT, json.dumps(environment, indent=2).encode() + b"\n")


def _rows(runs: Sequence[Run]) -> Iterator[Row]:
    """The rows with the machine among their axes, and rounds and pairs that do not meet those of other runs."""
    rounds: dict[tuple[str, str], int] = {}
    pairs = 0
    for run in runs:
        label = machine_label(run.environment)
        mine = [_on(row, label, run) for row in run.measurements]
        begin = max((rounds.get((row["machine"], row["id"]), 0) for row in mine), default=0)
        for row in mine:
            yield row | {"round": row["round"] + begin}
        for row in mine:
            key = (row["machine"], row["id"])
            rounds[key] = max(rounds.get(key, 0), row["round"] + begin + 1)
        for row in run.references:
            moved = row["reference"] | {"pair": row["reference"]["pair"] + pairs}
            yield _on(row, label, run) | {"reference": moved, "round": moved["pair"]}
        pairs += max((row["reference"]["pair"] + 1 for row in run.references), default=0)


def _on(row: Row, label: str, run: Run) -> Row:
    machine = row.get("machine") or label  # that of a run which is merged itself stays
    cell = {axis: value for axis, value in row["cell"].items() if axis != MACHINE}
    origin = row.get("run") or f"{run.name} at {revision_name(run)}"
    return row | {"cell": cell, "id": identity(cell), "machine": machine, "run": origin}
