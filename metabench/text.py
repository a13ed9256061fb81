"""Text that others wrote, made safe to show: a name or a message never steers a terminal."""

import json
import re
from typing import Any

from msgspec import to_builtins

LONGEST_SENTENCE = 2000
_NOT_IN_FILES = re.compile(r"[^A-Za-z0-9_.+-]+")


def printable(text: str) -> str:
    """`text` with everything that cannot be seen as its escape: an ANSI sequence reads `\\x1b[2J` and does nothing.

    That is control characters, line breaks among them, marks that reverse the direction of writing, unpaired
    surrogates, which no file can hold.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """A printable text on one line, with any white space as a single space."""
    return printable(" ".join(text.split()))


def file_name(text: str) -> str:
    """A name that every system allows for a file, made of a text such as `sub/mine.py:SignMAML`."""
    return _NOT_IN_FILES.sub("-", text).strip("-. ")


def counted(number: int, noun: str) -> str:
    """`1 round`, `3 rounds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span(seconds: float) -> str:
    """A span of time in whole seconds, minutes, or hours and minutes."""
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def sentence(text: str) -> str:
    """A message that a reader can be shown: printable, and of a bounded length."""
    text = printable(text[: LONGEST_SENTENCE + 1])
    return text if len(text) <= LONGEST_SENTENCE else text[: LONGEST_SENTENCE - 1] + "…"


def strict_json(found: object) -> str:
    """What a command prints for programs. Raises ValueError for what JSON does not have: NaN, infinity."""
    return json.dumps(found, indent=2, allow_nan=False, default=_plain)


def _plain(record: Any) -> Any:
    """A record as JSON has it."""
    return record.to_json() if hasattr(record, "to_json") else to_builtins(record)
