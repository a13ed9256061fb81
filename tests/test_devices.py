"""No tensor of the processor meets one of another device: every engine's cells run on a second device, in full."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import elsewhere
import second_device

pytestmark = pytest.mark.skipif(not elsewhere.available(), reason="this torch has no devices written in Python")


@pytest.fixture(scope="module")
def faults():
    """What went wrong in each cell, by its name. In one process of its own, which the device stays known to."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(here / "second_device.py")]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {line["check"]: line["fault"] for line in map(json.loads, result.stdout.splitlines())}


@pytest.mark.parametrize("problem", second_device.PROBLEMS)
@pytest.mark.parametrize("engine", second_device.ENGINE_NAMES)
def test_a_cell_of_each_engine_runs_on_a_second_device(faults, engine, problem):
    fault = faults[f"{engine}, {problem}"]
    if f"{engine} is not installed" in fault:
        pytest.skip(f"{engine} is not installed")
    assert not fault, fault


def test_the_device_refuses_to_be_mixed(faults):
    assert "mixes tensors on 'elsewhere' and on 'cpu'" in faults["a mix"]
