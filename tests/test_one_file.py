"""A new algorithm, engine, model or task distribution is one file in its folder, and nothing else is edited."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from places import ROOT

ALGORITHM = """
from dataclasses import dataclass
from itertools import repeat

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend


@ALGORITHMS.register("maml-prox")
@dataclass(frozen=True)
class ProximalMAML(Algorithm):
    pull: float = 2.0

    def trajectory(self, meta, support):
        return descend(self, self.loss, meta, repeat((support, meta), self.inner_steps))

    def loss(self, params, batch):
        support, meta = batch
        away = sum((p - meta[name]).square().sum() for name, p in params.items())
        return self.learner.loss(params, support) + self.pull / 2 * away

    def objective(self, meta, anchor, task):
        return self.learner.loss(self.adapt(meta, task.support), task.query)
"""
ENGINE = """
from metabench.engines import loop
from metabench.engines.base import ENGINES, Engine
from metabench.tensors import Batch, Task


def build(algorithm):
    step = loop.build(algorithm)

    def backwards(meta, episodes):
        support, query = (Batch(b.x.flip(0), b.y.flip(0)) for b in (episodes.support, episodes.query))
        return step(meta, Task(support, query, episodes.classes.flip(0)))

    return backwards


ENGINES.register("backwards")(Engine("the last task first", build))
"""
MODEL = """
import math

from metabench.models.base import MODELS
from metabench.models.mlp import MLP

MODELS.register("tiny")(lambda input_shape, outputs: MLP(math.prod(input_shape), outputs, 8, 1))
"""
TASK = """
from dataclasses import dataclass

import torch

from metabench.tasks.base import ALL, TASKS, DeviceTasks, EpisodeShape, Provenance, TaskSource
from metabench.tensors import Batch, Task


@dataclass(frozen=True)
class Lines(DeviceTasks):
    shape: EpisodeShape

    kind = "regression"
    input_shape = (1,)
    outputs = 1
    training_classes = 0
    provenance = Provenance("lines through zero", "0" * 64)

    def draw(self, split, tasks, generator, share=ALL):
        return torch.randn(tasks, 1 + self.shape.shots + self.shape.query, 1, generator=generator)[share]

    def make(self, drawn, like):
        slope, x = drawn.to(like.dtype).tensor_split([1], dim=1)
        support, query = (Batch(x, slope * x) for x in x.tensor_split([self.shape.shots], dim=1))
        return Task(support, query, torch.zeros(len(x), 1, dtype=torch.int64, device=drawn.device))


TASKS.register("lines")(TaskSource("regression", lambda shape, data_dir: Lines(shape)))
"""
FILES = {
    "algorithms/maml_prox.py": ALGORITHM,
    "engines/backwards.py": ENGINE,
    "models/tiny.py": MODEL,
    "tasks/lines.py": TASK,
}
SWEEP = """
[run]
noise_pairs = 0
time_budget_s = 0.05
[defaults]
task = "sinusoid"
model = "mlp-40x2"
meta_batch = 2
inner_steps = 1
ways = 1
shots = 5
query = 5
iterations = 3
eval_tasks = 5
[[grid]]
algorithm = ["maml", "maml-prox"]
[[grid]]
measure = ["time"]
algorithm = "maml-prox"
inner_steps = 5
[[grid]]
measure = ["time", "quality"]
algorithm = "maml-prox"
engine = "backwards"
model = "tiny"
task = "lines"
"""
TRIED = """
from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.settings import SETTINGS
from metabench.correctness.verification import verify
from metabench.engines.base import ENGINES
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS

print(ALGORITHMS.origin("maml-prox"), ENGINES.origin("backwards"), MODELS.origin("tiny"), TASKS.origin("lines"))
print(*(v.word for v in verify(["maml-prox"], ["loop", "backwards"], SETTINGS[:1])))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Runs Python on a copy of the package that has four files more."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "metabench", folder / "metabench", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (folder / "metabench" / name).write_text(text)

    def python(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300"}
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return python


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def sections(run, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of a run of them all, by section."""
    (folder / "one-file.toml").write_text(SWEEP)
    sweep = ("run", str(folder / "one-file.toml"), "--out", str(folder / "run"), "--set", "seed=7", "--json")
    return {section["title"]: section["tables"] for section in json.loads(run("-m", "metabench", *sweep))["sections"]}


def test_each_is_registered_and_algorithm_and_engine_are_verified(run):
    assert run("-c", TRIED).split() == ["metabench"] * 4 + ["ok"] * 2


def test_each_is_measured(sections, folder):
    rows = [json.loads(line) for line in (folder / "run" / "measurements.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 4
    for row in rows:
        assert (row["implementation"]["family"], row["implementation"]["order"]) == ("gradient-based", "second")


def test_each_stands_in_the_tables_of_its_group(sections):
    costs = {table["title"]: table for table in sections["Cost and quality"] if table["title"].startswith("Cost")}
    (beside,) = [table for table in costs.values() if [row[0] for row in table["rows"]] == ["maml", "maml-prox"]]
    ratio = beside["columns"].index("relative time (maml = 1)")
    assert all(line[ratio] > 0 for line in beside["values"])
    (own,) = [title for title in costs if "lines through zero" in title]
    assert "tiny, engine backwards" in own
    assert [row[0] for row in costs[own]["rows"]] == ["maml-prox"]


def test_the_algorithm_has_a_law_of_growth_and_the_theory_of_its_order(sections):
    (table,) = [table for table in sections["Growth"] if table["title"].startswith("Time with inner steps")]
    (row,) = table["rows"]
    found = dict(zip(table["columns"], row, strict=True))
    assert found["algorithm"] == "maml-prox" and {"1", "5"} < found.keys()
    assert found["law"] != "–" and found["theory"].startswith("O(K): ")
