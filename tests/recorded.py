"""Timings replayed: recorded ones (`recorded_timings.json`), and synthetic ones of known truth."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

RUNS = 2000
TARGET = (0.93, 0.97)
"""What a 95 % interval must cover; at 2 000 runs chance moves the share by ±0.01."""


def recorded(name: str) -> dict[int, list[float]]:
    """Seconds of a cell by round: `maml` and `reptile` in three, `rising`, `stepping`, `falling` and `few` in one.

    These are of committed runs. `spinning`, `bounded` and `crowded` were timed beside programs that kept cores busy.
    """
    series = json.loads((Path(__file__).parent / "recorded_timings.json").read_text(encoding="utf-8"))
    return {int(number): seconds for number, seconds in series[name]["seconds"].items()}


def recorded_once(name: str) -> list[float]:
    """The seconds of a cell's only round."""
    ((_, seconds),) = recorded(name).items()
    return seconds


LAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, ...]], np.ndarray], float]] = {
    "lognormal": (lambda g, shape: g.lognormal(0, 0.04, shape), 1.0),
    "skewed": (lambda g, shape: 1 + g.exponential(0.04, shape), 1 + 0.04 * np.log(2)),
    "heavy-tailed": (lambda g, shape: 1 + 0.03 * g.standard_t(2, shape), 1.0),
    # the median is that of the lower hump at 5/7 of its mass
    "bimodal": (lambda g, shape: np.where(g.random(shape) < 0.7, 1, 2) + g.normal(0, 0.03, shape), 1.01698),
}
"""Samples of a timing, and the median of the law that they are drawn from."""
