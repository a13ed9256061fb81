"""What all pictures have in common: colours, type, and files that are the same byte for byte for the same run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
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
    return out.getvalue()
