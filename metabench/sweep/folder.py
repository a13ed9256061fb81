"""A run folder on disk: one writer at a time, every row appended whole, nothing lost when the writer is killed."""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias, TypeVar

from filelock import FileLock, Timeout
from msgspec import to_builtins

from metabench.errors import UserError
from metabench.files import MEBIBYTE, append, read_text, replace_file, replacing, writing
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement
from metabench.record.reading import (
    ENVIRONMENT,
    MEASUREMENTS,
    MOST_SWEEP,
    SOURCES,
    SWEEP,
    Damage,
    in_words,
    measurement_of,
    parse_json,
    read_environment,
    read_rows,
)

BROKEN = "broken-lines.txt"
"""File that takes lines which are not measurements, when a run is resumed."""
Key: TypeAlias = tuple[str, int, str]
"""The key of a measurement."""
T = TypeVar("T")
LOCK = ".lock"
OWNER = ".owner.json"


class RunFolder:
    """The files of one run that a sweep writes; use `open_run_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def measurements(self) -> Path:
        return self.path / MEASUREMENTS

    def append(self, measurement: Measurement) -> None:
        """Add a row and wait until it is on disk; the file stays as it was when the disk refuses."""
        append(self.measurements, _line_of(measurement))

    def recover(self) -> tuple[list[Measurement], list[str]]:
        """All rows written so far; what is damaged is moved to `broken-lines.txt`, and sentences say so.

        Raises `UserError` for what cannot be read, and for a newer schema.
        """
        return recovered(self.measurements, read_rows)

    def withdraw(self, rows: Sequence[Measurement]) -> None:
        """Take rows out again, whose configurations are measured to the end; nothing else is in the file."""
        self._rewrite({row.key: b"" for row in rows})

    def replace(self, measurement: Measurement) -> None:
        """Put a row in the place of that of the same configuration and repetition; it is there before or after."""
        self._rewrite({measurement.key: _line_of(measurement)})

    def _rewrite(self, changed: Mapping[Key, bytes]) -> None:
        """Write other lines in the place of rows, by their keys; the file stays as it was when the disk refuses."""
        ids = {key[0].encode() for key in changed}

        def anew(line: bytes) -> bytes:
            # To take a line apart is slow, and most hold none of these ids.
            return changed.get(_key(line), line) if any(each in line for each in ids) else line

        lines = self.measurements.read_bytes().splitlines(keepends=True)
        replace_file(self.measurements, b"".join(map(anew, lines)))

    def read_environment(self) -> Environment | None:
        """The machine and the warnings of the run so far; None where nothing is written yet."""
        return read_environment(self.path / ENVIRONMENT)

    def write_environment(self, environment: Environment) -> None:
        """Replace the description of the machine."""
        replace_file(self.path / ENVIRONMENT, json.dumps(to_builtins(environment), indent=2).encode() + b"\n")

    def read_sweep(self) -> str | None:
        """The sweep file as run, if there is one yet."""
        try:
            return read_text(self.path / SWEEP, MOST_SWEEP)
        except FileNotFoundError:
            return None

    def write_sweep(self, text: str) -> None:
        """Keep the sweep file as run."""
        replace_file(self.path / SWEEP, text.encode())

    def keep_sources(self, digests: Mapping[str, str], place: Path) -> None:
        """Copy the files of the user's own that have these digests, as they were when they were used first."""
        for name, digest in digests.items():
            copy, inside = self.path / SOURCES / name, not Path(name).is_absolute() and ".." not in Path(name).parts
            if not inside or copy.exists():
                continue
            with suppress(OSError):  # a node of a cluster may have files that are not here
                content = (place / name).read_bytes()
                if sha256(content).hexdigest() == digest:
                    replace_file(copy, content)


def recovered(file: Path, read: Callable[[Path], tuple[list[T], list[Damage]]]) -> tuple[list[T], list[str]]:
    """The rows of a file that a writer may have left damaged, and sentences on what was mended.

    Damaged lines are moved to `broken-lines.txt` beside it. Raises what `read` raises.
    """
    if not file.exists():
        return [], []
    rows, damages = read(file)
    content = file.read_bytes()
    if damages:
        append(file.with_name(BROKEN), b"".join(content[d.start : d.end].rstrip(b"\n") + b"\n" for d in damages))
        edges = [0, *(edge for d in damages for edge in (d.start, d.end)), len(content)]
        content = b"".join(content[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
    whole = content if content.endswith(b"\n") or not content else content + b"\n"
    if damages or whole != content:
        with replacing(file) as stream:
            stream.write(whole)
    moved = [f"What was left out stands in {BROKEN}, and is measured again."] if damages else []
    return rows, [*in_words(damages), *moved]


@contextmanager
def open_run_folder(path: Path) -> Iterator[RunFolder]:
    """Create the folder if need be and hold it for one writer; a file beside the lock names the writer."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK)
    with writing(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:  # is an OSError too
            raise UserError(
                f"another metabench is writing to '{path}'{_owner(path / OWNER)}: wait, or choose another --out"
            ) from None
        except NotImplementedError:
            raise UserError(f"'{path}' lies on a file system that knows no locks: choose another --out") from None
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        replace_file(path / OWNER, json.dumps(owner).encode())
        yield RunFolder(path)
    finally:
        with suppress(OSError):
            (path / OWNER).unlink()
        lock.release()


def _line_of(measurement: Measurement) -> bytes:
    """The row as a line of `measurements.jsonl`."""
    return json.dumps(measurement.to_json(), allow_nan=False).encode() + b"\n"


def _key(line: bytes) -> Key:
    """The key of the row in a line of `measurements.jsonl` that holds one."""
    return measurement_of(parse_json(line.decode("utf-8-sig"))).key


def _owner(file: Path) -> str:
    """The holder of the folder, in words; empty where the file is half written or damaged."""
    try:
        owner = parse_json(read_text(file, MEBIBYTE))
        return f" (process {owner['pid']:d} on {owner['host']}, since {owner['since']} UTC)"
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return ""
