"""Thresholds: what makes a comparison fail."""

from dataclasses import dataclass

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.report.compare.runs import Comparison


@dataclass(frozen=True)
class Failure:
    """A cell that makes the comparison fail, and why."""

    cell: Cell
    reason: str


def parse_share(text: str) -> float:
    """`5%` as 0.05. Raises `UserError`."""
    number = text.removesuffix("%").strip()
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if number == text or not 0 <= share < float("inf"):
        raise UserError(f"--fail-above takes a percentage such as 5%, not '{text}'")
    return share


def failures(found: Comparison, fail_above: float) -> list[Failure]:
    """What is slower or larger by more than the share `fail_above`; scores that are worse; cells that were ok and give
    nothing any more.

    Times of different machines say nothing of what was changed, and are left out.
    """
    failed = []
    for change in found.cells:
        time, memory = change.time, change.memory
        if time and time.verdict == "slower" and time.ratio.value > 1 + fail_above and found.same_machine:
            figures = f"{time.ratio.value:.2f} [{time.ratio.low:.2f}, {time.ratio.high:.2f}]"
            failed.append(Failure(change.cell, f"its time is {figures} times the base's"))
        if memory and memory.new > memory.base * (1 + fail_above):
            failed.append(Failure(change.cell, f"its peak memory rose from {memory.base} to {memory.new} bytes"))
        if change.lost:
            failed.append(Failure(change.cell, f"it was {change.statuses[0]} and is {change.statuses[1]}"))
    worse = [change.cell for change in found.quality if change.verdict == "worse"]
    return [*failed, *(Failure(cell, "its score is worse") for cell in worse)]
