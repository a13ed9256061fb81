"""`metabench.run`: a sweep from Python."""

import signal
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from metabench.api.results import Results, load
from metabench.api.watching import Watched, watched
from metabench.api.wording import in_python
from metabench.errors import UserError
from metabench.machine.cores import default_threads
from metabench.machine.devices import check_device
from metabench.sources import refuse_while_loading
from metabench.sweep.backends.base import Backend, open_backend
from metabench.sweep.given import Given, RunSettings, read_given
from metabench.sweep.interruption import interruptible
from metabench.sweep.runner import LOCAL, run_sweep
from metabench.sweep.spec import Sweep
from metabench.sweep.threads import threads_in_words

BOTH = (signal.SIGINT, signal.SIGTERM)


@in_python()
def run(
    sweep: Given,
    out: str | PathLike[str] | None = None,
    *,
    set: Mapping[str, Any] | None = None,
    only: Mapping[str, Any] | None = None,
    device: str | None = None,
    data_dir: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Unpack[RunSettings],
) -> Results:
    """Measure a sweep, each configuration in a process of its own, as `metabench run` does.

    `sweep` is a built-in name (`"smoke"`), a TOML file, a dictionary of axes with one value or several each, or a list
    of such dictionaries. `out` is the run folder, by default `runs/NAME-TIME`; with `resume` the run that it holds goes
    on. `set` replaces axes, and `device` (`"cpu"`, `"cuda"`) stands for all configurations. `only` keeps those that
    have one of its values on each of its axes. `data_dir` is the folder with Omniglot. `settings` are those of the
    table `[run]`, such as `rounds=3`.

    What fails is a row, not an exception. Raises `UserError` for a mistake, before anything is measured. On the first
    interrupt the configuration that runs ends; then, or at once on a second one, KeyboardInterrupt is raised, which
    says how to go on.
    """
    refuse_while_loading("metabench.run")
    if resume and out is None:
        raise UserError("resume needs out, the run folder to go on with")
    override = {**(set or {}), **({"device": device} if device else {})}
    loaded = read_given(sweep, override, settings, only or {}, default_threads())
    folder = Path(out) if out is not None else new_folder(loaded.name)
    check_device({cell.device for cell in loaded.cells})
    try:
        with open_backend(LOCAL) as here:
            carry_out(loaded, folder, here, watched(progress), resume, _path(data_dir), (signal.SIGINT,))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"finished measurements are in '{folder}': go on with the same call, out={str(folder)!r} and resume=True"
        ) from None
    return load(folder)


def carry_out(
    sweep: Sweep,
    folder: Path,
    backend: Backend,
    shown: Watched,
    resume: bool,
    data_dir: Path | None,
    signals: Collection[signal.Signals] = BOTH,
) -> None:
    """Run a sweep, and show what was filled in and how far it is. Raises KeyboardInterrupt once it was stopped."""
    with shown, interruptible(shown.interrupted, signals) as stop:
        for sentence in (*sweep.filled_in, f"threads: {threads_in_words(sweep.cells)}"):
            shown.say(sentence)
        run_sweep(sweep, folder, resume=resume, data_dir=data_dir, progress=shown, stop=stop, backend=backend)


def new_folder(name: str) -> Path:
    """The run folder where none is given."""
    return Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _path(given: str | PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)
