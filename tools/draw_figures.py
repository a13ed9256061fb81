"""Draws the pictures of documents anew from the runs that they show: `python tools/draw_figures.py FILE…`.

A document says above a picture which figure of which run it is:

    <!-- drawn from results/MACHINE/RUN: FIGURE -->
    ![What it shows](docs/img/FILE.svg)

Runs are named from the current folder, pictures from the document's own.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from metabench.errors import UserError
from metabench.files import MEBIBYTE, read_text
from metabench.report.figures import write_figure

MOST_BYTES = 16 * MEBIBYTE
PICTURE = re.compile(r"<!-- drawn from ([^\s:]+): ([\w-]+) -->\s*!\[[^\]]*\]\(([^)\s]+)\)")


def main(documents: Sequence[str], say: Callable[[str], None] = print) -> int:
    """Write each picture once; exit code 2 for a document, a run or a figure that is not there."""
    try:
        found = [(Path(name), *parts) for name in documents for parts in PICTURE.findall(_text(Path(name)))]
        for document, run, name, picture in found:
            file = document.parent / picture
            file.parent.mkdir(parents=True, exist_ok=True)
            write_figure(Path(run), name, file)
            say(f"{file}: drawn from {run}")
    except UserError as error:
        say(f"metabench: {error}")
        return 2
    return 0


def _text(document: Path) -> str:
    try:
        return read_text(document, MOST_BYTES)
    except FileNotFoundError:
        raise UserError(f"there is no document '{document}'") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
