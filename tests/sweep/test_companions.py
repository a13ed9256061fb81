"""Cells of several processes: what they come to, and what happens when one of them fails."""

import json

import pytest

SWEEP = """
[run]
noise_pairs = 0
time_budget_s = 0.05
time_limit_s = 600
curve_points = 1
threads = 1
[defaults]
task = "sinusoid"
meta_batch = 3
inner_steps = 1
iterations = 3
eval_tasks = 5
eval_steps = 1
[[grid]]
algorithm = "maml"
world_size = [1, 2]
[[grid]]
algorithm = ["killed-follower", "maml"]
engine = "vmap"
world_size = [2, 4]
exclude = [{ algorithm = "killed-follower", world_size = 4 }, { algorithm = "maml", world_size = 2 }]
"""


@pytest.fixture
def rows(metabench, tmp_path):
    (tmp_path / "two.toml").write_text(SWEEP)
    done = metabench("run", "two.toml", "--out", "run")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (tmp_path / "run" / "measurements.jsonl").read_text().splitlines()]


def test_several_processes_learn_what_one_learns_and_a_failure_of_any_is_the_cells(rows):
    found = {(row["cell"]["algorithm"], row["cell"]["engine"], row["cell"].get("world_size", 1)): row for row in rows}
    assert len(found) == len(rows) == 4
    one, two = found["maml", "loop", 1], found["maml", "loop", 2]
    assert one["status"] == two["status"] == "ok"
    assert "world_size" not in one["cell"]
    assert two["quality"]["value"] == pytest.approx(one["quality"]["value"], rel=1e-4)
    assert two["time"]["communication_s"] > 0 and one["time"]["communication_s"] is None
    assert two["gate"]["engine_error"] < 1e-12
    assert two["memory"]["tracked_bytes"] > 0

    lost = found["killed-follower", "vmap", 2]
    assert (lost["status"], lost["reason"]) == ("crashed", "process 1: ended with exit code -9")
    idle = found["maml", "vmap", 4]
    assert idle["status"] == "unsupported"
    assert idle["reason"] == "4 processes have no use for a meta-batch of 3: some would have no task"
