"""Cells as jobs: which are larger than others, and of which a busy machine is noted."""

import pytest
from msgspec.structs import replace

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.sweep import jobs
from metabench.sweep.jobs import Job, is_larger, now, observed
from metabench.sweep.spec import Settings

CELL = Cell(algorithm="maml", task="omniglot", train_ways=5, train_shots=1)


def test_larger_cells_of_the_same_line():
    parameters = {"conv4-64": 100, "conv4-128": 400}

    def larger(**changes):
        return is_larger(replace(CELL, **changes), CELL, parameters.__getitem__)

    assert larger(meta_batch=8)
    assert larger(inner_steps=5, model="conv4-128")
    assert larger(seed=3)
    assert not larger(meta_batch=2, inner_steps=5)
    assert not larger(engine="vmap", meta_batch=8)
    assert not is_larger(CELL, replace(CELL, model="conv4-128"), parameters.__getitem__)


def test_a_cell_on_other_images_is_no_larger_one():
    folder = replace(CELL, task="images", path="birds")
    assert is_larger(replace(folder, meta_batch=8), folder, len)
    assert not is_larger(replace(folder, meta_batch=8, path="fish"), folder, len)
    assert not is_larger(replace(folder, meta_batch=8, image_size=84), folder, len)


@pytest.mark.parametrize(
    ("measure", "noted"),
    [(("time", "memory"), 1), (("phases",), 1), (("energy",), 1), (("memory",), 0), (("memory", "quality"), 0)],
)
def test_other_programs_are_noted_of_what_they_change_alone(monkeypatch, measure, noted):
    def run_cell(cell, round_, *_, **__):
        return Measurement(id=cell.id, round=round_, status="ok", cell=cell, started=now(), seconds=0.0)

    monkeypatch.setattr(jobs, "run_cell", run_cell)
    monkeypatch.setattr(jobs, "disturbances", lambda *_: ["other programs were busy"])
    monkeypatch.setattr(jobs, "swapping", lambda *_: [])
    found = observed(Job(replace(CELL, measure=measure), 0), Settings(), None)
    assert len(found.warnings) == noted
