"""What a run folder holds, and how it is read: as data, checked line by line, nothing of it executed."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from metabench.errors import UserError
from metabench.files import MEBIBYTE, check_plain, read_text, said_of
from metabench.record.cell import identity, regrouped
from metabench.record.environment import Environment
from metabench.record.measurement import SCHEMA, Measurement, data_of

MEASUREMENTS = "measurements.jsonl"
ENVIRONMENT = "environment.json"
SWEEP = "sweep.toml"
SOURCES = "sources"
"""Folder with copies of the user's own files, as they were measured."""
MOST_BYTES = 1024 * MEBIBYTE
"""Largest size of `measurements.jsonl`: a hundred times what the largest sweeps come to."""
LONGEST_LINE = 16 * MEBIBYTE
MOST_ENVIRONMENT = 16 * MEBIBYTE
MOST_SWEEP = MEBIBYTE // 4
"""Bytes of a sweep file, a hundred times those of the longest."""
MOST_NAMED = 20
"""Damaged lines that get a sentence each."""
T = TypeVar("T")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Damage:
    """A line of a file of rows, such as `measurements.jsonl`, that is no row of it, and is left out."""

    file: str
    """The file's name."""
    number: int
    start: int
    end: int
    """Start and end of the line, in bytes from the start of the file."""
    why: str

    def __str__(self) -> str:
        """A sentence that names the line."""
        return f"Line {self.number} of {self.file} is left out: {self.why}."


def read_rows(file: Path) -> tuple[list[Measurement], list[Damage]]:
    """The rows of `measurements.jsonl`, and the lines that are none: flipped bits, a kill in the middle of a line.

    Raises `UserError`: no such file, one that cannot be read or is too large, a newer schema.
    """

    def measurement(row: Any, number: int) -> Measurement:
        version = row.get("schema") if isinstance(row, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            newer = f"was written by a newer metabench (schema {version}): update first"
            raise UserError(f"line {number} of '{file}' {newer}")
        if version != SCHEMA:
            raise ValueError("it is not a measurement")
        try:
            return measurement_of(row)
        except ValueError as error:
            raise ValueError(f"it is not a measurement: {error}") from None

    return read_lines(file, measurement, "run folder")


def read_lines(file: Path, row_of: Callable[[Any, int], T], kind: str) -> tuple[list[T], list[Damage]]:
    """The rows of a file with a JSON document a line, in a folder of that kind, and the lines that are none.

    `row_of` makes a row of a document and its line's number, and raises ValueError, in words, for what is none. Raises
    `UserError` where there is no such file, or it cannot be read or is too large.
    """
    rows: list[T] = []
    damages: list[Damage] = []
    try:
        check_plain(file, MOST_BYTES)
        for number, start, end, line in _lines(file):
            try:
                if line is None:
                    raise ValueError(f"it is longer than {LONGEST_LINE // MEBIBYTE} MiB")
                if line.strip():
                    rows.append(row_of(_document(line), number))
            except ValueError as error:
                damages.append(Damage(file.name, number, start, end, str(error)))
    except FileNotFoundError:
        raise UserError(f"'{file.parent}' is not a {kind}: it has no {file.name}") from None
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror or error}") from None
    return rows, damages


def in_words(damages: Sequence[Damage]) -> list[str]:
    """A sentence for each damaged line, or for the first of very many."""
    left = len(damages) - MOST_NAMED
    return [str(damage) for damage in damages[:MOST_NAMED]] + ([f"So are {left} more lines."] if left > 0 else [])


def _lines(file: Path) -> Iterator[tuple[int, int, int, bytes | None]]:
    """The number of each line, where it starts and ends, and what it holds; None in place of what is too long."""
    end = number = 0
    with file.open("rb") as stream:
        while line := stream.readline(LONGEST_LINE):
            whole: bytes | None = line
            number, start, end = number + 1, end, end + len(line)
            while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                whole, line = None, stream.readline(LONGEST_LINE)
                end += len(line)
            yield number, start, end, whole


def _document(line: bytes) -> Any:
    """The JSON of a line; raises ValueError, in words, for what is none."""
    try:
        return parse_json(line.decode("utf-8-sig"))
    except ValueError as error:
        if not line.endswith(b"\n"):
            raise ValueError("it is unfinished, as a kill leaves it") from None
        raise ValueError("it is not JSON" if not isinstance(error, UnicodeDecodeError) else "it is not text") from None


def measurement_of(row: Any) -> Measurement:
    """The measurement of a line's dictionary. Raises ValueError, in words, for what is none."""
    row = dict(row)
    if isinstance(cell := row.get("cell"), dict):
        row["cell"] = regrouped(cell)
    if isinstance(data := row.get("data"), dict):
        row["data"] = data_of(data)
    found = typed(row, Measurement)
    if found.id != identity(cell):
        raise ValueError("its id is not that of its cell")
    return found


def typed(value: Any, kind: type[T]) -> T:
    """The value as a record of that kind. Raises ValueError, in words, for what is none."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(said_of(error)) from None


def parse_json(text: str) -> Any:
    """Strict JSON; raises ValueError for NaN and infinity, for a name that stands twice, for bottomless nesting,
    and for half of a character."""
    try:
        found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _SURROGATE.search(text):
        json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError: no file could hold it
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def read_environment(file: Path) -> Environment | None:
    """The machine and the warnings of a run; None where there is no such file. Raises `UserError`."""
    try:
        environment = parse_json(read_text(file, MOST_ENVIRONMENT))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"'{file}' is not valid JSON: mend it, or delete it to do without") from None
    try:
        return typed(environment, Environment)
    except ValueError as error:
        raise UserError(
            f"'{file}' does not describe a machine ({error}): mend it, or delete it to do without"
        ) from None
