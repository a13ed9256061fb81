"""The backend of this machine: which cells share a server."""

import pytest

from metabench.record.cell import Cell
from metabench.record.measurement import SIDES, Noise
from metabench.sweep.backends.local import sharing
from metabench.sweep.jobs import Job
from metabench.sweep.noise import spread

CELLS = [Cell(algorithm=name, task="sinusoid") for name in ("maml", "fomaml", "anil", "reptile")]


def plan(rounds, pairs):
    cells = [Job(cell, number) for number in range(rounds) for cell in CELLS]
    return spread(cells, [[Job(CELLS[0], pair, Noise(pair, side)) for side in SIDES] for pair in range(pairs)])


@pytest.mark.parametrize(
    "rounds, pairs, shared",
    [
        (3, 4, {0: 0, 1: 1, 2: 2}),  # a pair before each repetition; the last one, after all, is alone
        (1, 2, {0: 0}),
        (3, 5, {0: 0, 2: 1, 3: 2}),  # two pairs in the first repetition: the second of them is alone
        (3, 2, {0: 0}),
        (2, 0, {}),
    ],
)
def test_the_first_noise_pair_of_a_repetition_shares_its_server(rounds, pairs, shared):
    assert sharing(plan(rounds, pairs)) == shared
