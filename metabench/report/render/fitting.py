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
    """A table of at most so many columns: texts wrap where that makes the fewest lines more."""
    texts = [[one_line(text) for text in row] for row in (columns, *rows)]
    sizes = _sizes(texts, width)
    head, *body = (_row(row, sizes) for row in texts)
    rule = GAP.join("-" * size for size in sizes)
    return "\n".join(line for lines in (head, [rule], *body) for line in lines)


def _sizes(texts: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column. A word is broken only where there is no other way."""
    lengths = [[len(text) for text in row] for row in texts]
    sizes = [max(column) for column in zip(*lengths, strict=True)]
    words = [max(len(word) for text in column for word in text.split() or [""]) for column in zip(*texts, strict=True)]

    def lines(narrower: int) -> int:
        less = [size - (i == narrower) for i, size in enumerate(sizes)]
        each = [[-(-length // size) for length, size in zip(row, less, strict=True)] for row in lengths]
        return sum(max(row) + sum(row) for row in each)  # a figure that wraps is hard to read, too

    for least in (words, [1] * len(words)):
        while sum(sizes) + len(GAP) * (len(sizes) - 1) > width:
            wide = [i for i, size in enumerate(sizes) if size > least[i]]
            if not wide:
                break
            sizes[min(wide, key=lambda i: (lines(i), -sizes[i]))] -= 1
    return sizes


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a paragraph; those after the first begin with `indent`."""
    return textwrap.wrap(one_line(text), width, subsequent_indent=indent, break_on_hyphens=False)


def _row(texts: Sequence[str], sizes: Sequence[int]) -> list[str]:
    cells = [textwrap.wrap(text, size, break_on_hyphens=False) for text, size in zip(texts, sizes, strict=True)]
    lines = zip_longest(*cells, fillvalue="")
    return [GAP.join(part.ljust(size) for part, size in zip(line, sizes, strict=True)).rstrip() for line in lines]
