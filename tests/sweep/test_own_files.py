"""Sweeps that name files of the user's own: from the file to the report, to a repetition, to what they refuse."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.sweep.builtin import find_sweep, sources_of
from metabench.sweep.spec import load_sweep

MINE = """
from metabench.algorithms.maml import MAML
from metabench.algorithms.presets import Preset
from near import FACTOR


class Mine(MAML):
    source = "a test"
    presets = {"tuned/sinusoid": Preset("a test", "mlp-40x2", 0.01, 1, 1, 2, 5, 3)}

    def objective(self, meta, anchor, task):
        return FACTOR * super().objective(meta, anchor, task)


def build(algorithm):
    from metabench.engines.base import mean_over_tasks

    return mean_over_tasks(algorithm.task_direction)
"""
SWEEP = """
[run]
noise_pairs = 0
[defaults]
task = "sinusoid"
measure = "memory"
[[grid]]
algorithm = "mine.py:Mine"
preset = "tuned"
engine = ["loop", "mine:build"]
exclude = [{ algorithm = "mine.py:Mine", engine = "loop" }]
include = [{ algorithm = "maml", preset = "quick", engine = "mine.py:build" }]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which a sweep with its files stands, in a folder of its own."""
    folder = tmp_path_factory.mktemp("place")
    own = folder / "own"
    own.mkdir()
    (own / "mine.py").write_text(MINE)
    (own / "near.py").write_text("FACTOR = 2\n")
    for where in (folder, own):
        (where / "numpy.py").write_text("raise ValueError('of the user')\n")
    (own / "sweep.toml").write_text(SWEEP)
    return folder


@pytest.fixture
def run(place, in_plugin, tmp_path):
    """The folder of a run of that sweep, in a copy of the files."""
    if not (place / "run").exists():
        command = [sys.executable, "-P", "-m", "metabench", "run", "own/sweep.toml", "--out", "run"]
        done = subprocess.run(command, cwd=place, env=in_plugin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for folder in ("own", "run"):
        shutil.copytree(place / folder, tmp_path / folder)
    return tmp_path / "run"


def rows(folder):
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def test_files_are_measured_recorded_kept_and_found_again(run, metabench):
    own = run.parent / "own"
    digests = {name: hashlib.sha256((own / name).read_bytes()).hexdigest() for name in ("mine.py", "near.py")}
    found = {(row["cell"]["algorithm"], row["cell"]["engine"]): row for row in rows(run)}
    assert {key: (row["status"], row["sources"]) for key, row in found.items()} == {
        ("mine.py:Mine", "mine:build"): ("ok", digests),
        ("maml", "mine.py:build"): ("ok", digests),
    }
    assert found["mine.py:Mine", "mine:build"]["cell"]["meta_batch"] == 2  # of its preset
    assert {file.name: file.read_bytes() for file in (run / "sources").iterdir()} == {
        name: (own / name).read_bytes() for name in digests
    }
    assert sorted(file.name for file in own.iterdir()) == ["mine.py", "near.py", "numpy.py", "sweep.toml"]
    shutil.rmtree(own)
    done = metabench("report", "run", "--full")  # reports need no files
    assert done.returncode == 0, done.stderr
    listed = "; ".join(f"{name} (sha256 {digest[:12]})" for name, digest in digests.items())
    assert listed in (run / "tables.md").read_text() and listed in (run / "report.html").read_text()
    done = metabench("run", "run/sweep.toml", "--dry-run")
    assert done.returncode == 0 and "mine.py:Mine" in done.stdout, done.stderr


def test_a_run_does_not_go_on_with_a_file_that_has_changed(run, metabench):
    (run.parent / "own" / "near.py").write_text("FACTOR = 3\n")
    done = metabench("run", "own/sweep.toml", "--out", "run", "--resume")
    assert done.returncode == 2
    assert "the file 'near.py' has changed since rows of 'run' were measured: put it back as it is" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("algorithm=mine.py:Mien", "'mine.py' has no 'Mien': did you mean 'Mine'?"),
        ("engine=mine.py:Mine", "it is the class Mine, where an Engine or a function build(algorithm)"),
        ("algorithm=numpy.py:Mine", "'numpy.py' has the name of a module"),
        ("algorithm=nine.py:Mine", "there is no file 'nine.py' in 'own': did you mean 'mine.py'?"),
    ],
)
def test_a_mistake_is_one_sentence(place, monkeypatch, name, words):
    monkeypatch.chdir(place)
    axis, _, name = name.partition("=")
    with pytest.raises(UserError) as error:
        load_sweep(Path("own/sweep.toml"), {axis: [name]}, 1)
    assert words in str(error.value)


def test_a_mistake_ends_a_command_before_anything_is_measured(place, metabench, tmp_path):
    (tmp_path / "mine.py").write_text("\nimport nothing_that_is_there\n")
    for command in (("run", "first", "--set", "algorithm=mine.py:Mine", "--out", "run"), ("verify", "mine.py:Mine")):
        done = metabench(*command)
        sentence = "line 2 of 'mine.py' raises ModuleNotFoundError: No module named 'nothing_that_is_there'"
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"metabench: algorithm 'mine.py:Mine': {sentence}\n"
    assert not (tmp_path / "run").exists()


def test_the_folder_in_which_a_sweep_looks_for_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sources_of(find_sweep("first")) == tmp_path
    assert sources_of(Path("run/sweep.toml")) == tmp_path / "run"
    (tmp_path / "run" / "sources").mkdir(parents=True)
    assert sources_of(Path("run/sweep.toml")) == tmp_path / "run"
    (tmp_path / "run" / "measurements.jsonl").write_text("")
    assert sources_of(Path("run/sweep.toml")) == tmp_path / "run" / "sources"
    assert sources_of(Path("run/other.toml")) == tmp_path / "run"
