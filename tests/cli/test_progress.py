"""What is being done is seen before it is done."""

import io
import re
from itertools import count

import pytest
from msgspec.structs import replace
from rich.console import Console

from metabench.cli import progress
from metabench.cli.progress import PER_SECOND, ConsoleProgress, GrowingTable
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.statistics.intervals import summarise
from metabench.sweep.spec import load_sweep
from runs import made


@pytest.fixture
def clock(monkeypatch):
    ticks = count(step=3)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(ticks))


def test_a_row_shows_first_what_is_being_done_and_then_what_came_of_it(capsys, clock):
    table = GrowingTable(("what", "seconds", "verdict"), (6, 0))
    assert capsys.readouterr().out.splitlines() == ["what    seconds  verdict", "------  -------  -------"]
    table.begin("one")
    assert capsys.readouterr().out == "one   "
    table.end(f"{table.seconds:.1f}", "a long verdict")
    assert capsys.readouterr().out == "  3.0      a long verdict\n"
    table.end("two", "", "well")
    assert capsys.readouterr().out == "two              well\n"


def test_what_a_cell_says_steers_no_terminal(capsys):
    GrowingTable(("what", "verdict"), (0,)).end("one", "incorrect: \x1b[2J [b]no[/b]")
    assert capsys.readouterr().out.splitlines()[-1] == "one   incorrect: \\x1b[2J [b]no[/b]"
    with ConsoleProgress() as shown:
        shown.warn("\x1b[2J\x1b]0;owned\x07 two\nlines")
    assert capsys.readouterr().err == "warning: \\x1b[2J\\x1b]0;owned\\x07 two\\nlines\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cells(tmp_path) -> list[Cell]:
    """Two engines in each of two settings."""
    file = tmp_path / "s.toml"
    grid = 'task = "sinusoid"\nalgorithm = "maml"\nengine = ["loop", "vmap"]\ninner_steps = [1, 5]'
    file.write_text(f'[[grid]]\n{grid}\nmeasure = ["time"]\n')
    return list(load_sweep(file, {}, 1).cells)


def measured(cell: Cell, seconds: float, status="ok", reason="", **parts) -> Measurement:
    time = Time(summarise([seconds]), 0.0) if seconds else None
    return replace(made(cell, 0, status, reason, time=time, **parts), seconds=12.0)


@pytest.fixture
def clocked():
    return Clock()


@pytest.fixture
def shown(clocked) -> ConsoleProgress:
    """On a recorded terminal of 70 columns."""
    console = Console(file=io.StringIO(), force_terminal=True, width=70, record=True, legacy_windows=False)
    return ConsoleProgress(console, clocked)


def seen(progress: ConsoleProgress) -> list[str]:
    """The lines at the foot of the terminal."""
    with progress.console.capture() as capture:
        progress.console.print(progress.shown())
    return capture.get().splitlines()


def test_a_terminal_shows_what_runs_what_is_left_and_the_fastest_so_far(shown, cells, clocked):
    one, *_ = cells
    same = [cell for cell in cells if cell.setting == one.setting]
    (other, *_) = [cell for cell in cells if cell.setting != one.setting]
    by_engine = {cell.engine: cell for cell in same}
    shown.begin(total=12, done=2)
    shown.cell(by_engine["loop"])
    clocked.now = 7.0
    assert seen(shown)[0].endswith(" 2 of 12")  # nothing is known of the time yet
    assert seen(shown)[1].startswith("now (7 s): maml/loop sinusoid 10 points") and len(seen(shown)) == 2
    clocked.now = 60.0
    shown.finished(measured(by_engine["loop"], 4e-3))
    shown.cell(by_engine["vmap"])
    assert seen(shown)[0].endswith(" 3 of 12, about 9 min left")
    assert seen(shown)[2] == "fastest here so far: maml/loop 4.00 ms"
    shown.finished(measured(by_engine["vmap"], 2.1e-4))
    shown.cell(by_engine["loop"])
    assert seen(shown)[2] == "fastest here so far: maml/vmap 210 µs, of 2"
    shown.finished(measured(by_engine["loop"], 1e-5, reference={"pair": 0, "side": "a"}))  # counts for no cell
    shown.cell(by_engine["vmap"])
    assert seen(shown)[2] == "fastest here so far: maml/vmap 210 µs, of 2"
    shown.finished(measured(by_engine["vmap"], 0, "crashed", "a reason"))
    shown.cell(other)
    assert len(seen(shown)) == 2  # nothing was timed in that setting yet


def test_the_time_left_counts_down_between_two_ends(shown, cells, clocked):
    shown.begin(total=11, done=0)
    clocked.now = 600.0
    shown.finished(measured(cells[0], 1e-3))
    assert "about 1 h 40 min left" in seen(shown)[0]
    clocked.now = 1200.0
    assert "about 1 h 30 min left" in seen(shown)[0]
    clocked.now = 9000.0
    assert "less than a minute left" in seen(shown)[0]


def test_no_line_on_a_terminal_is_wider_than_it(shown, cells, clocked):
    reason = "RuntimeError: [bold]a[/bold] \x1b[2J " + "long " * 50
    shown.begin(total=4, done=0)
    for cell in cells:
        shown.cell(cell)
    assert [len(line) <= 70 for line in seen(shown)] == [True, True] and seen(shown)[1].endswith("…")
    for cell in cells:
        shown.finished(measured(cell, 0, "crashed", reason, warnings=["whole " * 30 + "end"]))
    text = shown.console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 70
    assert sum(line.startswith("[") for line in lines) == 4  # a line a measurement: none goes on in the next
    assert all(line.rstrip().endswith("…") for line in lines if line.startswith("["))
    assert text.count(": crashed (12.0 s), sinusoid") == 4 and "\x1b" not in text
    assert len(re.findall(r"\bend\b", text)) == 4  # a warning is told whole


def test_what_is_shown_live_is_gone_at_the_end(shown, cells):
    with shown:
        shown.begin(total=2, done=0)
        shown.cell(cells[0])
        shown.live.refresh()
        written = shown.console.file.getvalue()
        assert "now (0 s): maml/" in written and "\x1b[2J" not in written  # no wiping of the screen
        shown.finished(measured(cells[0], 4e-3))
    assert not shown.live.is_started and shown.live.transient
    assert shown.console.file.getvalue().endswith("\x1b[2K")  # the last line erased
    assert shown.live.refresh_per_second == PER_SECOND <= 4


def test_where_there_is_no_terminal_there_are_plain_lines(cells, clocked, capsys):
    with ConsoleProgress(Console(file=io.StringIO(), width=40), clocked) as plain:
        plain.begin(total=3, done=1)
        plain.cell(cells[0])
        clocked.now = 120.0
        plain.finished(measured(cells[0], 4e-3))
        plain.finished(measured(cells[1], 0, "oom", "no memory left [b]x[/b]"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "resuming: 1 of 3 measurements are there already"
    where = "sinusoid 10 points mlp-40x2 steps=1 tasks=25 seed=0"
    assert second == f"[2/3] maml/loop: 4.00 ms a step (12.0 s; about 2 min left), {where}"
    assert third.startswith("[3/3] maml/") and ": oom (12.0 s), " in third and third.endswith("no memory left [b]x[/b]")
    assert plain.console.file.getvalue() == ""


def test_a_reason_is_shown_whole_once_and_what_was_measured_stands_beside_it(shown, cells, clocked):
    """At the edge of a terminal its end would be lost, and with it the remedy."""
    shown.begin(total=2, done=0)
    for cell in cells[:2]:
        shown.finished(measured(cell, 4e-3, "unsupported", "vmap cannot " + "long " * 20 + "use loop", phase="quality"))
    said = " ".join(shown.console.export_text().split())
    assert said.count("use loop") == 1
    assert said.count("unsupported in quality, 4.00 ms a step") == 2


def test_what_waits_to_be_measured_again_neither_runs_nor_counts(shown, cells):
    shown.begin(2, 0)
    shown.cell(cells[0])
    shown.held(measured(cells[0], 1.0), "it was disturbed")
    assert shown.running == {} and shown.pace.done == 0
    assert "warning: it was disturbed" in shown.console.export_text(clear=False)
    shown.cell(cells[0])
    shown.finished(measured(cells[0], 1.0))
    assert shown.pace.done == 1
