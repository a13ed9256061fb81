"""What is said of a run while it runs."""

import io
import re

import pytest
from msgspec.structs import replace
from rich.console import Console

from metabench.progress import PER_SECOND, WIDEST, ConsoleProgress
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement, Noise
from metabench.record.timing import Time
from metabench.statistics.intervals import summarise
from metabench.sweep.checkpoints import Pace
from metabench.sweep.jobs import Job
from metabench.sweep.spec import Settings, load_sweep
from metabench.text import span
from runs import made


def test_what_a_cell_says_steers_no_terminal(capsys):
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


def terminal(clock: Clock, width: int) -> ConsoleProgress:
    """On a recorded terminal."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, record=True, legacy_windows=False)
    return ConsoleProgress(console, clock)


@pytest.fixture
def shown(clocked) -> ConsoleProgress:
    return terminal(clocked, 80)


def begin(progress: ConsoleProgress, cells, done: int = 0, **settings) -> None:
    progress.begin([Job(cell, 0) for cell in cells], done, Settings(**settings))


def seen(progress: ConsoleProgress) -> list[str]:
    """The lines at the foot of the terminal."""
    with progress.console.capture() as capture:
        progress.console.print(progress.shown())
    return capture.get().splitlines()


def above(progress: ConsoleProgress) -> list[str]:
    """The lines that stay on the terminal."""
    return [line.rstrip() for line in progress.console.export_text(clear=False).splitlines()]


def test_a_terminal_shows_what_runs_what_is_left_and_the_fastest_so_far(shown, cells, clocked):
    one, *_ = cells
    same = [cell for cell in cells if cell.setting == one.setting]
    (other, *_) = [cell for cell in cells if cell.setting != one.setting]
    by_engine = {cell.engine: cell for cell in same}
    begin(shown, [*same, *same, *same, *same, other], done=2)
    shown.began(Job(by_engine["loop"], 0))
    clocked.now = 7.0
    assert " 2 of 11, " in seen(shown)[0]
    assert seen(shown)[1].startswith("now, for 7 s: maml/loop sinusoid 10 points") and len(seen(shown)) == 2
    shown.finished(measured(by_engine["loop"], 4e-3))
    shown.began(Job(by_engine["vmap"], 0))
    assert " 3 of 11, " in seen(shown)[0]
    assert seen(shown)[2] == "fastest here so far: maml/loop 4.00 ms"
    shown.finished(measured(by_engine["vmap"], 2.1e-4))
    shown.began(Job(by_engine["loop"], 0, Noise(0, "a")))
    assert seen(shown)[2] == "fastest here so far: maml/vmap 210 µs, of 2"
    shown.finished(measured(by_engine["loop"], 1e-5, reference={"pair": 0, "side": "a"}))  # counts for no cell
    shown.began(Job(by_engine["vmap"], 0))
    assert seen(shown)[2] == "fastest here so far: maml/vmap 210 µs, of 2"
    shown.finished(measured(by_engine["vmap"], 0, "crashed", "a reason"))
    shown.began(Job(other, 0))
    assert len(seen(shown)) == 2  # nothing was timed in that setting yet
    assert seen(shown)[0].endswith(", 1 failed")


def test_a_training_that_says_how_far_it_is_is_shown_with_the_time_that_it_takes(cells, clocked):
    shown = terminal(clocked, 120)
    cell = replace(cells[0], measure=("quality",), iterations=60_000, eval_tasks=2)
    paces = {}
    shown.begin([Job(cell, 0)], 0, Settings(time_limit_s=3600), lambda cell: paces.get(cell.id))
    shown.began(Job(cell, 0))
    clocked.now = 330.0
    assert len(seen(shown)) == 2
    paces[cell.id] = Pace(done=6_000, iterations=60_000, first=1_000, seconds=300.0)
    assert seen(shown)[2] == "its training: iteration 6,000 of 60,000 (10%), about 54 min left"
    assert seen(shown)[0].endswith("about 54 min left")
    clocked.now = 3000.0
    assert seen(shown)[2].endswith("about 54 min left; time_limit_s ends it in 10 min")
    shown.stopping = True
    assert seen(shown)[-1].endswith("and to go on with the training later")


def test_finished_measurements_do_not_scroll_by(shown, cells, clocked):
    begin(shown, cells * 5)
    for cell in cells * 5:
        shown.began(Job(cell, 0))
        shown.finished(measured(cell, 4e-3))
        assert len(seen(shown)) <= 3
    assert above(shown)[: -3 * 20] == []  # nothing but what `seen` has printed
    assert "20 of 20" in seen(shown)[0]


def test_failures_and_warnings_stay_once_each(shown, cells):
    begin(shown, cells)
    busy = "memory was swapped meanwhile: close other programs"
    for cell in cells:
        shown.finished(measured(cell, 4e-3, warnings=[busy]))
    shown.finished(measured(cells[0], 0, "crashed", "a reason"))
    shown.finished(measured(cells[0], 0, "crashed", "a reason"))
    shown.finished(measured(cells[1], 0, "oom", "a reason"))
    warning, *lines = above(shown)
    assert warning == f"warning: {busy}"
    assert [line.partition(":")[0] for line in lines] == ["crashed", "  a reason", "oom"]
    assert "3 failed" in seen(shown)[0]


def test_the_time_left_counts_down_between_two_ends(shown, cells, clocked):
    begin(shown, cells[:1] * 100)
    shown.began(Job(cells[0], 0))
    for _ in range(20):
        clocked.now += 12.0
        shown.finished(measured(cells[0], 1e-3))  # in 12 s
        shown.began(Job(cells[0], 0))
    assert "20 of 100, about 16 min left" in seen(shown)[0]
    clocked.now += 12.0
    assert "20 of 100, about 16 min left" in seen(shown)[0]
    clocked.now += 60.0
    for _ in range(5):
        shown.finished(measured(cells[0], 1e-3))
        shown.began(Job(cells[0], 0))
    assert "25 of 100, about 15 min left" in seen(shown)[0]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_on_a_terminal_is_wider_than_it(clocked, cells, width):
    shown = terminal(clocked, width)
    reason = "RuntimeError: [bold]a[/bold] \x1b[2J " + "long " * 50
    begin(shown, cells)
    for cell in cells:
        shown.began(Job(cell, 0))
    assert all(len(line) <= width for line in seen(shown)) and len(seen(shown)) == 2
    for cell in cells:
        shown.finished(measured(cell, 0, "crashed", f"{cell.engine} {reason}", warnings=["whole " * 30 + "end"]))
    text = shown.console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("crashed: maml/") for line in lines) == 4 and "\x1b" not in text
    assert len(re.findall(r"\bend\b", text)) == 1  # a warning is told whole, and once


def test_what_is_shown_live_is_gone_at_the_end(shown, cells):
    with shown:
        begin(shown, cells[:2])
        shown.began(Job(cells[0], 0))
        shown.live.refresh()
        written = shown.console.file.getvalue()
        assert "now, for 0 s: maml/" in written and "\x1b[2J" not in written  # no wiping of the screen
        shown.finished(measured(cells[0], 4e-3))
    assert not shown.live.is_started and shown.live.transient
    assert shown.console.file.getvalue().endswith("\x1b[2K")  # the last line erased
    assert shown.live.refresh_per_second == PER_SECOND <= 4


def test_where_there_is_no_terminal_there_are_plain_lines(cells, clocked, capsys):
    with ConsoleProgress(Console(file=io.StringIO(), width=40), clocked) as plain:
        begin(plain, cells[:2], done=1)
        plain.began(Job(cells[0], 0))
        plain.finished(measured(cells[0], 4e-3))
        plain.finished(measured(cells[1], 0, "oom", "no memory left [b]x[/b] " + "long " * 30 + "end"))
        plain.finished(measured(cells[1], 0, "oom", "no memory left [b]x[/b] " + "long " * 30 + "end"))
    first, second, third, reason, fourth = capsys.readouterr().err.splitlines()
    assert first == "resuming: 1 of 3 measurements are there already"
    where = "sinusoid 10 points mlp-40x2 steps=1 tasks=25 seed=0"
    assert second == f"[2/3] maml/loop: 4.00 ms a step (12 s; less than a minute left), {where}"[:WIDEST]
    assert third.startswith("[3/3] maml/") and ": oom (12 s), " in third
    assert reason.startswith("  no memory left [b]x[/b]") and reason.endswith("end")  # whole, and once
    assert fourth.startswith("[4/3] maml/")
    assert plain.console.file.getvalue() == ""


def test_a_plain_line_is_of_a_bounded_width(cells, capsys):
    cell = replace(cells[0], algorithm="task-adaptive-maml", model="a-network-with-a-long-name")
    plain = ConsoleProgress(Console(file=io.StringIO()), Clock())
    begin(plain, [cell])
    plain.finished(measured(cell, 4e-3))
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= WIDEST and "4.00 ms a step" in line


def test_a_reason_is_shown_whole_once_and_what_was_measured_stands_beside_it(shown, cells, clocked):
    """At the edge of a terminal its end would be lost, and with it the remedy."""
    begin(shown, cells[:2])
    for cell in cells[:2]:
        shown.finished(measured(cell, 4e-3, "unsupported", "vmap cannot " + "long " * 20 + "use loop", phase="quality"))
    said = " ".join(shown.console.export_text().split())
    assert said.count("use loop") == 1
    assert said.count("unsupported in quality, 4.00 ms a step") == 2


def test_what_waits_to_be_measured_again_neither_runs_nor_counts(shown, cells):
    begin(shown, cells[:2])
    for cell in cells[:2]:
        shown.began(Job(cell, 0))
        shown.held(measured(cell, 1.0), f"{cell.engine} was disturbed")
    assert shown.remaining.running == {} and shown.done == 0
    assert above(shown) == [f"warning: {cells[0].engine} was disturbed"]  # the others are counted alone
    assert "2 to measure again" in seen(shown)[0]
    shown.began(Job(cells[0], 0))
    shown.finished(measured(cells[0], 1.0))
    assert shown.done == 1
    assert "1 to measure again" in seen(shown)[0]


def test_elsewhere_than_on_a_terminal_each_reason_to_measure_again_is_whole(cells, capsys):
    plain = ConsoleProgress()
    begin(plain, cells)
    for cell in cells:
        plain.held(measured(cell, 1.0), f"{cell.engine} {cell.inner_steps} {'was disturbed ' * 20}end")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(cells) and all(line.endswith(" end") for line in said)


TRAINED = {"measure": ("time", "quality"), "task": "omniglot", "engine": "vmap", "iterations": 2500}


def test_an_interrupt_says_what_it_waits_for_and_for_how_long(shown, cells, clocked):
    cell = replace(cells[0], **TRAINED)
    begin(shown, [cell, *cells], time_limit_s=600)
    shown.interrupted()
    assert "before the next measurement; interrupt again" in " ".join(seen(shown)[1:])
    shown.began(Job(cell, 0))
    clocked.now = 360.0
    _, *said = seen(shown)
    text = "waiting for maml/vmap on omniglot, which trains for 2500 iterations: about 36 s, at most 4 min"
    assert " ".join(line.strip() for line in said) == f"{text}; interrupt again to end it now"
    assert len(said) == 2 and max(map(len, said)) <= 80
    clocked.now = 420.0
    assert "at most 3 min" in " ".join(seen(shown))  # it is said for as long as it lasts


def test_an_interrupt_is_said_at_once_where_there_is_no_terminal(cells, clocked, capsys):
    plain = ConsoleProgress(Console(file=io.StringIO()), clocked)
    begin(plain, cells, time_limit_s=300, side_by_side=2)
    for cell in cells[:2]:
        plain.began(Job(cell, 0))
    plain.interrupted()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"metabench: waiting for maml/\w+ on sinusoid, and for 1 other measurement: about \d+ s, at most 5 min; "
        "interrupt again to end it now",
        line,
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89.4, "89 s"), (89.6, "1 min"), (3569, "59 min"), (3571, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_spans_of_time(seconds, text):
    assert span(seconds) == text
