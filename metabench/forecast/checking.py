"""Tests the model on steps of several processes, which it predicts without having seen them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from metabench.forecast.measured import MeasuredLine, Shared, costs
from metabench.forecast.model import Link, ring
from metabench.forecast.text import MEASURED_AXES, by_setting, change_text, share_text, two
from metabench.report.numbers import duration_text, time_text
from metabench.report.render.tables import Table

UNEVEN = (
    "communication, measured: where tasks cannot be shared evenly, the leading process waits for a task more "
    "of another. That wait is left out."
)


@dataclass(frozen=True)
class Network:
    """What communication takes on the measured machine."""

    link: Link
    wait: float
    """Wait for the slowest process, as a share of compute."""

    def seconds(self, line: MeasuredLine, shared: Shared) -> float:
        """Seconds of communication in an iteration, the wait for the slowest included."""
        moved = ring(shared.cell.world_size, line.direction_bytes, self.link)
        return moved + self.wait * line.compute(shared.own_tasks)


def fit_network(observed: Sequence[tuple[MeasuredLine, Shared]]) -> Network | None:
    """Latency, bandwidth and wait, none below 0, by least squares of relative errors; None without observations.

    They are fitted to the seconds spent in the all-reduce, never to the time of a step.
    """
    if not observed:
        return None
    rows = []
    for line, shared in observed:
        steps = 2 * (shared.cell.world_size - 1)
        rows.append((steps, steps / shared.cell.world_size * line.direction_bytes, line.compute(shared.own_tasks)))
    spent = [shared.communication_s for _, shared in observed]
    latency, each_byte, wait = costs(rows, spent, [shared.all_reduce_s for _, shared in observed])
    return Network(Link(latency, 1 / each_byte if each_byte else float("inf")), wait)


@dataclass(frozen=True)
class Check:
    """A measured step of several processes, and what the model predicts without having seen it."""

    line: MeasuredLine
    shared: Shared
    compute: float
    communication: float

    @property
    def predicted(self) -> float:
        """Seconds of a step."""
        return self.compute + self.communication

    @property
    def error(self) -> float:
        """Error of the prediction, as a share of what was measured."""
        return self.predicted / self.shared.step.value - 1


def checks(found: Iterable[MeasuredLine]) -> list[Check]:
    """Each measured cell of several processes, predicted from cells of one and from all other communication."""
    observed = [(line, shared) for line in found if line.time for shared in line.shared]
    made = []
    for at, (line, shared) in enumerate(observed):
        if network := fit_network([*observed[:at], *observed[at + 1 :]]):
            made.append(Check(line, shared, line.compute(shared.own_tasks), network.seconds(line, shared)))
    return made


def check_tables(found: Sequence[Check], data: Mapping[str, str]) -> Iterator[Table]:
    """A table for each setting that was measured with several processes."""
    network = fit_network([(check.line, check.shared) for check in found])
    if network is None:
        return
    columns = (
        *("implementation", "processes", "tasks", "compute", "communication", "step time"),
        *("communication, measured", "step time, measured", "error"),
    )
    notes = (
        "compute: the straight line of one process's time against its tasks, at the tasks of the process with most.",
        "communication: 2(p - 1)·latency + 2(p - 1)/p·bytes / bandwidth, and a wait that is a share of compute. The "
        "three are fitted to what all other configurations spent in the all-reduce, never to a step's time. Fitted to "
        f"all: latency {duration_text(network.link.latency_s)}, bandwidth {_bandwidth(network.link.bandwidth)}, wait "
        f"{share_text(network.wait)}.",
        "error: of the predicted step time.",
    )
    for where, group in by_setting(found, lambda check: check.line.cell, MEASURED_AXES, data).items():
        laws = {check.line.name: check.line.time for check in group}
        bent = [name for name, law in laws.items() if law and not law.straight]
        said = [f"Not a straight line within 5 % of its rise: {', '.join(bent)}."] if bent else []
        said += [UNEVEN] if any(check.shared.ahead_s for check in group) else []
        yield Table(
            f"Predicted and measured: {where}",
            "A step of several processes, predicted from configurations of one process, and as it was measured.",
            columns,
            tuple(map(_check_row, group)),
            (*notes, *said),
            tuple(tuple(sorted({*check.line.ids, *check.shared.ids})) for check in group),
        )


def _bandwidth(value: float) -> str:
    return "without limit" if value == float("inf") else f"{two(value / 1e9)} GB/s"


def _check_row(check: Check) -> tuple[str, ...]:
    shared = check.shared
    return (
        check.line.name,
        str(shared.cell.world_size),
        str(shared.cell.meta_batch),
        duration_text(check.compute),
        duration_text(check.communication),
        duration_text(check.predicted),
        duration_text(shared.communication_s),
        time_text(shared.step),
        change_text(check.error),
    )


def check_verdict(found: Sequence[Check]) -> str:
    """How far the model is off, in a sentence."""
    if not found:
        return (
            "cannot tell: the run has no two configurations of several processes whose laws and communication are known"
        )
    errors = sorted(abs(check.error) for check in found)
    return (
        f"a step of several processes is missed by {share_text(median(errors))} in the median of {len(errors)} "
        f"configurations, and by {share_text(errors[-1])} at the most"
    )
