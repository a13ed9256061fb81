"""An axis is declared in one line, and everything else about it derives from that."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from metabench.record.cell import AXES, Cell, axes_of
from metabench.report.axes import TRAINING_AXES
from places import ROOT

LINE = (
    '    dropout: Annotated[float, number("technique", "Share of units that are left out.", phrase="dropout {:g}", '
    "le=1, later=True)] = 0.0\n"
)
CHECKS = """
import json
from metabench.errors import UserError
from metabench.record.cell import AXES, Cell
from metabench.record.measurement import Measurement
from metabench.record.reading import measurement_of
from metabench.report.render.tables import setting, technique_text
from metabench.sweep.spec import parse_sweep
from write_reference import axis_reference, schemas

def cells(**axes):
    return parse_sweep("test", {"grid": [{"task": "sinusoid", "algorithm": "maml", **axes}]}, "", 1).cells

def said(**axes):
    try:
        cells(**axes)
    except UserError as error:
        return str(error)

plain, used = cells(dropout=[0, 0.5])
row = Measurement(id=used.id, round=0, status="ok", cell=used).to_json()
print(json.dumps({
    "refused": [said(dropout=2), said(dropuot=1)],
    "same id": plain.id == cells()[0].id and "dropout" not in plain.to_json(),
    "another id": used.id != plain.id,
    "read": measurement_of(row).cell.dropout,
    "technique": technique_text(used),
    "title": setting(used, ("task", "dropout"), {}),
    "silent": setting(plain, ("task", "dropout"), {}),
    "reference": "| `dropout`" in axis_reference(AXES),
    "schema": schemas()["measurement"]["$defs"]["Cell"]["properties"]["dropout"]["maximum"],
}))
"""


def test_a_new_axis_is_one_line(tmp_path):
    shutil.copytree(ROOT / "metabench", tmp_path / "metabench", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "metabench" / "record" / "cell.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("    iterations: Annotated", LINE + "    iterations: Annotated"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "tools")])}
    command = [sys.executable, "-c", CHECKS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {
        "refused": [
            "axis 'dropout' takes numbers from 0 to 1, not 2",
            "unknown axis 'dropuot': did you mean 'dropout'?",
        ],
        "same id": True,
        "another id": True,
        "read": 0.5,
        "technique": "dropout 0.5",
        "title": "sinusoid, dropout 0.5",
        "silent": "sinusoid",
        "reference": True,
        "schema": 1,
    }


def test_every_axis_has_a_role_and_a_sentence():
    assert {axis.role for axis in AXES.values()} == {
        *("implementation", "task", "size", "technique", "training", "evaluation", "machine")
    }
    assert all(axis.help.endswith(".") for axis in AXES.values())
    roles = ("implementation", "task", "size", "technique", "training", "evaluation", "machine")
    assert sorted(name for role in roles for name in axes_of(role)) == sorted(AXES)
    assert "outer" not in TRAINING_AXES and "iterations" in TRAINING_AXES


@pytest.mark.parametrize(
    ("axis", "good", "bad"),
    [
        ("inner_steps", (0, 5), (-1, 1.5, True, "1", 2**60)),
        ("ways", (1,), (0,)),
        ("threads", (1,), (0,)),
        ("inner_lr", (0.1, 1), (0, -1, "0.1", float("nan"), 1e300)),
        ("first_order", (True, False, 0.5, 1), (1.5, -0.1, None)),
        ("checkpoint", (True,), (1, "yes")),
        ("precision", ("tf32",), ("float16", 32)),
        ("model", ("anything",), (3,)),
    ],
)
def test_an_axis_says_what_it_takes(axis, good, bad):
    assert [AXES[axis].fault(value) for value in good] == [""] * len(good)
    assert all(AXES[axis].fault(value) == AXES[axis].takes for value in bad)


def test_defaults_of_cells_are_those_of_the_table():
    cell = Cell(algorithm="maml", task="sinusoid")
    assert all(cell[name] == axis.default for name, axis in AXES.items() if axis.default is not None)
