"""A search for hyper-parameters as it lies in a folder: what was asked for, and every trial. Nothing is executed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from metabench.files import MEBIBYTE, as_struct, read_toml, toml_lines
from metabench.record.axes import LARGEST, LARGEST_WHOLE
from metabench.record.cell import Amount, Cell, Name, Whole, regrouped
from metabench.record.environment import Environment
from metabench.record.measurement import Data, Gate, data_of
from metabench.record.quality import CurvePoint, Score, TaskScores
from metabench.record.reading import ENVIRONMENT, Damage, in_words, read_environment, read_lines, typed
from metabench.record.timing import Mean, Record, Text

ASKED = "search.toml"
TRIALS = "trials.jsonl"
SUMMARY = "search.md"
"""File with the tables of a search and the preset that it found."""
CONFIRM = "confirm.toml"
"""Sweep that tries the best trial's settings with other seeds on test tasks."""
UNDISTURBED = 0.9
"""Share of the processor that a thread has where no other program is in its way."""
MOST_ASKED = MEBIBYTE // 4
MOST_TRIALS = 10_000
MOST_VALIDATION = 100_000
MOST_POINTS = 1000
Value: TypeAlias = bool | int | float | str
State: TypeAlias = Literal["complete", "pruned", "failed"]
STATES: tuple[State, ...] = get_args(State)
Prune: TypeAlias = Literal["median", "none"]


class Asked(Record, frozen=True, kw_only=True):
    """What a search was asked for: all that it takes to repeat it."""

    algorithm: Name
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LARGEST)] = 300.0
    """Seconds of a training: each trial has as many iterations as fit."""
    trials: Annotated[int, msgspec.Meta(ge=1, le=MOST_TRIALS)] = 20
    minutes: Amount = 0.0
    """Minutes after which no trial begins; 0: no limit."""
    engine: Text = ""
    """The engine; empty: `native` where it carries the algorithm, else the fastest of those that do."""
    prune: Prune = "median"
    """Whether a trial ends whose curve is below the median of earlier ones."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_WHOLE)] = 0
    """Seed of what the search draws; that of the trainings is an axis."""
    validation_tasks: Annotated[int, msgspec.Meta(ge=2, le=MOST_VALIDATION)] = 400
    """Validation tasks that a whole training is judged on."""
    curve_points: Annotated[int, msgspec.Meta(ge=0, le=MOST_POINTS)] = 10
    """Points of a curve, by which trials are ended early."""
    first: dict[str, Value] = {}
    """What the first trial has on some axes, in place of the preset's values."""
    axes: dict[str, Any] = {}
    """What each axis may be: a value, a list of values, or a range `{low, high, log}`."""

    @property
    def text(self) -> str:
        """The text of `search.toml`."""
        settings = msgspec.to_builtins(self)
        axes = settings.pop("axes")
        return f"{toml_lines(settings)}\n[axes]\n{toml_lines(axes)}"


class Trial(Record, frozen=True, kw_only=True):
    """One training of a search, or what became of it: a line of `trials.jsonl`."""

    number: Whole
    state: State
    parameters: dict[str, Value]
    """What was tried, by axis."""
    cell: Cell
    """All of the settings, those that were not searched for included."""
    reason: Text = ""
    """One sentence where the state is not `complete`."""
    started: Text = ""
    """UTC, ISO 8601."""
    seconds: Amount | None = None
    """Wall time of the whole process: gate, compilation, training and evaluation."""
    iteration_s: Amount | None = None
    """Seconds of a meta-iteration, its tasks drawn, as timed before the training: of processor time on one thread."""
    processor_share: Amount | None = None
    """Processor seconds that the process got in each second of that timing; fewer than its threads where it waited."""
    ready_s: Amount | None = None
    """Seconds before the training: its engine chosen, compiled, proved right and timed."""
    train_s: Amount | None = None
    """Wall time of the training, evaluations not counted."""
    metric: Text = ""
    """`accuracy` (a share), or `mse`."""
    score: Mean | None = None
    """The mean over the validation tasks, of a whole training."""
    by_step: list[Score] = []
    task_scores: TaskScores | None = None
    """The score of each validation task: all trials have the same tasks."""
    curve: list[CurvePoint] = []
    """Scores in the course of the training, on validation tasks of their own: trials are ended early by them."""
    gate: Gate | None = None
    data: Data | None = None
    sources: dict[Text, Text] = {}
    """SHA-256 of each file of the user's own that was loaded."""

    def __post_init__(self) -> None:
        if (self.state == "complete") != (self.score is not None and self.task_scores is not None):
            raise ValueError("a trial has a score if it is complete, and only then")

    @property
    def share_of_threads(self) -> float:
        """Share of the time in which its threads had the processor when it was timed; 1 where that is not known."""
        return 1.0 if self.processor_share is None else self.processor_share / max(1, self.cell.threads)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, as it stands in `trials.jsonl`."""
        row: dict[str, Any] = msgspec.to_builtins(self) | {"cell": self.cell.to_json()}
        if self.data:
            row["data"] = {"name": self.data.name, "content_hash": self.data.content_hash, **self.data.others}
        return {name: value for name, value in row.items() if value not in (None, "", [], {})}


@dataclass(frozen=True)
class Search:
    """A search, read from its folder."""

    folder: Path
    asked: Asked
    trials: tuple[Trial, ...]
    environment: Environment | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def slowed(self) -> list[Trial]:
        """The trials that other programs kept from the processor when they were timed."""
        return [trial for trial in self.trials if trial.cell.device == "cpu" and trial.share_of_threads < UNDISTURBED]

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is a better one."""
        return all(trial.metric != "mse" for trial in self.trials)

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first."""
        sign = -1 if self.higher_is_better else 1
        scored = [(sign * trial.score.value, trial.number, trial) for trial in self.trials if trial.score]
        return [trial for *_, trial in sorted(scored, key=lambda each: each[:2])]


def read_search(folder: Path) -> Search:
    """The search of a folder. Raises `UserError`: no search, or files that cannot be read; damaged lines are named."""
    trials, damages = read_trials(folder / TRIALS)
    environment = read_environment(folder / ENVIRONMENT)
    return Search(folder, read_asked(folder / ASKED), tuple(trials), environment, tuple(in_words(damages)))


def read_asked(file: Path) -> Asked:
    """What a file such as `search.toml` asks for. Raises `UserError`."""
    _, document = read_toml(file, MOST_ASKED, "search file")
    return as_struct(document, Asked, "setting of a search")


def read_trials(file: Path) -> tuple[list[Trial], list[Damage]]:
    """The trials of `trials.jsonl`, and the lines that are none. Raises `UserError`."""

    def trial(row: Any, number: int) -> Trial:
        try:
            return trial_of(row)
        except ValueError as error:
            raise ValueError(f"it is not a trial: {error}") from None

    return read_lines(file, trial, "folder of a search")


def trial_of(row: Any) -> Trial:
    """The trial of a line's dictionary. Raises ValueError, in words, for what is none."""
    if not isinstance(row, Mapping):
        raise ValueError("it is no table")
    row = dict(row)
    if isinstance(cell := row.get("cell"), dict):
        row["cell"] = regrouped(cell)
    if isinstance(data := row.get("data"), dict):
        row["data"] = data_of(data)
    return typed(row, Trial)
