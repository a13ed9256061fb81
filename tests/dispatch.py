"""Sweeps in the process of a test, on any backend."""

import json
import tomllib
from pathlib import Path
from threading import Event

from listening import Silent
from metabench.sweep.backends.base import Backend
from metabench.sweep.runner import run_sweep
from metabench.sweep.spec import Sweep, parse_sweep


def sweep_of(text: str) -> Sweep:
    return parse_sweep("test", tomllib.loads(text), text, 1)


def rows_of(folder: Path) -> list[dict]:
    file = folder / "measurements.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run_on(backend: Backend, text: str, folder: Path, progress=None, stop: Event | None = None, resume=False):
    """The rows of the folder after a run on `backend`."""
    progress = progress or Silent()
    run_sweep(
        sweep_of(text), folder, resume=resume, data_dir=None, progress=progress, stop=stop or Event(), backend=backend
    )
    return rows_of(folder)
