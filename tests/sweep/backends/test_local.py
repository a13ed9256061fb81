"""The backend of this machine: which cells share a server."""

from threading import Event

import pytest
from msgspec.structs import replace

from listening import Silent
from metabench.record.cell import Cell
from metabench.record.measurement import SIDES, Noise
from metabench.sweep import jobs
from metabench.sweep.backends.base import Work
from metabench.sweep.backends.local import Local, sharing
from metabench.sweep.jobs import Failures, Job
from metabench.sweep.noise import spread
from metabench.sweep.spec import Settings
from runs import made

CELLS = [Cell(algorithm=name, task="sinusoid") for name in ("maml", "fomaml", "anil", "reptile")]


def test_what_trains_side_by_side_is_skipped_where_memory_ran_out_already(tmp_path, monkeypatch):
    trained = [replace(CELLS[0], inner_steps=steps, measure=("quality",)) for steps in (1, 2, 3)]
    small, *_ = planned = [Job(cell, 0) for cell in trained]
    failures = Failures([], trained, None)
    failures.note(small, small.without("oom", "no memory left"))
    monkeypatch.setattr(jobs, "run_cell", lambda cell, number, *_, **__: made(cell, number))
    work = Work(planned, Settings(side_by_side=2), None, tmp_path, failures, Silent(), Event())
    found = {job.cell.inner_steps: row for job, row in Local().measure(work)}
    assert {row.status for row in found.values()} == {"skipped"} and len(found) == 3
    assert found[3].reason.startswith("memory ran out already at ")
    work = Work(planned, Settings(side_by_side=2), None, tmp_path, Failures([], trained, None), Silent(), Event())
    assert {row.status for _, row in Local().measure(work)} == {"ok"}


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
