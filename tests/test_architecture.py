"""The rooms of the package, and which of them may import which."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from metabench.sweep.training_code import CODE, sources_that_train
from places import ROOT

PACKAGE = ROOT / "metabench"
FLOORS = (
    ("__main__", "metabench"),
    ("cli", "pytest_plugin"),
    ("api",),
    ("progress",),
    ("profile", "report", "forecast", "search", "sweep", "timing"),
    ("correctness", "training", "evaluation", "measure"),
    ("engines",),
    ("algorithms",),
    ("models", "tasks"),
    ("statistics",),
    ("record", "machine", "extras", "grouping"),
    ("autodiff", "tensors", "registry", "sources", "importing", "files", "variables", "text", "errors", "version"),
)
"""The rooms, top to bottom. A room imports from its own floor and from those below, never from those above."""
WITHOUT_TORCH = ("record", "statistics", "report", "forecast")
"""Rooms that read what was measured; a report must not wait for torch."""

SCORING = "metabench.sweep.scoring"
SAY_NO_NUMBER = ("machine", "measure", "record", "statistics", *FLOORS[-1])
"""Rooms whose code a training passes through, and which say none of its numbers."""


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): file for file in PACKAGE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of ours that a module imports anywhere: within functions, and for type checking, too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {full if full in MODULES else str(node.module) for full in names}
    return found & MODULES.keys() - {name}


def room(name: str) -> str:
    """The first part of a module's name below the package; the package itself is the top."""
    return [*name.split("."), "metabench"][1]


GRAPH = {name: imports(name) for name in MODULES}


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(GRAPH).prepare()  # raises CycleError, which names a circle


def test_no_rooms_import_each_other_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    TopologicalSorter(rooms).prepare()


def test_every_import_goes_down():
    floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
    assert {room(name) for name in MODULES} <= floor.keys(), "say on which floor a new room stands"
    up = [f"{a} imports {b}" for a, others in GRAPH.items() for b in others if floor[room(b)] < floor[room(a)]]
    assert up == []


def test_a_checkpoint_knows_all_code_that_a_training_is_computed_by():
    """What `sweep.scoring` imports, and what that imports, is in the digest, or says no number of a training."""
    reached, left = {SCORING}, [SCORING]
    while left:
        new = GRAPH[left.pop()] - reached
        reached |= new
        left += new
    digested = {name_of(file) for file in sources_that_train(CODE) if file.suffix == ".py"}
    assert digested <= MODULES.keys() and len(digested) > 100
    others = {name for name in reached - digested if room(name) not in SAY_NO_NUMBER}
    assert others == {f"metabench.sweep.{name}" for name in ("checkpoints", "fits", "training_code", "trainings")}


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_reads_runs_does_not_load_torch(name):
    modules = sorted(module for module in MODULES if room(module) == name)
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
