"""A meta-batch shared by processes gives the direction of one process. They are real, and meet through gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metabench.engines.distributed import Rank
from metabench.errors import Unsupported

HERE = Path(__file__).parent
PROCESSES = 2
PROCESS = """
import json, os, sys
import torch
from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.engines.distributed import Group, Rank, distributed, of_share
from metabench.errors import Unsupported
from metabench.correctness.gate import relative_error
from metabench.correctness.settings import SETTINGS
from test_engines import episodes_of, set_up

number, of, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
group = Group(Rank(number, of), address, torch.device("cpu"))
found = {}
for algorithm in ALGORITHMS.names():
    for kind, model in (("sinusoid", "mlp-40x2"), ("images", "conv4-16")):
        try:
            made, meta = set_up(algorithm, kind, model, 0 if ALGORITHMS.get(algorithm).order == "none" else 2)
        except Unsupported:
            continue
        episodes = episodes_of(kind, 3)  # of which one process has one and the other two
        for engine in ("loop", "vmap"):
            try:
                step = ENGINES.get(engine).build(made)
                truth, metrics = step(meta, episodes)
            except Unsupported:
                continue
            direction, shared = of_share(distributed(step, group), group.rank)(meta, episodes)
            error = max(relative_error(direction, truth), relative_error(shared, metrics))
            found[f"{algorithm}/{engine} on {kind}"] = error

calls = []
led = group.led(lambda: calls.append(group.total({"x": torch.ones(1)})), lambda: [run() for run in 3 * [
    lambda: calls.append(group.total({"x": torch.ones(1)}))]] and "measured")
seconds = group.communication(lambda: group.total({"x": torch.ones(1)}))
print(json.dumps({"errors": found, "led": led, "calls": len(calls), "sums": float(calls[-1]["x"]), "seconds": seconds}),
      flush=True)
os._exit(0)  # as a worker ends: torch's own end may abort on a thread of gloo that is still there
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What each process has printed."""
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(number), str(PROCESSES), f"file://{meeting}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
        )
        for number in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [json.loads(output) for output in outputs]


def test_every_algorithm_has_the_direction_of_one_process(seen):
    for process in seen:
        algorithms = {name.split("/")[0] for name in process["errors"]}
        assert len(algorithms) >= 16 and len(process["errors"]) >= 2 * len(algorithms)
        assert max(process["errors"].values()) < 1e-12


def test_the_leading_process_decides_how_often(seen):
    leading, other = seen
    assert leading["led"] == "measured" and other["led"] is None
    assert leading["calls"] == other["calls"] == 4  # three that it measured, and one to say that it is done
    assert leading["sums"] == other["sums"] == PROCESSES


def test_communication_is_timed_alone(seen):
    for process in seen:
        assert len(process["seconds"]) == 20 and min(process["seconds"]) > 0


def test_shares_are_even_and_hold_every_task():
    shares = [Rank(number, 4).share(10) for number in range(4)]
    assert [share.stop - share.start for share in shares] == [2, 3, 2, 3]
    assert [task for share in shares for task in range(10)[share]] == list(range(10))
    with pytest.raises(Unsupported, match="3 processes have no use for a meta-batch of 2"):
        Rank(0, 3).share(2)
