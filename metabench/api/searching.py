"""A search from the command line or a program: what is shown of it, and how it ends."""

import signal
from collections.abc import Collection, Mapping
from pathlib import Path

from metabench.api.running import BOTH
from metabench.api.running import new_folder as new_run_folder
from metabench.api.watching import Watched
from metabench.record.searching import ASKED, Search, read_search
from metabench.search.folder import summarise
from metabench.search.running import Told, importance_of, run_search
from metabench.search.settings import Settings, again
from metabench.sweep.interruption import interruptible
from metabench.text import file_name


def carry_out(
    settings: Settings,
    folder: Path,
    shown: Watched,
    resume: bool,
    data_dir: Path | None,
    signals: Collection[signal.Signals] = BOTH,
) -> tuple[Search, Mapping[str, float]]:
    """Make the trials that are left, and show each; gives the search and the importance of its parameters.

    On the first interrupt the trial that runs ends; then, or at once on a second one, KeyboardInterrupt is raised.
    """
    with shown, interruptible(shown.interrupted, signals) as stop:
        found = run_search(
            settings, folder, resume=resume, data_dir=data_dir, shown=Told(shown.say, shown.warn), stop=stop
        )
    return found, importance_of(settings, found)


def summarised(folder: Path) -> tuple[Search, Mapping[str, float]]:
    """The search of a folder and the importance of its parameters, with its tables written anew. Raises `UserError`."""
    found, settings = read_search(folder), again(folder / ASKED)
    importance = importance_of(settings, found)
    summarise(found, importance)
    return found, importance


def new_folder(settings: Settings) -> Path:
    """The folder of a search where none is given."""
    return new_run_folder(file_name(f"search-{settings.asked.algorithm}"))
