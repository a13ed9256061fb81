"""Text that fits a terminal: tables whose columns wrap, and paragraphs."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from metabench.text import one_line

GAP = "  "
WIDTH = 100
"""Columns where standard output is no terminal."""
NARROWEST = 40


def width_of_output() -> int:
    """Columns that a line may have."""
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 40)).columns)


def fitted(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> str:
    """A table of at most so many columns: the widest columns wrap, at spaces where there are any."""
    texts = [[one_line(text) for text in row] for row in (columns, *rows)]
    sizes = [max(map(len, column)) for column in zip(*texts, strict=True)]
    words = [max(len(word) for text in column for word in text.split() or [""]) for column in zip(*texts, strict=True)]
    for least in (words, [1] * len(words)):  # words are broken only where there is no other way
        while sum(sizes) + len(GAP) * (len(sizes) - 1) > width:
            wide = [i for i, size in enumerate(sizes) if size > least[i]]
            if not wide:
                break
            sizes[max(wide, key=lambda i: sizes[i])] -= 1
    head, *body = (_row(row, sizes) for row in texts)
    rule = GAP.join("-" * size for size in sizes)
    return "\n".join(line for lines in (head, [rule], *body) for line in lines)


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a paragraph; those after the first begin with `indent`."""
    return textwrap.wrap(one_line(text), width, subsequent_indent=indent, break_on_hyphens=False)


def _row(texts: Sequence[str], sizes: Sequence[int]) -> list[str]:
    cells = [textwrap.wrap(text, size, break_on_hyphens=False) for text, size in zip(texts, sizes, strict=True)]
    lines = zip_longest(*cells, fillvalue="")
    return [GAP.join(part.ljust(size) for part, size in zip(line, sizes, strict=True)).rstrip() for line in lines]
