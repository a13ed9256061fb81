"""Trainings that are ended in the middle, and go on: bit for bit, or not at all."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from functools import partial

import pytest
import torch

from listening import Silent
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines import native
from metabench.engines.base import ENGINES, Engine, Stepwise
from metabench.engines.function import Made
from metabench.engines.iterations import Iterations
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.sweep import checkpoints, training_code
from metabench.sweep.checkpoints import Checkpoint, Place, is_kept, pace_of, tidy
from metabench.sweep.runner import run_sweep
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.stream import stream
from metabench.training import Nothing, same, train

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 4, 5), None)
ITERATIONS, ENDED = 30, 13
needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


class EndedHere(Exception):
    pass


class Kept(Nothing):
    """A checkpoint in memory: the process ends in the iteration after it was saved."""

    def __init__(self, tasks):
        self.tasks, self.midway = tasks, None

    def load(self):
        if self.midway:
            self.tasks.go_to(self.state)
        return self.midway

    def due(self, done):
        if self.midway and done == self.midway.done + 1:
            raise EndedHere
        return done == ENDED and self.midway is None

    def save(self, midway):
        self.midway, self.state = copy.deepcopy(midway), self.tasks.state.clone()


def made(algorithm="maml", **fields):
    found = ALGORITHMS.get(algorithm)(Learner(MLP(1, 1, 8, 2), "regression"), 0.01, 2, **fields)
    return found, found.init(torch.Generator().manual_seed(1))


def ended_and_gone_on_with(begin, meta, iterations=ITERATIONS):
    """A training, and the same one that was ended once and gone on with by other iterations.

    `begin()` gives its iterations, and what takes them to a stage.
    """

    def go(checkpoint_of):
        tasks = stream(SINUSOID, "train", 3, torch.Generator().manual_seed(5), next(iter(meta.values())))
        iteration, enter = begin()
        return train(iteration, tasks, iterations, score, 3, enter, checkpoint_of(tasks))

    def score(done, point):
        return float(point["head.weight"].sum())

    whole = go(lambda tasks: Nothing())
    held = []
    with pytest.raises(EndedHere):
        go(lambda tasks: held.append(Kept(tasks)) or held[0])
    (first,) = held

    def again(tasks):
        found = Kept(tasks)
        found.midway, found.state = first.midway, first.state
        found.due = lambda done: False
        return found

    return whole, go(again)


def check_alike(whole, later):
    assert [(p.iteration, p.loss, p.value) for p in later.curve] == [
        (p.iteration, p.loss, p.value) for p in whole.curve
    ]
    assert all(torch.equal(later.meta[name], p) for name, p in whole.meta.items())


OUTER = Outer("adam", 1e-3, "cosine", ITERATIONS, clip=0.5)


def stepwise(engine, algorithm, meta, outer):
    return Stepwise(ENGINES.get(engine).build(algorithm), meta, outer)


def uncompiled(algorithm, meta, outer):
    return Iterations(algorithm, meta, outer, lambda function, state, episodes: Made(function))


def by_jax(algorithm, meta, outer):
    pytest.importorskip("jax")
    return ENGINES.get("jax").start(algorithm, meta, outer)


@pytest.mark.parametrize("start", [partial(stepwise, "loop"), partial(stepwise, "vmap"), uncompiled, by_jax])
def test_iterations_go_on_bit_for_bit(start):
    algorithm, meta = made()
    check_alike(*ended_and_gone_on_with(lambda: (start(algorithm, meta, OUTER), same), meta))


@needs_compiler
def test_native_trains_what_changes_in_the_course_of_a_training_and_goes_on_in_the_middle_of_it(monkeypatch):
    """MAML++: stages that differ in numbers alone share what is compiled; the last leaves work out."""
    built = []
    body = native.body_for
    monkeypatch.setattr(native, "body_for", lambda stage, *rest: built.append(stage) or body(stage, *rest))
    axes = {"task": "sinusoid", "algorithm": "maml++", "meta_batch": 3, "iterations": 200, "precision": "float64"}
    axes |= {"model": "mlp-40x2", "inner_steps": 2, "query": 5, "shots": 4, "measure": ["quality"]}
    cells = parse_sweep("test", {"grid": [axes | {"engine": ["native", "vmap"]}]}, "", 1).cells
    one, other = (Workload(cell, SINUSOID) for cell in cells)
    assert len({one.stage(i / 100) for i in range(100)}) == 11, "a stage for each hundredth of the first tenth"
    meta = initial_meta(one.cell, one.algorithm)
    whole, later = ended_and_gone_on_with(lambda: one.training(meta), meta, 200)
    check_alike(whole, later)
    assert len(set(built)) == 2
    truth, _ = ended_and_gone_on_with(lambda: other.training(meta), meta, 200)
    assert relative_error(whole.meta, truth.meta) < 1e-9


def test_what_cannot_go_on_from_another_stage_is_refused(monkeypatch):
    """Iterations of somebody else's that do not take an outer state back."""

    class Fixed:
        pass

    engine = Engine("a stand-in", lambda algorithm: None, lambda algorithm, meta, outer: Fixed())
    monkeypatch.setitem(ENGINES._entries, "loop", engine)
    axes = {"task": "sinusoid", "algorithm": "maml", "first_order": 0.5, "engine": "loop"}
    (cell,) = parse_sweep("test", {"grid": [axes]}, "", 1).cells
    workload = Workload(cell, SINUSOID)
    with pytest.raises(Unsupported, match="cannot go on from another stage"):
        workload.training(initial_meta(cell, workload.algorithm))


def test_tasks_drawn_ahead_of_need_come_after_a_checkpoint_too():
    like = torch.zeros(())

    def begun():
        return stream(SINUSOID, "train", 2, torch.Generator().manual_seed(3), like, ahead=4)

    tasks = begun()
    for _ in range(6):
        tasks()
    state = tasks.state.clone()
    later = [tasks().support.x for _ in range(6)]
    other = begun()
    other()
    other.go_to(state)
    assert all(torch.equal(other().support.x, x) for x in later)


@pytest.fixture
def training(tmp_path, monkeypatch):
    """What makes the checkpoint of one training in a run folder, and what it said."""
    monkeypatch.setattr(checkpoints, "TELL_S", 0.0)
    algorithm, meta = made()

    def begun(facts=None, iterations=ITERATIONS):
        tasks = stream(SINUSOID, "train", 3, torch.Generator().manual_seed(5), next(iter(meta.values())))
        place = Place(tmp_path / checkpoints.FOLDER, "cell", 0.0)
        checkpoint = Checkpoint(place, facts or {"data": "d"}, tasks, meta, iterations, begun.said.append)
        go = partial(train, stepwise("vmap", algorithm, meta, OUTER), tasks)
        return checkpoint, lambda: go(iterations, lambda done, meta: 0.0, 2, checkpoint=checkpoint)

    begun.said, begun.folder = [], tmp_path / checkpoints.FOLDER
    return begun


def test_a_training_is_kept_and_says_how_far_it_is(training):
    _, go = training()
    go()
    assert is_kept(training.folder, "cell") and not is_kept(training.folder, "other")
    pace = pace_of(training.folder, "cell")
    assert (pace.done, pace.iterations, pace.first, pace.left) == (ITERATIONS, ITERATIONS, 0, 0.0)
    checkpoint, go = training()
    assert pace_of(training.folder, "cell")  # of the process before
    assert len(go().curve) == 3 and checkpoint.resumed_at == [ITERATIONS]
    assert training.said == []
    tidy(training.folder, "cell", goes_on=True)
    assert is_kept(training.folder, "cell") and pace_of(training.folder, "cell") is None
    tidy(training.folder, "cell", goes_on=False)
    assert not training.folder.exists()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[: len(content) // 2], "its checkpoint is damaged"),
        (lambda content: b"no checkpoint", "its checkpoint is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_none(training, damage, why):
    training()[1]()
    file = training.folder / "cell.pt"
    file.write_bytes(damage(file.read_bytes()))
    checkpoint, go = training()
    go()
    assert checkpoint.resumed_at == []
    (said,) = training.said
    assert said.startswith("a training that had been ended began anew: ") and why in said


def test_a_checkpoint_of_another_shape_is_none(training):
    training()[1]()
    file = training.folder / "cell.pt"
    document = torch.load(file, weights_only=True)
    torch.save(document | {"meta": {"other": torch.zeros(2)}}, file)
    checkpoint, go = training()
    go()
    assert checkpoint.resumed_at == [] and "damaged" in training.said[0]


def test_a_checkpoint_holds_nothing_but_data(training):
    """What a file would run when it is read is not run."""

    class Harm:
        def __reduce__(self):
            return os.system, ("true",)

    training.folder.mkdir()
    torch.save({"depends_on": Harm()}, training.folder / "cell.pt")
    checkpoint, _ = training()
    assert checkpoint.load() is None and "UnpicklingError" in training.said[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            lambda patch: patch.setattr(training_code, "digest_of_code", lambda: "other"),
            "the code of metabench that trains",
        ),
        (lambda patch: patch.setattr(torch, "__version__", "0.0"), "torch"),
        (lambda patch: patch.setattr(checkpoints, "processor_model", lambda: "another"), "the machine"),
    ],
)
def test_a_checkpoint_of_other_code_library_or_machine_is_not_used(training, change, word, monkeypatch):
    training()[1]()
    change(monkeypatch)
    assert training()[0].load() is None
    assert training.said == [f"a training that had been ended began anew: {word} changed since it was saved"]


def test_what_changed_since_a_training_was_saved(training, monkeypatch):
    def changed():
        return checkpoints.changed_since(training.folder, "cell")

    assert changed() == ""  # nothing is kept
    training()[1]()
    assert changed() == ""
    monkeypatch.setattr(training_code, "digest_of_code", lambda: "other")
    assert changed() == "the code of metabench that trains"
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert changed() == "the code of metabench that trains and torch"
    (training.folder / "cell.pt").write_text("no checkpoint")
    assert changed() == ""  # its process says that it is damaged


def test_a_checkpoint_of_other_data_is_not_used(training):
    training()[1]()
    assert training({"data": "other"})[0].load() is None
    assert training.said == ["a training that had been ended began anew: the data changed since it was saved"]


def test_a_disk_that_refuses_ends_no_training(training):
    training.folder.write_text("a file in the place of the folder")
    assert len(training()[1]().curve) == 3
    (said,) = training.said
    assert said.startswith("the training is not kept while it goes on: ")


def test_where_saving_is_slow_it_is_done_less_often(training, monkeypatch):
    checkpoint, go = training()
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    checkpoint._next_told = checkpoint._next_save = 0.0

    def save(document, stream):
        now[0] += 1.0
        saved.append(document["done"])

    monkeypatch.setattr(checkpoints.torch, "save", save)
    go()
    assert saved == [1, ITERATIONS], "a second of saving is a hundredth of what follows; and the end is kept"


SWEEP = """
[run]
curve_points = 4
checkpoint_s = {every_s}
[[grid]]
task = "sinusoid"
algorithm = "maml"
engine = "vmap"
model = "mlp-40x2"
meta_batch = 4
iterations = {iterations}
eval_tasks = 20
measure = ["quality"]
"""


def rows_of(folder):
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def scores_of(row):
    quality = row["quality"]
    return quality["task_scores"], [(p["iteration"], p["loss"], p["value"]) for p in quality["curve"]]


def test_a_run_that_is_killed_in_the_middle_of_a_training_ends_with_the_same_row(tmp_path):
    """By a real SIGKILL, which no process hears."""
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(SWEEP.format(every_s=0.1, iterations=250))

    def command(out, *more):
        return [sys.executable, "-m", "metabench", "run", str(sweep), "--out", str(tmp_path / out), *more]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command("killed"), start_new_session=True, **quiet)
    kept = tmp_path / "killed" / checkpoints.FOLDER
    end = time.monotonic() + 120
    while not list(kept.glob("*.pt")) and run.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert run.poll() is None, run.communicate()[1]
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not (tmp_path / "killed" / "measurements.jsonl").exists()
    subprocess.run(command("killed", "--resume"), check=True, **quiet)
    subprocess.run(command("whole"), check=True, **quiet)
    (killed,), (whole,) = rows_of(tmp_path / "killed"), rows_of(tmp_path / "whole")
    assert scores_of(killed) == scores_of(whole)
    assert len(killed["quality"]["resumed_at"]) == 1 and whole["quality"]["resumed_at"] == []
    assert not any("anew" in sentence for sentence in killed["warnings"]) and not kept.exists()


def test_a_run_says_at_its_start_which_training_begins_anew(tmp_path):
    text = SWEEP.format(every_s=60, iterations=2)
    sweep = parse_sweep("test", tomllib.loads(text), text, 1)
    (cell,) = sweep.cells
    (tmp_path / checkpoints.FOLDER).mkdir()
    torch.save(
        {"depends_on": {**training_code.code_facts(), "code": "other"}}, tmp_path / checkpoints.FOLDER / f"{cell.id}.pt"
    )
    heard = Silent()
    run_sweep(sweep, tmp_path, resume=True, data_dir=None, progress=heard)
    begun = "begins anew: the code of metabench that trains changed since it was saved"
    assert f"the training of {cell.describe()} {begun}" in heard.warnings
