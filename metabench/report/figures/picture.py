"""A picture of a run: what it says, the figures in it, and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

PLOTS = "plots"
"""The folder of pictures within that of a run."""


@dataclass(frozen=True)
class Picture:
    """One picture; its files are `NAME.svg`, `NAME.png` and `NAME.csv`."""

    name: str
    title: str
    """What it shows, as a heading."""
    says: str
    """One or two sentences: how to read it."""
    data: pd.DataFrame
    """What is drawn, a row for each mark; the column `cells` names the rows of results.csv behind it."""
    draw: Callable[[], Figure]
