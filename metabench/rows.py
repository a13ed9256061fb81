"""What a run folder holds, and how it is read: as data, checked line by line, nothing of it executed."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from metabench.errors import UserError

SCHEMA = 1
"""Of the lines of `measurements.jsonl`; newer ones are refused."""
MEASUREMENTS = "measurements.jsonl"
ENVIRONMENT = "environment.json"
SWEEP = "sweep.toml"
REQUIRED = ("id", "round", "status", "cell")
CELL_REQUIRED = ("algorithm", "engine", "task", "model", "inner_steps", "meta_batch", "ways", "shots", "query", "seed")

Row: TypeAlias = dict[str, Any]
"""One line of `measurements.jsonl`: what was observed in one cell and round."""


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """The rows of `measurements.jsonl`, and sentences on what was noticed: an unfinished last line is left out.

    Raises `UserError`: no such file, a line that is not a measurement, a newer schema.
    """
    try:
        # A kill may cut a line anywhere, so also within a character.
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"'{file.parent}' is not a run folder: it has no {MEASUREMENTS}") from None
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror or error}") from None
    *lines, unfinished = text.split("\n")
    rows = [_row(line, number, file) for number, line in enumerate(lines, start=1) if line.strip()]
    noticed = []
    if unfinished.strip():
        try:
            json.loads(unfinished)
        except ValueError:
            noticed.append(
                f"The last line of {MEASUREMENTS} is unfinished and left out: the run was killed while writing it; "
                "resume it to measure that cell."
            )
        else:
            rows.append(_row(unfinished, len(lines) + 1, file))
    return rows, noticed


def _row(line: str, number: int, file: Path) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        raise UserError(f"line {number} of '{file}' is not JSON: the file is corrupt") from None
    if not isinstance(row, dict) or not isinstance(row.get("schema"), int):
        raise UserError(f"line {number} of '{file}' is not a measurement: the file is corrupt")
    if row["schema"] > SCHEMA:
        raise UserError(
            f"line {number} of '{file}' was written by a newer metabench (schema {row['schema']}): update first"
        )
    cell = row.get("cell")
    missing = [name for name in REQUIRED if name not in row]
    missing += [name for name in CELL_REQUIRED if not isinstance(cell, dict) or name not in cell]
    if missing:
        raise UserError(f"line {number} of '{file}' is not a measurement: it has no '{missing[0]}'")
    return row


def read_environment(file: Path) -> dict[str, Any]:
    """The machine and the warnings of a run; empty where there is no such file. Raises `UserError`."""
    try:
        environment = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror or error}") from None
    except ValueError:
        raise UserError(f"'{file}' is not valid JSON: the run folder is corrupt") from None
    if not isinstance(environment, dict):
        raise UserError(f"'{file}' does not describe a machine: the run folder is corrupt")
    return environment
