import pytest

from metabench.errors import UserError, unknown
from metabench.text import LONGEST_SENTENCE, file_name, one_line, printable, sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.2 ms ± 3 % × θ′ 日本", "1.2 ms ± 3 % × θ′ 日本"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("two\r\nlines\0", r"two\r\nlines\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("half \ud800 a pair", r"half \ud800 a pair"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_nothing_steers_a_terminal(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_white_space_is_a_space():
    assert one_line(" a\n\tb\u2028c\x1b ") == r"a b c\x1b"


def test_a_name_for_a_file_is_one_on_every_system():
    assert file_name("sub/mine.py:SignMAML-my.py:build") == "sub-mine.py-SignMAML-my.py-build"
    assert file_name("maml++-loop") == "maml++-loop"


def test_a_sentence_is_of_bounded_length():
    assert sentence("a" * LONGEST_SENTENCE) == "a" * LONGEST_SENTENCE
    assert sentence("a" * 10**6) == "a" * (LONGEST_SENTENCE - 1) + "…"
    assert len(sentence("\x1b" * 10**6)) == LONGEST_SENTENCE


def test_errors_quote_others_safely():
    assert str(UserError("no \x1b[2J\nhere")) == r"no \x1b[2J\nhere"
    said = str(unknown("axis", "inner_stepz" * 10**5, ["inner_steps"]))
    assert len(said) < 400
