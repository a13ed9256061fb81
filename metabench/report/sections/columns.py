"""Columns that several tables have: status, time, memory, quality, and the ratios to a baseline."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, Quality, status, status_and_reason
from metabench.report.noise import NoiseFloor, ratio_text
from metabench.report.numbers import NOTHING, bytes_text, exact, quality_text, time_text
from metabench.report.sections.base import Column, HasBundle
from metabench.report.sections.device import (
    busy_text,
    device_work,
    energy_notes,
    energy_text,
    joules,
    launches_notes,
    launches_text,
)
from metabench.statistics.ratios import ratio_interval

NOISY = " (noisy)"
METRIC_WORDS = {"accuracy": "accuracy", "mse": "MSE"}


def status_or_nothing(bundle: Bundle) -> str:
    """What stands in place of a figure: the word of what happened, if anything did."""
    word = status(bundle)
    return NOTHING if word == "ok" else word


def step_text(bundle: Bundle) -> str:
    """The time of a meta-iteration with its interval, and whether it is noisy."""
    return time_text(bundle.step) + (NOISY if bundle.noisy else "") if bundle.step else NOTHING


def peak_text(bundle: Bundle) -> str:
    """The peak of memory of a meta-iteration."""
    return bytes_text(bundle.peak.bytes) if bundle.peak else NOTHING


def memory_notes(bundles: Iterable[Bundle]) -> list[str]:
    """How the peaks of memory were found."""
    methods = dict.fromkeys(bundle.peak.method for bundle in bundles if bundle.peak)
    return [f"Peak memory of one meta-iteration, by: {'; '.join(methods)}."] if methods else []


def time_ratio(bundle: Bundle, baseline: Bundle, floor: NoiseFloor | None) -> str:
    """How many times as long one takes as the other, formed within rounds, with its interval."""
    if bundle is baseline:
        return "1" if bundle.samples else NOTHING
    ratio = ratio_interval(bundle.samples, baseline.samples)
    return ratio_text(ratio, floor) if ratio else NOTHING


def memory_ratio(bundle: Bundle, baseline: Bundle) -> str:
    """How many times as much memory one takes as the other, if both were measured alike."""
    if bundle.peak is None or baseline.peak is None or bundle.peak.method != baseline.peak.method:
        return NOTHING
    if bundle is baseline:
        return "1"
    return exact(bundle.peak.bytes / baseline.peak.bytes) if baseline.peak.bytes else NOTHING


class HasCost(HasBundle, Protocol):
    """A line of a table, and the bundle whose time and memory it shows."""

    @property
    def cost(self) -> Bundle: ...


class Compared(HasCost, Protocol):
    """A line, and what its time and memory are divided by, with the mark of a baseline that is not matched."""

    @property
    def baseline(self) -> Bundle | None: ...
    @property
    def mark(self) -> str: ...


def _rows(lines: Iterable[HasCost]) -> list[Measurement]:
    return [row for line in lines for row in line.cost.sound]


IMPLEMENTATION = Column[HasBundle]("implementation", lambda line: line.bundle.cell.implementation)
STATUS = Column[HasBundle]("status", lambda line: status_and_reason(line.bundle))
STEP = Column[HasCost]("step time", lambda line: step_text(line.cost), droppable=True)
PEAK = Column[HasCost](
    "peak memory",
    lambda line: peak_text(line.cost),
    droppable=True,
    notes=lambda lines: memory_notes(line.cost for line in lines),
)
DEVICE = (
    Column[HasCost](
        "launches",
        lambda line: launches_text(device_work(line.cost.sound)),
        droppable=True,
        notes=lambda lines: launches_notes(_rows(lines)),
    ),
    Column[HasCost]("busy", lambda line: busy_text(device_work(line.cost.sound)), droppable=True),
    Column[HasCost](
        "energy",
        lambda line: energy_text(joules(line.cost.sound)),
        droppable=True,
        notes=lambda lines: energy_notes(_rows(lines)),
    ),
)


def compared_columns(name: str, floor: NoiseFloor | None) -> list[Column[Compared]]:
    """Status, time and memory of each line, and its time and memory over those of its baseline."""

    def over(what: str, ratio: Callable[[Bundle, Bundle], str]) -> Column[Compared]:
        def text(line: Compared) -> str:
            found = ratio(line.cost, line.baseline) if line.baseline else NOTHING
            return found if found == NOTHING else found + line.mark

        return Column(f"{what} ÷ {name}", text, droppable=True)

    return [STATUS, STEP, over("time", partial(time_ratio, floor=floor)), *DEVICE, PEAK, over("memory", memory_ratio)]


def metric_word(found: Sequence[Quality | None]) -> str:
    """What the scores of a table are; `quality` where it has several metrics."""
    metrics = {one.metric for one in found if one}
    return METRIC_WORDS.get(min(metrics), min(metrics)) if len(metrics) == 1 else "quality"


def score_text(found: Quality | None) -> str:
    """The score ± half its interval."""
    return quality_text(found.score, found.metric) if found else NOTHING
