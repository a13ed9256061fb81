"""The progress of long commands.

A terminal shows a few lines that are written anew: how much is done, what runs, what time is left. Only failures and
warnings stay above them. Elsewhere there is a line for each measurement.
"""

import sys
import time
from collections.abc import Callable, Hashable, Sequence
from statistics import median
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.numbers import duration_text
from metabench.sweep.jobs import Job, PaceOf, unknown
from metabench.sweep.remaining import Remaining
from metabench.sweep.spec import Settings
from metabench.text import counted, printable, span

BAR = 24  # characters
PER_SECOND = 1  # each time takes a little of a core from what is being measured
WIDEST = 120  # characters of a line where there is no terminal


class Leaders:
    """The implementation that is the fastest in a setting so far, by the median over its processes."""

    def __init__(self) -> None:
        self.times: dict[tuple[Any, ...], dict[str, list[float]]] = {}

    def add(self, cell: Cell, seconds: float) -> None:
        self.times.setdefault(cell.setting, {}).setdefault(cell.implementation, []).append(seconds)

    def fastest(self, cell: Cell) -> str:
        """Names the fastest in the setting of that cell, with its time; empty where nothing was timed in it."""
        found = {name: median(times) for name, times in self.times.get(cell.setting, {}).items()}
        if not found:
            return ""
        name = min(found, key=lambda name: found[name])
        return f"{name} {duration_text(found[name])}" + (f", of {len(found)}" if len(found) > 1 else "")


class ConsoleProgress:
    """Writes to standard error, so that tables on standard output can be piped."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.clock = clock
        self.leaders = Leaders()
        self.total = self.done = 0
        self.remaining: Remaining | None = None
        self.said: set[str] = set()
        """Reasons, warnings and failed configurations that have been shown."""
        self.failed = 0
        self.again: set[Hashable] = set()
        """Keys of what is measured again at the end."""
        self.stopping = False
        self.live = Live(console=self.console, get_renderable=self.shown, refresh_per_second=PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def begin(self, left: Sequence[Job], done: int, settings: Settings, pace: PaceOf = unknown) -> None:
        self.total, self.done = len(left) + done, done
        self.remaining = Remaining(left, settings, self.clock, pace)
        self.again = {job.key for job in left if job.again}
        if done:
            self._line(f"resuming: {done} of {self.total} measurements are there already")

    def began(self, job: Job) -> None:
        if self.remaining:
            self.remaining.began(job)

    def lost(self, job: Job) -> None:
        """A node was lost with the job that it measured, which waits again."""
        if self.remaining:
            self.remaining.lost(job)

    def finished(self, measurement: Measurement) -> None:
        self.done += 1
        self.again.discard(measurement.key)
        if self.remaining:
            self.remaining.finished(measurement)
        if measurement.time and not measurement.noise:
            self.leaders.add(measurement.cell, measurement.time.step.median)
        self.failed += measurement.status != "ok"
        if not self.console.is_terminal:
            self._line(self._outcome(measurement))
        elif measurement.status != "ok" and self._is_new(measurement.id):
            self._line(f"{_figures(measurement)}: {measurement.cell.describe()}")
        if measurement.reason and self._is_new(measurement.reason):
            self._line(f"  {measurement.reason}", whole=True)  # since a remedy may stand at its end
        for sentence in measurement.warnings:
            self.warn(sentence)

    def held(self, measurement: Measurement, sentence: str) -> None:
        """Say why a measurement does not count yet: it is made again later."""
        self.again.add(measurement.key)
        if self.remaining:
            self.remaining.put_back(measurement)
        if len(self.again) == 1:
            self.warn(sentence)
        elif not self.console.is_terminal:
            self._line(sentence, whole=True)  # since the reason stands at its end

    def say(self, sentence: str) -> None:
        """Show a sentence whole."""
        self._line(sentence, whole=True)

    def warn(self, sentence: str) -> None:
        if self._is_new(sentence):
            self._line(f"warning: {sentence}", whole=True)

    def interrupted(self) -> None:
        """Say what is waited for after the first Ctrl-C."""
        self.stopping = True
        if self.live.is_started:
            self.live.refresh()
        else:
            self._line(f"metabench: {self.waiting}", whole=True)

    @property
    def waiting(self) -> str:
        """What has to end before the program does, and when that will be."""
        running = list(self.remaining.running.values()) if self.remaining else []
        if not self.remaining or not running:
            return "stopping before the next measurement; interrupt again to stop now"
        now = self.clock()
        rest, cell = max(
            ((self.remaining.rest(cell, now - began), cell) for cell, began in running), key=lambda each: each[0]
        )
        trained = cell.iterations if "quality" in cell.measure else 0
        trains = f", which trains for {trained} iterations" if trained else ""
        more = f", and for {counted(len(running) - 1, 'other measurement')}" if len(running) > 1 else ""
        at_most = max(self.remaining.at_most(now - began) for _, began in running)
        later = ", and to go on with the training later" if self.remaining.pace(cell) else ""
        return (
            f"waiting for {cell.implementation} on {cell.problem}{trains}{more}: about {span(rest)}, at most "
            f"{span(at_most)}; interrupt again to end it now{later}"
        )

    @property
    def left(self) -> str:
        """The time that is left, in words; empty where nothing is left."""
        if not self.remaining or self.done >= self.total:
            return ""
        seconds = self.remaining.seconds
        return "less than a minute left" if seconds < 30 else f"about {span(seconds)} left"

    def shown(self) -> Group:
        """The last lines on a terminal: what is left, what runs, and the fastest in its setting."""
        if not self.total:
            return Group(*([Text(self.waiting)] if self.stopping else []))
        full = BAR * self.done // self.total
        on, off = ("#", ".") if self.console.options.ascii_only else ("━", "─")
        left = "" if self.stopping else self.left
        state = [f"{self.done} of {self.total}", left, f"{self.failed} failed" if self.failed else ""]
        state.append(f"{len(self.again)} to measure again" if self.again else "")
        lines = [_cut(f"{on * full}{off * (BAR - full)} {', '.join(filter(None, state))}")]
        running = list(self.remaining.running.values()) if self.remaining else []
        if self.stopping:
            return Group(*lines, Text(printable(self.waiting), overflow="fold"))
        if running and self.remaining:
            cell, began = running[0]
            elapsed = self.clock() - began
            more = f", with {len(running) - 1} more" if len(running) > 1 else ""
            lines.append(_cut(f"now, for {span(elapsed)}{more}: {cell.describe()}"))
            if pace := self.remaining.pace(cell):
                share, at_most = f"{pace.done / pace.iterations:.0%}", self.remaining.at_most(elapsed)
                ended = f"; time_limit_s ends it in {span(at_most)}" if pace.left > at_most else ""
                done = f"iteration {pace.done:,} of {pace.iterations:,} ({share}), about {span(pace.left)} left{ended}"
                lines.append(_cut(f"its training: {done}"))
            if fastest := self.leaders.fastest(cell):
                lines.append(_cut(f"fastest here so far: {fastest}"))
        return Group(*lines)

    def _outcome(self, measurement: Measurement) -> str:
        """A line on a measurement. Its outcome stands first: what is cut off is the end of the configuration."""
        name, _, where = measurement.cell.describe().partition(" ")
        name += " (noise configuration)" if measurement.noise else ""
        took = f"{span(measurement.seconds or 0.0)}{'; ' if self.left else ''}{self.left}"
        return f"[{self.done}/{self.total}] {name}: {_figures(measurement)} ({took}), {where}"

    def _is_new(self, text: str) -> bool:
        """Whether it is met for the first time."""
        new = text not in self.said
        self.said.add(text)
        return new

    def _line(self, text: str, whole: bool = False) -> None:
        # The text is not interpreted: a reason may hold square brackets, or sequences that steer a terminal. A line
        # is cut at the edge; warnings, and reasons when they are first met, are shown whole.
        text = printable(text)
        if self.console.is_terminal:
            self.console.print(Text(text), no_wrap=not whole, overflow="fold" if whole else "ellipsis")
        else:
            cut = text if whole or len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
            print(cut, file=sys.stderr, flush=True)


def _cut(line: str) -> Text:
    """A line that ends at the edge of the terminal."""
    return Text(printable(line), no_wrap=True, overflow="ellipsis")


def _figures(measurement: Measurement) -> str:
    """What was found, after the status of a row that is not ok, with the phase in which it ended."""
    parts = []
    if measurement.status != "ok":
        phase = f" in {measurement.ended_in}" if measurement.time and measurement.ended_in else ""
        parts.append(measurement.status + phase)
    if measurement.time:
        parts.append(f"{duration_text(measurement.time.step.median)} a step")
    if measurement.quality:
        parts.append(f"{measurement.quality.metric} {measurement.quality.value:.3f}")
    return ", ".join(parts) or "ok"
