"""What all pictures have in common: colours, type, and files that are the same byte for byte for the same run."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from metabench.text import one_line

FORMATS = ("svg", "png")
WIDTH = 9.0  # inches
DPI = 160
LONGEST_LABEL = 200
INK, FAINT, PAPER = "#1a1a1a", "#767676", "#ffffff"
OTHER = "#999999"
ENGINES: Mapping[str, str] = {
    "loop": INK,
    "vmap": "#56b4e9",
    "compile": "#0072b2",
    "compile-tasks": "#004c6d",
    "native": "#d55e00",
    "cudagraph": "#009e73",
    "jax": "#cc79a7",
    "jax-im2col": "#8f4a73",
    "higher": "#e69f00",
    "learn2learn": "#b3a100",
    "torchopt": "#7a6652",
}
"""A colour for each engine, the same in every picture: after Okabe and Ito (2008), whose colours are told apart
whatever colours one sees. No picture tells engines apart by colour alone."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn: no picture tells lines apart by colour alone."""

    colour: str
    marker: str
    line: str
    """Of matplotlib's line styles."""


ALGORITHMS: Mapping[str, Look] = {
    # second order: blue, all of the network adapted; purple, a part of it
    "maml": Look("#0072b2", "o", "-"),
    "maml++": Look("#00304a", "P", "-"),
    "meta-sgd": Look("#56b4e9", "s", "-"),
    "meta-curvature": Look("#3b4cc0", "^", "-"),
    "task-adaptive-maml": Look("#7fa6d6", "v", "-"),
    "anil": Look("#5a1570", "D", "-"),
    "cavia": Look("#b583d1", "d", "-"),
    # implicit: green
    "imaml": Look("#009e73", "X", "-."),
    # first order: vermilion and orange
    "fomaml": Look("#d55e00", "o", "--"),
    "reptile": Look("#e69f00", "s", "--"),
    # metric-based: olive and brown
    "prototypical": Look("#556b00", "^", ":"),
    "prototypical-cosine": Look("#a3a52a", "v", ":"),
    "matching": Look("#8c510a", "<", ":"),
    "matching-fce": Look("#c49a5a", ">", ":"),
    "relation": Look("#4a2c17", "p", ":"),
    # model-based: pink
    "cnp": Look("#cc79a7", "h", ":"),
    # baselines: grey
    "fine-tuning": Look("#6b6b6b", "*", "--"),
    "from-scratch": Look("#a0a0a0", "8", ":"),
}
"""A look for each algorithm, the same in every picture: its hue, after Okabe and Ito, and its line tell its family."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
"""For what has no look of its own, in its order."""
OTHER_LOOK = Look(OTHER, "H", "-")
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,  # not transparent: readable on a dark page
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "metabench",
}


def engine_colour(engine: str) -> str:
    """The engine's colour; one for all that come from outside."""
    return ENGINES.get(engine, OTHER)


def look(algorithm: str) -> Look:
    """The algorithm's look; one for all that come from outside."""
    return ALGORITHMS.get(algorithm, OTHER_LOOK)


def label(text: str) -> str:
    """A text of a run as it may stand in a picture: on one line, of bounded length, and never a formula."""
    return one_line(text)[:LONGEST_LABEL].replace("$", r"\$")


def styled() -> AbstractContextManager[None]:
    """In this context figures are made and drawn alike."""
    return mpl.rc_context({**mpl.rcParamsDefault, **_RC})


def image(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file, without date and version."""
    out = BytesIO()
    with styled():
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=DPI, metadata=metadata)
    return _numbered(out.getvalue()) if kind == "svg" else out.getvalue()


def _numbered(svg: bytes) -> bytes:
    """The names of clip paths and markers by their order: matplotlib takes them from the last digits of places, and
    those of a solver of layouts differ from one time to the next."""
    names: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return names.setdefault(found.group(), b"%s%d" % (found.group()[:1], len(names)))

    return re.sub(rb"\b[mp][0-9a-f]{10}\b", number, svg)
