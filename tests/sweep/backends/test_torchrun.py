"""A sweep that torchrun has started: two real processes, of which the first one runs it."""

import json
import subprocess
import sys

import pytest

SWEEP = """
[run]
noise_pairs = 0
time_budget_s = 0.05
time_limit_s = 600
curve_points = 1
threads = 1
[[grid]]
task = "sinusoid"
algorithm = ["own.py:Own", "killed-follower"]
meta_batch = 4
inner_steps = 1
iterations = 3
eval_tasks = 5
world_size = [1, 2, 4]
exclude = [{ algorithm = "killed-follower", world_size = [1, 4] }]
"""
OWN = "from metabench.algorithms.maml import MAML\n\n\nclass Own(MAML):\n    pass\n"


@pytest.fixture
def torchrun(tmp_path, in_plugin):
    """Runs the sweep in so many processes."""

    def run(processes):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "two.toml").write_text(SWEEP)
        (tmp_path / "sub" / "own.py").write_text(OWN)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += ["-m", "metabench", "run", "sub/two.toml", "--backend", "torchrun", "--out", "run"]
        return subprocess.run(command, cwd=tmp_path, env=in_plugin, capture_output=True, text=True, timeout=900)

    return run


def test_process_0_runs_the_sweep_and_the_others_take_part(torchrun, tmp_path):
    done = torchrun(2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("metabench report run --full") == 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "measurements.jsonl").read_text().splitlines()]
    found = {(row["cell"]["algorithm"], row["cell"].get("world_size", 1)): row for row in rows}
    assert len(found) == len(rows) == 4
    one, two = found["own.py:Own", 1], found["own.py:Own", 2]
    assert one["status"] == two["status"] == "ok"
    assert two["quality"]["value"] == pytest.approx(one["quality"]["value"], rel=1e-4)
    assert two["time"]["communication_s"] > 0 and two["gate"]["engine_error"] < 1e-12
    four, lost = found["own.py:Own", 4], found["killed-follower", 2]
    assert (four["status"], four["reason"]) == ("unsupported", "4 processes, where torchrun has started 2")
    assert (lost["status"], lost["reason"]) == ("crashed", "process 1: ended with exit code -9")


def test_without_torchrun_there_is_a_sentence(metabench):
    done = metabench("run", "smoke", "--backend", "torchrun")
    assert done.returncode == 2
    assert "is for processes that torchrun has started: torchrun --nproc-per-node 2" in done.stderr
