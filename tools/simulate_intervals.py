"""Writes what the intervals of times cover and tell apart into docs: `python tools/simulate_intervals.py FILE…`.

Runs are simulated of which the truth is known: two cells and the noise pairs, timed at places across the run. The
intervals are those of the reports, by the same functions. A document has the table between two comments:

    <!-- simulated -->
    | repetitions | …
    <!-- end -->
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from metabench.files import MEBIBYTE, read_text, replace_file
from metabench.statistics.ratios import ratio_interval, time_interval
from metabench.statistics.spread import noise_of, spread_of_pairs, typical_spread

MOST_BYTES = 16 * MEBIBYTE
BLOCK = re.compile(r"(<!-- simulated -->\n).*?(<!-- end -->)", re.DOTALL)
ROUNDS = (1, 3, 5, 7, 12)
SAMPLES, WITHIN = 9, 0.003
"""Samples that a process takes, and what they differ by."""
OTHERS = 18
"""Cells of a run beside the two that are compared."""
SEED = 18


@dataclass(frozen=True)
class Scenario:
    """A machine, by deviations of logarithms of times."""

    words: str
    processes: float = 0.03
    """What two processes differ by that run one right after the other."""
    changes: float = 0.0
    """How the machine changes from each configuration to the next, and from each noise pair to the next."""
    drift: float = 0.0
    """How much slower it is at the end of the run than at its start."""
    servers: float = 0.0
    """What two servers differ by: a noise pair has one, and so has a repetition of all configurations."""
    pairs: int = 5
    own: float = 1.0
    """How many times as much the cells' processes differ as those of the noise configuration."""


SCENARIOS: Mapping[str, Scenario] = {
    "processes": Scenario("processes differ by 3 %"),
    "few pairs": Scenario("the same, two noise pairs", pairs=2),
    "servers": Scenario("and each repetition by 3 %, as each pair does", servers=0.03),
    "changes": Scenario("and the machine by 10 % from minute to minute", changes=0.1),
    "drift": Scenario("and the machine gets 10 % slower", drift=0.1),
    "louder": Scenario("the cells differ twice as much as the noise pairs", own=2.0),
}


@dataclass(frozen=True)
class Shares:
    """What share of the simulated runs has an interval that holds the truth, and one that leaves out 1."""

    ratio: float
    time: float
    told_apart: float


def simulate(machine: Scenario, rounds: int, ratio: float = 1.0, runs: int = 1000) -> Shares:
    """The shares over so many runs of two cells of that true ratio. A time's truth is its mean over the run."""
    generator = np.random.default_rng([SEED, rounds])
    held = np.zeros(3)
    for _ in range(runs):
        pairs = _levels(machine, generator, np.linspace(0, 1, machine.pairs))[:, None]
        pairs = pairs + generator.normal(0, machine.processes, (machine.pairs, 2))
        served = np.zeros(rounds)
        if machine.servers:
            pairs = pairs + generator.normal(0, machine.servers, (machine.pairs, 1))
            served = generator.normal(0, machine.servers, rounds)
        others = [served + _centres(machine, generator, rounds) for _ in range(OTHERS)]
        noise = noise_of(spread_of_pairs(pairs), typical_spread(others))
        sides = [_side(machine, generator, served + level) for level in (np.log(ratio), 0.0)]
        found, time = ratio_interval(sides[0], sides[1], noise=noise), time_interval(sides[1], noise)
        assert found and time
        held += found.low <= ratio <= found.high, time.low <= np.exp(machine.drift / 2) <= time.high, found.differs
    return Shares(*(held / runs))


def _side(machine: Scenario, generator: np.random.Generator, levels: NDArray[np.float64]) -> dict[int, list[float]]:
    """Samples of a cell by round, whose logarithms lie about that level in each."""
    centres = levels + _centres(machine, generator, len(levels))
    samples = np.exp(centres[:, None] + generator.normal(0, WITHIN, (len(levels), SAMPLES)))
    return dict(enumerate(samples.tolist()))


def _centres(machine: Scenario, generator: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Logarithms of a cell's times, each at a place of its own within the round's part of the run."""
    places = (np.arange(rounds) + generator.random(rounds)) / rounds
    return _levels(machine, generator, places) + generator.normal(0, machine.own * machine.processes, rounds)


def _levels(machine: Scenario, generator: np.random.Generator, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The machine's state at places of the run, from 0 to 1."""
    levels: NDArray[np.float64] = machine.drift * places + generator.normal(0, machine.changes, len(places))
    return levels


def table() -> str:
    """Coverage of ratios and times, and the share of true differences that are told apart, by repetitions."""
    rows = []
    for rounds in ROUNDS:
        shares = [simulate(machine, rounds) for machine in SCENARIOS.values()]
        powers = [simulate(SCENARIOS["processes"], rounds, ratio).told_apart for ratio in (1.05, 1.1, 1.2)]
        rows.append([rounds, *(f"{100 * one.ratio:.0f}, {100 * one.time:.0f} %" for one in shares)])
        rows[-1] += [f"{100 * power:.0f} %" for power in powers]
    words = [*(machine.words for machine in SCENARIOS.values()), "5 % told apart", "10 %", "20 %"]
    return tabulate(rows, ["repetitions", *words], "github", disable_numparse=True)


def refreshed(text: str, written: str) -> str:
    """A document with the table in the place that it has for it."""
    return BLOCK.sub(lambda found: f"{found[1]}{written}\n{found[2]}", text)


def main(arguments: Sequence[str]) -> int:
    """Write the table into the documents that have a place for it."""
    parser = argparse.ArgumentParser(description="Simulate what the intervals of times cover.")
    parser.add_argument("documents", nargs="+", type=Path, metavar="FILE")
    written = table()
    for file in parser.parse_args(arguments).documents:
        text = read_text(file, MOST_BYTES)
        replace_file(file, refreshed(text, written).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
