"""What a node answers: always JSON, whatever happens to a cell."""

import json
import os
from pathlib import Path
from threading import Event

from dispatch import sweep_of
from listening import Silent
from metabench.errors import UserError
from metabench.machine.revision import revision
from metabench.record.measurement import Measurement
from metabench.sweep import jobs
from metabench.sweep.backends.base import Work
from metabench.sweep.backends.node import Node, task_of
from metabench.sweep.backends.pool import Hello, Lost, reply_of
from metabench.sweep.jobs import Failures
from metabench.sweep.runner import plan
from runs import made

TEXT = '[run]\nnoise_pairs = 0\n[[grid]]\ntask = "{task}"\nalgorithm = "maml"\nmeasure = ["quality"]\niterations = 2\n'


def task(name="sinusoid", data_dir=None):
    sweep = sweep_of(TEXT.format(task=name))
    (job,) = plan(sweep)
    return task_of(job, Work([job], sweep.settings, data_dir, Path(), Failures([], (), None), Silent(), Event()))


def test_it_says_what_it_is():
    hello = reply_of(Node().introduce(1))
    assert isinstance(hello, Hello)
    assert hello.fingerprint.metabench == revision() and hello.fingerprint.threads == 1


def test_our_variables_travel_with_the_cell(monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", "/there")
    text = task()
    monkeypatch.setenv("METABENCH_CACHE", "/here")
    seen = {}

    def run_cell(cell, number, settings, data_dir, stop=None, **_):
        seen.update(cell=cell, number=number, settings=settings, cache=os.environ["METABENCH_CACHE"])
        return made(cell, number, "ok", "", machine="none of its own")

    monkeypatch.setattr(jobs, "run_cell", run_cell)
    reply = reply_of(Node().measure(text))
    sweep = sweep_of(TEXT.format(task="sinusoid"))
    assert (seen["cell"], seen["number"], seen["settings"]) == (sweep.cells[0], 0, sweep.settings)
    assert seen["cache"] == "/there"
    assert isinstance(reply, Measurement) and reply.cell == sweep.cells[0]


def test_a_node_looks_for_the_users_files_where_the_run_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert json.loads(task())["variables"]["METABENCH_SOURCES"] == str(tmp_path)


def test_a_node_without_room_is_lost_with_a_reason(monkeypatch):
    def run_cell(*arguments, **_):
        raise UserError("a cell's process cannot be started")

    monkeypatch.setattr(jobs, "run_cell", run_cell)
    assert reply_of(Node().measure(task())) == Lost("a cell's process cannot be started")


def test_a_cell_that_finds_no_data_says_so(tmp_path):
    found = reply_of(Node().measure(task("omniglot", tmp_path / "nowhere")))
    assert isinstance(found, Measurement) and found.status == "crashed"
    assert "data folder" in found.reason and "does not exist" in found.reason
