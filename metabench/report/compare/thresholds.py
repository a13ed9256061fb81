"""Thresholds: what exceeds one, and what none can vouch for."""

from dataclasses import dataclass

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.report.compare.runs import Comparison
from metabench.report.compare.times import too_few_rounds


@dataclass(frozen=True)
class Failure:
    """A cell that keeps a comparison from passing, and why."""

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
    """What is slower, larger or longer in instructions by more than the share `fail_above`, and scores that are worse.

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
        if (counted := change.instructions) and counted.new > counted.base * (1 + fail_above):
            failed.append(Failure(change.cell, f"its instructions rose from {counted.base:,.0f} to {counted.new:,.0f}"))
    worse = [change.cell for change in found.quality if change.verdict == "worse"]
    return [*failed, *(Failure(cell, "its score is worse") for cell in worse)]


def missing(found: Comparison) -> list[Failure]:
    """Figures of the base that the new run has not: no threshold can vouch for them."""
    lost = [one for one in found.alone if one.side == "base" and one.figures]
    return [Failure(one.cell, f"the base has its {' and '.join(one.figures)}, and {one.why}") for one in lost]


def blind(found: Comparison) -> str:
    """Why no figure of this comparison could exceed any threshold; empty where one could."""
    if found.quality or any(change.memory or change.instructions for change in found.cells):
        return ""
    timed = [change.time for change in found.cells if change.time]
    if not timed:
        return "no figure is in both runs"
    if not found.same_machine:
        return "there are times alone, and they are of different machines"
    if all(time.test is None for time in timed):
        most = max(time.rounds for time in timed)
        return f"there are times alone, and {too_few_rounds(most, len(timed), found.paired)}"
    return ""
