"""What a small cell's process imports: most of its time is that of starting."""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import asdict

import pytest

from metabench.sweep.spec import parse_sweep

HEAVY = {
    *("torch._dynamo", "torch._inductor", "torch.onnx", "triton", "jax", "higher", "learn2learn", "torchopt"),
    *("pandas", "scipy", "matplotlib", "torchvision", "PIL", "typer", "rich"),
}
"""Compilers, other people's libraries, and what reports and the command line need."""

MEASURE = """
import json, sys
from metabench.sweep import worker
from metabench.record.cell import Cell

job = json.load(sys.stdin)
recorded = {}
worker.measure_cell(Cell.from_json(job["cell"]), job["settings"], None, recorded.update)
print(json.dumps({"modules": list(sys.modules), "recorded": list(recorded)}))
"""


def job(text):
    sweep = parse_sweep("one", tomllib.loads(text), text, 1)
    (cell,) = sweep.cells
    return json.dumps({"cell": cell.to_json(), "settings": asdict(sweep.settings)})


@pytest.mark.parametrize("task", ["sinusoid", "glyphs"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_small_cell_imports_no_compiler_and_no_library_of_reports(engine, task):
    text = f"""
    [run]
    time_budget_s = 0.01
    curve_points = 1
    [[grid]]
    measure = ["time", "memory", "phases", "quality"]
    task = "{task}"
    engine = "{engine}"
    algorithm = "maml"
    {'model = "conv4-16"' if task == "glyphs" else ""}
    meta_batch = 2
    iterations = 1
    eval_tasks = 2
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=job(text),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"gate", "time", "memory", "phases", "quality"} <= set(told["recorded"])
    assert HEAVY & set(told["modules"]) == set()
