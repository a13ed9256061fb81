"""Runs from Python: what is measured, what is written down, how they end. Processes of cells are stand-ins."""

import signal
import tomllib
from dataclasses import fields
from pathlib import Path
from threading import Thread
from typing import get_type_hints

import numpy as np
import pytest

import metabench as mb
from metabench.record.environment import Machine
from metabench.sweep import environment, jobs
from metabench.sweep.given import RunSettings, read_given
from metabench.sweep.spec import Settings, load_sweep
from runs import made

AXES = {"algorithm": ["maml", "fomaml"], "task": "sinusoid", "inner_steps": [1, 5], "measure": ["time"]}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The cells that were measured; what happens in each can be said by its place."""
    monkeypatch.chdir(tmp_path)
    found = []

    def run_cell(cell, number, settings, data_dir, stop=None, **_):
        found.append(cell)
        run_cell.then.get(len(found), lambda: None)()
        return made(cell, number)

    run_cell.then = {}
    found_by = type("Measured", (), {"cells": found, "then": run_cell.then})
    monkeypatch.setattr(jobs, "run_cell", run_cell)
    monkeypatch.setattr(environment, "fingerprint", lambda threads: Machine())
    monkeypatch.setattr(environment, "short_name", lambda machine: "a machine")
    monkeypatch.setattr(environment, "warnings_now", lambda cells: [])
    return found_by


def points(cells) -> set[tuple[str, int]]:
    return {(cell.algorithm, cell.inner_steps) for cell in cells}


ALL = {("maml", 1), ("maml", 5), ("fomaml", 1), ("fomaml", 5)}


@pytest.mark.parametrize(
    "sweep",
    [
        AXES,
        AXES | {"algorithm": ("maml", "fomaml"), "inner_steps": range(1, 6, 4)},
        AXES | {"inner_steps": np.array([1, 5])},
        [AXES | {"algorithm": "maml"}, AXES | {"algorithm": "fomaml"}],
        {"grid": [AXES], "title": "a title"},
        {"defaults": {"task": "sinusoid"}, "grid": [{"algorithm": "maml", "include": [{"algorithm": "fomaml"}]}]}
        | {"override": {"inner_steps": [1, 5]}},
    ],
    ids=["lists", "tuples", "arrays", "several", "tables", "includes"],
)
def test_axes_are_a_sweep_and_its_folder_keeps_a_file_that_says_the_same(sweep, measured):
    results = mb.run(sweep, "out", noise_pairs=0, rounds=1, progress=False)
    assert points(measured.cells) == ALL and len(results) == 4
    assert results.folder == Path("out")
    kept = load_sweep(Path("out/sweep.toml"), {}, 1)
    assert {cell.id for cell in kept.cells} == {cell.id for cell in measured.cells}
    assert kept.settings.noise_pairs == 0


def test_cells_of_a_run_are_a_sweep(measured):
    first = mb.run(AXES, "first", noise_pairs=0, progress=False)
    again = mb.run([row.cell for row in first.measurements], "again", noise_pairs=0, progress=False)
    assert set(first.frame()["id"]) == set(again.frame()["id"])


def test_a_file_is_a_sweep_whose_axes_and_settings_can_be_replaced(measured, tmp_path):
    (tmp_path / "a.toml").write_text('[run]\nrounds = 3\n[[grid]]\nalgorithm = "maml"\ntask = "sinusoid"\n')
    settings = {"rounds": 2, "noise_pairs": 0}
    results = mb.run("a.toml", "out", set={"inner_steps": [1, 5]}, device="cpu", progress=False, **settings)
    assert points(measured.cells) == {("maml", 1), ("maml", 5)} and len(results) == 4
    kept = tomllib.loads((tmp_path / "out" / "sweep.toml").read_text(encoding="utf-8"))
    assert kept["run"] == {"rounds": 3} and kept["override"]["run"] == settings
    assert load_sweep(tmp_path / "out" / "sweep.toml", {}, 1).settings.rounds == 2


def test_of_a_file_and_of_axes_a_part_can_be_measured(measured, tmp_path):
    (tmp_path / "a.toml").write_text(
        '[[grid]]\nalgorithm = ["maml", "fomaml"]\ntask = "sinusoid"\ninner_steps = [1, 5]\n'
    )
    for number, sweep in enumerate(("a.toml", AXES)):
        out = tmp_path / f"out{number}"
        mb.run(sweep, out, only={"algorithm": "maml", "inner_steps": 5}, noise_pairs=0, rounds=1, progress=False)
        assert points(load_sweep(out / "sweep.toml", {}, 1).cells) == {("maml", 5)}
    assert points(measured.cells) == {("maml", 5)}


def test_without_a_folder_one_is_made_and_nothing_is_said_unless_wanted(measured, capfd):
    results = mb.run(AXES, noise_pairs=0, progress=False)
    assert results.folder.parent == Path("runs") and results.folder.name.startswith("own-")
    assert capfd.readouterr() == ("", "")
    mb.run(AXES, "out", noise_pairs=0)
    out, said = capfd.readouterr()
    assert out == "" and "[4/4]" in said and "threads: 1 for mlp-40x2" in said and "Filled in" in said


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mb.run(AXES | {"inner_step": 1}), "unknown axis 'inner_step': did you mean 'inner_steps'?"),
        (lambda: mb.run(AXES, set={"modle": "x"}), "unknown axis 'modle': did you mean 'model'?"),
        (lambda: mb.run(AXES | {"algorithm": "mmal"}), "unknown algorithm 'mmal': did you mean 'maml'?"),
        (lambda: mb.run("smoek"), "unknown sweep 'smoek': did you mean 'smoke'?"),
        (lambda: mb.run(AXES, round=2), "unknown setting in \\[run\\] 'round': did you mean 'rounds'?"),
        (lambda: mb.run(AXES, rounds=0), "'rounds' in \\[run\\] must be at least 1"),
        (lambda: mb.run(AXES, resume=True), "resume needs out"),
        (lambda: mb.run(AXES, device="gpu"), "unknown device 'gpu'"),
        (lambda: mb.run(3), "a sweep is a name, a TOML file, a dictionary of axes, or a list"),
        (lambda: mb.run(["maml"]), "a sweep is a name, a TOML file, a dictionary of axes, or a list"),
        (lambda: mb.run(AXES | {"algorithm": object()}), "numbers, texts, lists and tables, not object"),
        (
            lambda: mb.run(AXES | {"algorithm": lambda: 3}),
            "only classes and functions at the top of a file",
        ),
        (lambda: mb.run({"grid": [AXES], "run": 3}), "'run' of the sweep must be a dictionary"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_measured(call, says, measured, tmp_path):
    with pytest.raises(mb.UserError, match=says):
        call()
    assert measured.cells == [] and list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_a_run_that_can_be_resumed(measured):
    before = signal.getsignal(signal.SIGINT)
    measured.then[2] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="out='out' and resume=True"):
        mb.run(AXES, "out", noise_pairs=0, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(mb.load("out")) == 2
    results = mb.run(AXES, "out", noise_pairs=0, progress=False, resume=True)
    assert len(results) == 4 and len(measured.cells) == 4
    with pytest.raises(mb.UserError, match="a run already: add resume=True to go on with it, or choose another out$"):
        mb.run(AXES, "out", noise_pairs=0, progress=False)


def test_a_run_can_be_started_in_any_thread(measured):
    thread = Thread(target=lambda: mb.run(AXES, "out", noise_pairs=0, progress=False))
    thread.start()
    thread.join()
    assert len(mb.load("out")) == 4


def test_the_settings_that_editors_know_are_those_of_a_run():
    told = get_type_hints(RunSettings)
    assert told == {field.name: type(field.default) for field in fields(Settings)}


def test_texts_are_kept_whatever_stands_in_them():
    axes = AXES | {"name": 'a "quoted" \\ text,\n\x7f and ü'}
    given = read_given(axes, {}, {}, {}, 1)
    assert tomllib.loads(given.text)["grid"][0]["name"] == axes["name"]


MINE = """
from metabench.algorithms.maml import MAML
import metabench as mb

class Mine(MAML):
    pass

"""
CALL = "results = mb.run({'algorithm': ['mine.py:Mine'], 'task': 'sinusoid'}, 'out', noise_pairs=0, progress=False)\n"


def test_a_class_of_a_file_is_an_axis_by_its_path_or_by_itself(measured, tmp_path, monkeypatch):
    (tmp_path / "mine_algorithms.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import mine_algorithms

    axes = AXES | {"algorithm": [mine_algorithms.Mine, "mine_algorithms.py:Mine"], "inner_steps": 1}
    results = mb.run(axes, "out", noise_pairs=0, progress=False)
    assert [*results.frame()["algorithm"]].count("mine_algorithms:Mine") == 1 and len(results) == 2


def test_a_class_that_only_this_process_sees_is_refused(measured, monkeypatch):
    hidden = type("Hidden", (), {"__module__": "__main__"})
    with pytest.raises(mb.UserError, match="Hidden is seen by this process alone: put it into a file beside"):
        mb.run(AXES | {"algorithm": hidden})


def test_a_file_that_starts_a_run_of_itself_is_told_where_to_put_the_call(measured, tmp_path):
    (tmp_path / "mine.py").write_text(MINE + CALL, encoding="utf-8")
    guard = "'mine.py' calls metabench.run while it is loaded by name: put the call below if __name__"
    with pytest.raises(mb.UserError, match=guard):
        mb.run(AXES | {"algorithm": "mine.py:Mine"}, "out", progress=False)
    assert measured.cells == [] and not (tmp_path / "out").exists()
