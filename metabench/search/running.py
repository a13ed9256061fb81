"""Runs a search: draws the parameters of a trial, trains it in a process of its own, and keeps it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from msgspec import structs, to_builtins

from metabench import sources
from metabench.errors import Unsupported, UserError
from metabench.machine.conditions import warnings_for
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.record.cell import Cell
from metabench.record.environment import Environment, SweepName
from metabench.record.measurement import Data
from metabench.record.searching import Search, State, Trial, trial_of
from metabench.report.numbers import quality_text
from metabench.search.folder import SearchFolder, open_search_folder, summarise
from metabench.search.sampling import past_of
from metabench.search.settings import Settings
from metabench.search.worker import WORKER
from metabench.statistics.intervals import Interval
from metabench.sweep.cell_tasks import held_out_tasks, training_tasks
from metabench.sweep.process import run_job, worker_environment
from metabench.sweep.same_code import SameCode
from metabench.sweep.same_data import SameData
from metabench.sweep.servers import Servers
from metabench.tasks.base import TASKS, splits_of

PATIENCE, LONGEST_START_S = 10, 1800
"""How many times its time a trial's process may take, and how many seconds more: gate, compilation and evaluation."""
STATES: Mapping[str, State] = {"ok": "complete", "pruned": "pruned"}
"""The state of a trial whose process ended so; any other one failed."""


@dataclass(frozen=True)
class Told:
    """Functions that show a sentence on a search while it goes on."""

    say: Callable[[str], None] = lambda sentence: None
    warn: Callable[[str], None] = lambda sentence: None


def run_search(
    settings: Settings, out: Path, *, resume: bool, data_dir: Path | None, shown: Told, stop: Event | None = None
) -> Search:
    """Make the trials that are not in `out` yet.

    Raises `UserError`; on KeyboardInterrupt the folder can be resumed, and the trial that ran is lost. Once `stop` is
    set no trial begins any more; if any is left then, that is a KeyboardInterrupt.
    """
    tasks = training_tasks(settings.start, data_dir)
    _need_validation(settings.start, data_dir)
    with open_search_folder(out) as folder, Servers() as servers:
        trials, mended = folder.begin(settings.asked, resume)
        same = _Same(trials)
        same.code.check_unchanged(sources.folder(), out)
        now = tasks.provenance
        data = Data(now.name, now.content_hash, dict(now.details))
        if changed := same.data.change(settings.start, data):
            raise UserError(changed)
        folder.run.keep_sources(sources.digests(), sources.folder())
        environment = _describe(folder, settings, mended, shown)

        def found() -> Search:
            return Search(out, settings.asked, tuple(trials), environment)

        with _summarised(settings, found):
            while _goes_on(settings, trials):
                if stop and stop.is_set():
                    raise KeyboardInterrupt
                trial = same.checked(_trial(settings, trials, data_dir, servers))
                folder.append(trial)
                folder.run.keep_sources(trial.sources, sources.folder())
                trials.append(trial)
                shown.say(trial_text(trial, found()))
        return found()


class _Same:
    """The data and the files of the user's own that the trials of a search stand on."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.data, self.code = SameData(kind="search"), SameCode(kind="search")
        for trial in trials:
            self.checked(trial)

    def checked(self, trial: Trial) -> Trial:
        """The trial; failed and without scores where its data or a file are not those of the trials before it."""
        changed = self.data.change(trial.cell, trial.data) or self.code.change(trial.sources)
        if not changed:
            return trial
        scores: Mapping[str, Any] = {"score": None, "by_step": [], "task_scores": None, "curve": []}
        return structs.replace(trial, state="failed", reason=f"incorrect: {changed}", **scores)


def _need_validation(cell: Cell, data_dir: Path | None) -> None:
    """Raise `UserError` for held-out tasks without validation classes, with the splits that have some."""
    if _validates(cell, data_dir):
        return
    named = [name for name in TASKS.get(cell.task).splits if "*" not in name]
    others = [name for name in named if _can_validate(structs.replace(cell, split=name), data_dir)]
    choose = f"choose the split {' or '.join(others)}" if others else "choose other tasks"
    raise UserError(f"a search is judged on validation classes, and these tasks of {cell.task} have none: {choose}")


def _validates(cell: Cell, data_dir: Path | None) -> bool:
    return "validation" in splits_of(held_out_tasks(cell, data_dir))


def _can_validate(cell: Cell, data_dir: Path | None) -> bool:
    try:
        return _validates(cell, data_dir)
    except (UserError, Unsupported):  # the data cannot be split so, or not into classes enough
        return False


@contextmanager
def _summarised(settings: Settings, found: Callable[[], Search]) -> Iterator[None]:
    """Write what the trials have shown, however they end."""
    try:
        yield
    finally:
        search = found()
        summarise(search, importance_of(settings, search))


def importance_of(settings: Settings, search: Search) -> dict[str, float]:
    """The share of each parameter in what tells good trials from others; empty where the trials are too few."""
    return settings.sampler.importance([past_of(trial) for trial in search.trials])


def _goes_on(settings: Settings, trials: list[Trial]) -> bool:
    """Whether there is another trial: neither their number nor the minutes are used up."""
    asked, seconds = settings.asked, [trial.seconds or 0.0 for trial in trials]
    if len(trials) >= asked.trials:
        return False
    return not asked.minutes or sum(seconds) + (median(seconds) if seconds else 0.0) <= 60 * asked.minutes


def _trial(settings: Settings, trials: list[Trial], data_dir: Path | None, servers: Servers) -> Trial:
    """The next trial, trained in a process of its own, whatever ends it."""
    started, begin = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), time.perf_counter()
    past = [past_of(trial) for trial in trials]
    parameters = settings.sampler.next(past, settings.first)
    cell = settings.cell(parameters)
    job = {"cell": cell.to_json(), "asked": settings.asked, "past": past, "parameters": parameters}
    job = to_builtins(job) | {"data_dir": str(data_dir) if data_dir else None}
    limit = PATIENCE * settings.asked.seconds + LONGEST_START_S
    lend = servers.of(0) if cell.device == "cpu" else None
    ended = run_job(job, worker_environment(cell.threads), limit, lend, worker=WORKER)
    status, reason = ended.outcome(limit)
    state = STATES.get(status, "failed")
    row = {
        **{part: value for part, value in ended.result.items() if part in PARTS and value is not None},
        "number": len(trials),
        "state": state,
        "parameters": parameters,
        "metric": settings.metric,
        "started": started,
        "seconds": time.perf_counter() - begin,
        "reason": f"{status}: {reason}" if state == "failed" else reason,
    }
    return _kept(row, cell)


PARTS = frozenset(Trial.__struct_fields__)


def _kept(row: dict[str, Any], cell: Cell) -> Trial:
    """The trial of a row; of one that is none (a plug-in gave what is no figure), what is known without it."""
    try:
        return trial_of({"cell": cell.to_json()} | row)
    except ValueError as error:
        kept: Mapping[str, Any] = {name: row[name] for name in ("number", "parameters", "metric", "started", "seconds")}
        return Trial(state="failed", cell=cell, reason=f"crashed: what it found is no trial: {error}", **kept)


def _describe(folder: SearchFolder, settings: Settings, mended: list[str], shown: Told) -> Environment:
    """Write what is known of the machine. Raises `UserError` for a search that was begun on another one."""
    threads = settings.start.threads
    machine = fingerprint(threads)
    summary, before = short_name(machine), folder.run.read_environment()
    if before and (other := before.other_than(machine, summary)):
        raise UserError(
            f"'{folder.run.path}' was begun on another machine or with other versions ({other}), "
            "where other trainings fit the time: start a new search"
        )
    state = warnings_for(threads, settings.start.device == "cuda")
    for sentence in [*mended, *state]:
        shown.warn(sentence)
    environment = structs.replace(
        before or Environment(),
        summary=summary,
        machine=machine,
        warnings=list(dict.fromkeys([*(before.warnings if before else []), *mended, *state])),
        sweep=SweepName(folder.run.path.resolve().name, f"search for hyper-parameters of {settings.asked.algorithm}"),
    )
    folder.run.write_environment(environment)
    return environment


def trial_text(trial: Trial, search: Search) -> str:
    """A line on a trial, its outcome first."""
    best = search.ranked[0] if search.ranked else None
    outcome = trial.state if trial.state != "failed" else f"failed ({trial.reason})"
    if trial.score:
        outcome = score_text(trial)
    leader = f"; the best is trial {best.number} with {score_text(best)}" if best and best is not trial else ""
    values = ", ".join(f"{axis} {value}" for axis, value in trial.parameters.items())
    spent = (
        f"{trial.cell.iterations} iterations in {trial.train_s:.0f} s" if trial.train_s is not None else "no training"
    )
    number = f"[{trial.number + 1}/{search.asked.trials}]"
    return f"{number} {outcome}: {spent} on {trial.cell.engine}, {trial.seconds or 0:.0f} s in all ({values}){leader}"


def score_text(trial: Trial) -> str:
    """The score of a complete trial, with its interval."""
    assert trial.score
    return quality_text(Interval(trial.score.value, trial.score.low, trial.score.high), trial.metric)
