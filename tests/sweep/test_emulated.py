"""What the emulator is asked for, and what it says: by a program in its place, and by itself where it is at hand."""

import json
import os
import shutil
from pathlib import Path

import pytest

from metabench.errors import Unsupported
from metabench.measure.energy import NoCounter
from metabench.sweep import emulated
from metabench.sweep.emulated import instructions_emulated
from metabench.sweep.spec import parse_sweep

ARGUMENTS = 'for a; do case "$a" in --log-file=*) log="${a#*=}";; esac; last="$a"; done'
HEADER = Path("/usr/include/valgrind/callgrind.h")


def cell(**axes):
    grid = {"task": "sinusoid", "algorithm": "maml", "measure": ["instructions"], "meta_batch": 2, **axes}
    (made,) = parse_sweep("one", {"grid": [grid]}, "", 1).cells
    return made


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """Puts a shell script in the emulator's place, which has its log in `$log`."""
    monkeypatch.setattr(emulated, "compiled", lambda source, flags: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def scripted(body):
        script = tmp_path / "valgrind"
        script.write_text(f"#!/bin/sh\n{ARGUMENTS}\n{body}\n")
        script.chmod(0o755)

    return scripted


def test_the_count_is_that_of_an_iteration(emulator, tmp_path):
    emulator(f'cp "$last" {tmp_path}/job; env > {tmp_path}/variables; echo "==7== Collected : 4000" > "$log"')
    found = instructions_emulated(cell(), None)
    assert (found.instructions, found.cycles, found.iterations) == (1000, None, 4)
    assert "emulated" in found.method
    assert json.loads((tmp_path / "job").read_text())["cell"]["algorithm"] == "maml"
    assert "PYTHONHASHSEED=0" in (tmp_path / "variables").read_text()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo first >&2; echo a reason >&2; exit 3", "exit code 3: a reason"),
        ("exit 1", "exit code 1: it said nothing"),
        ('echo "nothing counted" > "$log"', "exit code 0: it said nothing"),
    ],
)
def test_an_emulator_that_fails_says_why(emulator, body, said):
    emulator(body)
    with pytest.raises(NoCounter, match=said):
        instructions_emulated(cell(), None)


def test_without_an_emulator_there_is_no_count(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCounter, match="there is no valgrind"):
        instructions_emulated(cell(), None)
    with pytest.raises(NoCounter, match="no GPU"):
        instructions_emulated(cell(device="cuda"), None)


def test_a_switch_that_cannot_be_compiled_is_said(emulator, monkeypatch):
    emulator("exit 0")

    def refuse(source, flags):
        raise Unsupported("no header")

    monkeypatch.setattr(emulated, "compiled", refuse)
    with pytest.raises(NoCounter, match="no header"):
        instructions_emulated(cell(), None)


@pytest.mark.skipif(not (shutil.which("valgrind") and HEADER.exists()), reason="valgrind is not installed")
def test_the_emulator_itself_counts():
    """An iteration of `loop` on two tasks is some hundreds of operators, of some thousands of instructions each."""
    found = instructions_emulated(cell(inner_steps=1, model="mlp-40x2"), None)
    assert 1e6 < found.instructions < 1e8 and found.method == emulated.METHOD
