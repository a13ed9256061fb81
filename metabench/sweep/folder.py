"""A run folder on disk: one writer at a time, every row appended whole, nothing lost when the writer is killed."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from metabench.errors import UserError
from metabench.rows import ENVIRONMENT, MEASUREMENTS, SWEEP, Row, read_environment, read_rows
from metabench.sweep.measurement import Measurement


class RunFolder:
    """The files of one run that a sweep writes; use `open_run_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def measurements(self) -> Path:
        return self.path / MEASUREMENTS

    def read(self) -> list[Row]:
        """All rows written so far; raises `UserError` for a row that is not one."""
        return read_rows(self.measurements)[0] if self.measurements.exists() else []

    def append(self, measurement: Measurement) -> None:
        """Add a row with one write and wait until it is on disk."""
        line = json.dumps(measurement.to_json(), allow_nan=False) + "\n"
        with writing(self.measurements):
            handle = os.open(self.measurements, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())
                os.fsync(handle)
            finally:
                os.close(handle)

    def mend(self) -> bool:
        """Cut off a last row that a kill left unfinished; tells whether there was one."""
        if not self.measurements.exists():
            return False
        content = self.measurements.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole == content:
            return False
        with writing(self.measurements), self.measurements.open("r+b") as file:
            file.truncate(len(whole))
        return True

    def read_environment(self) -> dict[str, Any]:
        """The machine and the warnings of the run so far."""
        return read_environment(self.path / ENVIRONMENT)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Replace the description of the machine."""
        self._replace(ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def read_sweep(self) -> str | None:
        """The sweep file as run, if there is one yet."""
        file = self.path / SWEEP
        return file.read_text(encoding="utf-8") if file.exists() else None

    def write_sweep(self, text: str) -> None:
        """Keep the sweep file as run."""
        self._replace(SWEEP, text)

    def _replace(self, name: str, text: str) -> None:
        file = self.path / name
        temporary = file.with_suffix(".tmp")
        with writing(file):
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(file)


@contextmanager
def open_run_folder(path: Path) -> Iterator[RunFolder]:
    """Create the folder if need be and hold it for one writer."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock")
    with writing(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:  # is an OSError too
            raise UserError(f"another metabench is writing to '{path}': wait, or choose another --out") from None
    try:
        yield RunFolder(path)
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to '{path}': {error.strerror or error}") from None
