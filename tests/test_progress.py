"""What is being done is seen before it is done."""

from itertools import count

import pytest

from metabench import progress
from metabench.progress import ConsoleProgress, GrowingTable


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
    with ConsoleProgress() as shown:
        shown.warn("\x1b[2J\x1b]0;owned\x07 two\nlines")
    assert capsys.readouterr().err == "warning: \\x1b[2J\\x1b]0;owned\\x07 two\\nlines\n"
