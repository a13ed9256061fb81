"""`metabench.advise`: the fastest engine for a setting, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metabench.api.display import ShownTable, list_html
from metabench.api.watching import Watched, watched
from metabench.api.wording import in_python
from metabench.machine.cores import default_threads
from metabench.machine.devices import check_device
from metabench.machine.limits import parse_size
from metabench.record.measurement import Measurement
from metabench.report import advice as judging
from metabench.report.render.tables import escaped
from metabench.sources import refuse_while_loading, use
from metabench.sweep.brief import measure_briefly, sweep_of
from metabench.sweep.spec import Sweep

if TYPE_CHECKING:
    import pandas as pd

TASK = "sinusoid"
"""Task distribution where none is named, as on the command line."""


@dataclass(frozen=True, repr=False)
class Advice:
    """Which engine to take. Notebooks show it as a table with its conclusions, `print` and `repr` as text."""

    found: judging.Advice
    """All that was found, engine by engine, the fastest first."""

    @property
    def fastest(self) -> str | None:
        """Name of the fastest engine; None where no engine could be measured."""
        return self.found.fastest.engine if self.found.fastest else None

    @property
    def fastest_within_limit(self) -> str | None:
        """Name of the fastest engine within the memory limit; None without a limit, or where no engine is within it."""
        choice = self.found.fastest_within_limit
        return choice.engine if choice else None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Advice in plain words."""
        return tuple(judging.sentences(self.found))

    def table(self) -> ShownTable:
        """Give the table of engines, as the terminal shows it."""
        return ShownTable("Advice", judging.table(self.found))

    def frame(self) -> pd.DataFrame:
        """Give a row for each engine, those included that failed: their `status` is not `ok`, `reason` says why.

        Times are seconds of a meta-iteration with the ends of their 95 % intervals, memory is in bytes. `times_as_fast`
        is against the engine that `attrs["baseline"]` names.
        """
        import pandas as pd

        frame = pd.DataFrame(map(_record, self.found.engines))
        frame.attrs = {"baseline": self.found.baseline}
        return frame

    def __repr__(self) -> str:
        return "\n".join([repr(self.table()), "", *self.sentences])

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() + list_html(self.sentences)

    def _repr_markdown_(self) -> str:
        return "\n".join([self.table()._repr_markdown_(), *(f"- {escaped(sentence)}" for sentence in self.sentences)])


class Brief(NamedTuple):
    """What a brief sweep gave."""

    advice: judging.Advice | None
    """What follows from it; None where nothing was measured."""
    done: int
    """Measurements that were made."""
    interrupted: bool


@in_python()
def advise(
    algorithm: str = "maml",
    *,
    engines: str | Sequence[str] = "all",
    own: str | Sequence[str] = (),
    memory_limit: str | None = None,
    rounds: int = 1,
    time_limit: float = 300.0,
    data_dir: str | PathLike[str] | None = None,
    progress: bool = True,
    **axes: str | float | bool,
) -> Advice:
    """Measure engines briefly in one setting, and name the fastest, as `metabench advise` does.

    `axes` are the setting, as in a sweep: `task="sinusoid"`, `model`, `inner_steps`, `meta_batch`, `ways`, `shots`,
    `device`, … What is left out comes from MAML's preset. `memory_limit` is a size such as `"500MiB"`, `time_limit` are
    the seconds after which an engine is given up, and `rounds` is the number of processes that time each engine. `own`
    names engines of yours by path, such as `"my.py:engine"`, which the fastest is held against.

    An engine that fails is a row of the table. Raises `UserError` for a mistake, and KeyboardInterrupt.
    """
    refuse_while_loading("metabench.advise")
    limit = parse_size(memory_limit) if memory_limit is not None else None
    names = engines if isinstance(engines, str) else ",".join(engines)
    mine = [own] if isinstance(own, str) else list(own)
    setting: dict[str, Any] = {"algorithm": algorithm, "task": TASK, **axes}
    use(Path())
    sweep = sweep_of(setting, names, rounds, time_limit, default_threads(), mine)
    measured = measure(sweep, limit, Path(data_dir) if data_dir is not None else None, watched(progress), mine)
    if measured.interrupted or not measured.advice:
        raise KeyboardInterrupt(f"{measured.done} of {rounds * len(sweep.cells)} measurements were made")
    return Advice(measured.advice)


def measure(sweep: Sweep, limit: int | None, data_dir: Path | None, shown: Watched, own: Sequence[str] = ()) -> Brief:
    """Measure a brief sweep, and judge what there is at its end, or when it was interrupted."""
    check_device({cell.device for cell in sweep.cells})
    rows: list[Measurement] = []
    interrupted = True
    with suppress(KeyboardInterrupt), shown:
        for sentence in sweep.filled_in:
            shown.say(sentence)
        for row in measure_briefly(sweep, data_dir, shown):
            rows.append(row)  # one by one: an interrupt leaves what was measured
        interrupted = False
    return Brief(judging.judge(rows, limit, own) if rows else None, len(rows), interrupted)


def _record(candidate: judging.Candidate) -> dict[str, Any]:
    step, ratio, peak = candidate.step, candidate.times_as_fast, candidate.peak
    return {
        "engine": candidate.engine,
        "status": candidate.status,
        "reason": candidate.reason,
        "step_s": step.value if step else None,
        "step_low_s": step.low if step and step.known else None,
        "step_high_s": step.high if step and step.known else None,
        "noisy": candidate.noisy,
        "disturbed": candidate.disturbed,
        "times_as_fast": ratio.value if ratio else None,
        "times_as_fast_low": ratio.low if ratio else None,
        "times_as_fast_high": ratio.high if ratio else None,
        "peak_bytes": peak.bytes if peak else None,
        "peak_method": peak.method if peak else None,
        "compile_s": candidate.compile_s,
        "compile_cache": candidate.compile_cache,
    }
