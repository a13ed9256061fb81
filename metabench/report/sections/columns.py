"""Columns that several tables have: status, time, memory, quality, and the ratios to a baseline."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, ids_of, status, status_and_reason, time_ratio_of
from metabench.report.marks import disturbed_mark
from metabench.report.noise import DRIFTING, ratio_text
from metabench.report.numbers import NOTHING, Valued, bytes_text, contrast_text, exact, quality_text, time_text
from metabench.report.scores import Contrast, Quality, contrast, quality
from metabench.report.sections.base import Column, HasBundle
from metabench.report.sections.device import (
    busy_text,
    device_work,
    energy_notes,
    energy_text,
    instructions_notes,
    instructions_of,
    instructions_text,
    joules,
    launches_notes,
    launches_text,
)

NOISY = " (noisy)"
METRIC_WORDS = {"accuracy": "accuracy", "mse": "MSE"}


def status_or_nothing(bundle: Bundle) -> str:
    """What stands in place of a figure: the word of what happened, if anything did."""
    word = status(bundle)
    return NOTHING if word == "ok" else word


def step_text(bundle: Bundle) -> str:
    """The time of a meta-iteration with its interval, and whether it is disturbed or noisy, and drifts."""
    if bundle.step is None:
        return NOTHING
    doubt = disturbed_mark(bundle) or (NOISY if bundle.noisy else "")
    return time_text(bundle.step) + doubt + (DRIFTING if bundle.drift > 1 else "")


def peak_text(bundle: Bundle) -> str:
    """The peak of memory of a meta-iteration."""
    return bytes_text(bundle.peak.bytes) if bundle.peak else NOTHING


def memory_notes(bundles: Iterable[Bundle]) -> list[str]:
    """How the peaks of memory were found."""
    peaks = sorted((bundle.peak for bundle in bundles if bundle.peak), key=lambda peak: len(peak.method))
    methods = {peak.kind: peak.method for peak in peaks}  # of each kind the longest, which names what is added
    return [f"Peak memory of one meta-iteration, measured from {'; '.join(methods.values())}."] if methods else []


def time_ratio(bundle: Bundle, baseline: Bundle) -> str:
    """How many times as long one takes as the other, paired by repetition, with its interval."""
    if bundle is baseline:
        return "1" if bundle.samples else NOTHING
    ratio = time_ratio_of(bundle, baseline)
    return ratio_text(ratio, bundle.drift * baseline.drift) + disturbed_mark(bundle, baseline) if ratio else NOTHING


def memory_ratio(bundle: Bundle, baseline: Bundle) -> str:
    """How many times as much memory one takes as the other, if both were measured alike."""
    if bundle.peak is None or baseline.peak is None or bundle.peak.kind != baseline.peak.kind:
        return NOTHING
    if bundle is baseline:
        return "1"
    return exact(bundle.peak.bytes / baseline.peak.bytes) if baseline.peak.bytes else NOTHING


@dataclass(frozen=True)
class Line:
    """What a row of a table shows, and what that is held against."""

    bundle: Bundle
    """The bundle whose status and quality are shown."""
    cost: Bundle
    """The bundle whose time and memory are shown."""
    baseline: Bundle | None = None
    """The bundle whose time and memory they are divided by."""
    mark: str = ""
    """The mark of ratios to a baseline that is not matched."""
    rival: Bundle | None = None
    """The bundle whose quality it is held against."""

    @cached_property
    def quality(self) -> Quality | None:
        """The quality that the training reaches; None where none was measured."""
        return quality(self.bundle)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all cells that its figures stand on."""
        return ids_of((self.bundle, self.cost, self.baseline, self.rival))


def _rows(lines: Iterable[Line]) -> list[Measurement]:
    return [row for line in lines for row in line.cost.sound]


IMPLEMENTATION = Column[HasBundle]("implementation", lambda line: line.bundle.cell.implementation)
STATUS = Column[HasBundle]("status", lambda line: status_and_reason(line.bundle))
STEP = Column[Line]("step time", lambda line: step_text(line.cost), droppable=True, cost=lambda line: line.cost.cell)
PEAK = Column[Line](
    "peak memory",
    lambda line: peak_text(line.cost),
    droppable=True,
    notes=lambda lines: memory_notes(line.cost for line in lines),
    cost=lambda line: line.cost.cell,
)
COUNTED = Column[Line](
    "instructions",
    lambda line: instructions_text(instructions_of(line.cost.sound)),
    droppable=True,
    notes=lambda lines: instructions_notes(_rows(lines)),
)
DEVICE = (
    Column[Line](
        "launches",
        lambda line: launches_text(device_work(line.cost.sound)),
        droppable=True,
        notes=lambda lines: launches_notes(_rows(lines)),
    ),
    Column[Line]("busy", lambda line: busy_text(device_work(line.cost.sound)), droppable=True),
    Column[Line](
        "energy",
        lambda line: energy_text(joules(line.cost.sound)),
        droppable=True,
        notes=lambda lines: energy_notes(_rows(lines)),
    ),
)


def relative(what: str, name: str) -> str:
    """The title of a column of ratios, such as `relative time (maml = 1)`."""
    return f"relative {what} ({name} = 1)"


def compared_columns(name: str) -> list[Column[Line]]:
    """Status, time and memory of each line, and its time and memory over those of its baseline."""

    def over(what: str, ratio: Callable[[Bundle, Bundle], str]) -> Column[Line]:
        def text(line: Line) -> str:
            found = ratio(line.cost, line.baseline) if line.baseline else NOTHING
            return found if found == NOTHING else found + line.mark

        return Column(relative(what, name), text, droppable=True)

    return [STATUS, STEP, over("time", time_ratio), COUNTED, *DEVICE, PEAK, over("memory", memory_ratio)]


def metric_word(lines: Iterable[Line]) -> str:
    """What the scores of a table are; `quality` where it has several metrics."""
    metrics = {line.quality.metric for line in lines if line.quality}
    return METRIC_WORDS.get(min(metrics), min(metrics)) if len(metrics) == 1 else "quality"


def judged(line: Line) -> Cell:
    """The cell whose score a line shows."""
    return line.bundle.cell


def score_text(line: Line) -> str:
    """The score with its interval."""
    return quality_text(line.quality.score, line.quality.metric) if line.quality else NOTHING


def contrast_column(name: str, lines: Sequence[Line], paired: bool) -> Column[Line]:
    """What each line's quality differs by from that of its rival; where `paired`, on the same test tasks alone."""
    word = metric_word(lines)
    shares = {line.quality.metric for line in lines if line.quality} == {"accuracy"}
    title = f"{word} {'-' if shares else '÷'} {name}"

    def found(line: Line) -> Contrast | None:
        one = contrast(line.bundle, line.rival) if line.rival and line.rival is not line.bundle else None
        return one if one and (one.paired or not paired) else None

    def text(line: Line) -> str:
        if line.rival is line.bundle and line.quality and any(map(found, lines)):
            return Valued("0", 0.0) if shares else Valued("1", 1.0)
        one = found(line)
        return contrast_text(one.figure, line.quality.metric) + line.mark if one and line.quality else NOTHING

    def notes(lines: Sequence[Line]) -> list[str]:
        shown = [one for one in map(found, lines) if one]
        if not shown:
            return []
        what = "in percentage points (pp)" if shares else "a quotient, whose mean over seeds is geometric"
        how = "on the same test tasks, task by task" if all(one.paired for one in shown) else "as of independent tasks"
        held = "seeds and test tasks" if any(one.seeds > 1 for one in shown) else "test tasks"
        return [f"{title}: {what}, over the same training seeds, {how}. 95 % CI over {held}."]

    return Column(title, text, droppable=True, notes=notes)


def seeds_text(line: Line) -> str:
    """How many training seeds the score is of, and how many there should be."""
    wanted, found = len(line.bundle.seeds()), line.quality.seeds if line.quality else 0
    if found != wanted:
        return f"{found} of {wanted}"
    return "1 seed" if found == 1 else str(found)
