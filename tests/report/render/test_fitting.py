"""Tables and paragraphs that fit a terminal."""

import pytest

from metabench.report.render.fitting import fitted, width_of_output, wrapped

ROWS = [("maml", "a gradient through the inner loop, second derivatives and all", "12"), ("reptile", "", "3.5")]


def test_a_table_that_fits_is_left_as_it_is():
    assert fitted(("name", "n"), [("a", "1"), ("longer", "2")], 80).splitlines() == [
        "name    n",
        "------  -",
        "a       1",
        "longer  2",
    ]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_the_longest_texts_wrap_and_nothing_is_lost(width):
    lines = fitted(("name", "what it is", "seconds"), ROWS, width).splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split().count("maml") == 1
    words = {word for row in ROWS for text in row for word in text.split()}
    assert words <= set(" ".join(lines).split())  # no word is broken
    assert "12" in lines[2] and "3.5" in lines[-1]


def test_a_word_that_is_wider_than_its_column_is_broken():
    lines = fitted(("a", "b"), [("x" * 50, "y" * 50)], 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 50


def test_what_could_steer_a_terminal_is_escaped():
    assert "\x1b" not in fitted(("a",), [("\x1b[2J",)], 80)
    assert wrapped("two\nlines", 80) == ["two lines"]


def test_a_paragraph_wraps_with_an_indent():
    assert wrapped("one two three", 8, "  ") == ["one two", "  three"]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert width_of_output() == 80
    monkeypatch.setenv("COLUMNS", "5")
    assert width_of_output() == 40
