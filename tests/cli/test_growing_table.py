"""What is being done is seen before it is done."""

from itertools import count

import pytest

from metabench.cli import growing_table
from metabench.cli.growing_table import GrowingTable


@pytest.fixture
def clock(monkeypatch):
    ticks = count(step=3)
    monkeypatch.setattr(growing_table.time, "perf_counter", lambda: next(ticks))


def test_a_row_shows_first_what_is_being_done_and_then_what_came_of_it(capsys, clock):
    table = GrowingTable(("what", "seconds", "verdict"), (6, 0))
    assert capsys.readouterr().out.splitlines() == ["what    seconds  verdict", "------  -------  -------"]
    table.begin("one")
    assert capsys.readouterr().out == "one   "
    table.end(f"{table.seconds:.1f}", "a long verdict")
    assert capsys.readouterr().out == "  3.0      a long verdict\n"
    table.end("two", "", "well")
    assert capsys.readouterr().out == "two              well\n"


def test_what_a_row_says_steers_no_terminal(capsys):
    GrowingTable(("what", "verdict"), (0,)).end("one", "incorrect: \x1b[2J [b]no[/b]")
    assert capsys.readouterr().out.splitlines()[-1] == "one   incorrect: \\x1b[2J [b]no[/b]"
