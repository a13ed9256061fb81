"""Progress of what was called from Python: lines on a terminal, one output in a notebook, or nothing."""

import html
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from metabench.progress import ConsoleProgress
from metabench.record.measurement import Measurement
from metabench.sweep.jobs import Job, PaceOf, Progress, unknown
from metabench.sweep.spec import Settings
from metabench.text import printable

MOST_LINES = 40
"""Lines of a notebook's output; the first of more are left out."""
COLUMNS = 110
"""Characters of its lines."""


class Watched(Progress, Protocol):
    """Progress that is shown while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def say(self, sentence: str) -> None: ...
    def interrupted(self) -> None: ...


class Quiet:
    """Progress that nobody is shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def begin(self, left: Sequence[Job], done: int, settings: Settings, pace: PaceOf = unknown) -> None: ...
    def began(self, job: Job) -> None: ...
    def lost(self, job: Job) -> None: ...
    def finished(self, measurement: Measurement) -> None: ...
    def held(self, measurement: Measurement, sentence: str) -> None: ...
    def say(self, sentence: str) -> None: ...
    def warn(self, sentence: str) -> None: ...
    def interrupted(self) -> None: ...


class NotebookProgress(ConsoleProgress):
    """The lines of a terminal in one output of a notebook, which is written anew at each measurement."""

    def __init__(self, show: Callable[[], Any]) -> None:
        """`show` makes an empty output, and gives what updates it: an IPython `DisplayHandle`."""
        super().__init__(Console(file=io.StringIO(), force_terminal=True, force_jupyter=False, width=COLUMNS))
        self.show = show
        self.lines: list[str] = []
        self.output: Any = None

    def __enter__(self) -> Self:
        self.output = self.show()
        self._update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._update()

    def begin(self, left: Sequence[Job], done: int, settings: Settings, pace: PaceOf = unknown) -> None:
        super().begin(left, done, settings, pace)
        self._update()

    def began(self, job: Job) -> None:
        super().began(job)
        self._update()

    def lost(self, job: Job) -> None:
        super().lost(job)
        self._update()

    def finished(self, measurement: Measurement) -> None:
        super().finished(measurement)
        self._update()

    def interrupted(self) -> None:
        super().interrupted()
        self._update()

    def _line(self, text: str, whole: bool = False) -> None:
        self.lines.append(printable(text) if whole else printable(text)[:COLUMNS])
        self._update()

    def _update(self) -> None:
        if not self.output:
            return
        with self.console.capture() as state:
            self.console.print(self.shown())
        text = "\n".join([*self.lines[-MOST_LINES:], state.get().rstrip()])
        shown = {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        self.output.update(shown, raw=True)


def watched(progress: bool) -> Watched:
    """What shows progress here: a notebook's output, lines on standard error, or nothing where it is not wanted."""
    if not progress:
        return Quiet()
    return NotebookProgress(_output) if Console().is_jupyter else ConsoleProgress()


@contextmanager
def said(progress: bool) -> Iterator[Callable[[str], object]]:
    """A function that shows what is being done, in the place of what it showed before."""
    console = Console(stderr=True, highlight=False)
    if not progress:
        yield lambda sentence: None
    elif console.is_jupyter:
        output = _output()
        yield lambda sentence: output.update({"text/plain": printable(sentence)}, raw=True)
        output.update({"text/plain": ""}, raw=True)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda sentence: live.update(
                Text(printable(sentence), overflow="ellipsis", no_wrap=True), refresh=True
            )
    else:
        yield lambda sentence: None  # a log of hundreds of lines says nothing


def _output() -> Any:
    return import_module("IPython.display").display({"text/plain": ""}, raw=True, display_id=True)
