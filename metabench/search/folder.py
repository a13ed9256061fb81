"""The folder of a search on disk: one writer at a time, every trial appended whole."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from metabench.errors import UserError
from metabench.files import append, replace_file
from metabench.record.searching import (
    ASKED,
    CONFIRM,
    SUMMARY,
    TRIALS,
    Asked,
    Search,
    Trial,
    read_asked,
    read_trials,
)
from metabench.report.searching import confirmation, search_markdown
from metabench.sweep.folder import RunFolder, open_run_folder, recovered


class SearchFolder:
    """The files of one search; use `open_search_folder`."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        """The files that any run has: what is known of the machine, and copies of the user's own files."""

    def begin(self, asked: Asked, resume: bool) -> tuple[list[Trial], list[str]]:
        """The trials that it holds already, and what was mended.

        Raises `UserError` unless the folder is this search's. One that is resumed may have other numbers of trials and
        minutes than before.
        """
        file, trials = self.run.path / ASKED, self.run.path / TRIALS
        if self.run.measurements.exists() or self.run.read_sweep() is not None:
            raise UserError(f"'{self.run.path}' holds a run of a sweep: choose another --out")
        if file.exists():
            if not resume:
                raise UserError(
                    f"'{self.run.path}' holds a search already: add --resume to go on with it, or choose another --out"
                )
            before = replace(read_asked(file), trials=asked.trials, minutes=asked.minutes)
            if before != asked:
                raise UserError(f"'{self.run.path}' holds another search: resume it with the same options")
        elif trials.exists():
            raise UserError(f"'{self.run.path}' has trials but no {ASKED}: choose another --out")
        replace_file(file, asked.text.encode())
        return recovered(trials, read_trials)

    def append(self, trial: Trial) -> None:
        """Add a trial and wait until it is on disk."""
        append(self.run.path / TRIALS, json.dumps(trial.to_json(), allow_nan=False).encode() + b"\n")


def summarise(search: Search, importance: Mapping[str, float]) -> None:
    """Write the tables into the search's folder, and the sweep that confirms the best trial, where there is one."""
    replace_file(search.folder / SUMMARY, search_markdown(search, importance).encode())
    if search.ranked:
        replace_file(search.folder / CONFIRM, confirmation(search).encode())


@contextmanager
def open_search_folder(path: Path) -> Iterator[SearchFolder]:
    """Create the folder if need be and hold it for one writer."""
    with open_run_folder(path) as run:
        yield SearchFolder(run)
