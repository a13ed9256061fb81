"""What every backend must do, on real cells; Ray on a cluster of two nodes, submitit with two processes of its own."""

import json
import threading
from threading import Event

import psutil
import pytest

from alike import about
from dispatch import rows_of, run_on
from listening import Silent
from metabench import sources
from metabench.sweep import runner
from metabench.sweep.backends.base import open_backend

TEXT = """
[run]
noise_pairs = 0
time_limit_s = 600
time_budget_s = 0.05
curve_points = 1
[[grid]]
task = "sinusoid"
algorithm = "own.py:Own"
meta_batch = 2
iterations = 3
eval_tasks = 5
inner_steps = [1, 2]
measure = ["time", "memory", "work", "quality"]
"""
OF_THE_CELL = ("id", "round", "status", "reason", "cell", "data", "parameters", "machine", "sources")
OWN = "from metabench.algorithms.maml import MAML\n\n\nclass Own(MAML):\n    pass\n"
IN_FLOAT64 = ("engine_error", "definition_error", "engine_tolerance", "definition_tolerance")
SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """What other programs disturb begins again, which would be counted."""
    monkeypatch.setattr(runner, "is_disturbed", lambda job, found: False)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a file of the user's, in which the processes of cells do not stand."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN)
    return folder


@pytest.fixture(autouse=True)
def found_there(own):
    sources.use(own)


@pytest.fixture(scope="module")
def ray_cluster():
    """Two nodes of one processor each; the second one may be taken away."""
    pytest.importorskip("ray", reason="Ray is not installed: make clusters")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=SMALL | {"include_dashboard": False})
    cluster.second = cluster.add_node(**SMALL)
    yield cluster
    cluster.shutdown()


@pytest.fixture(params=["local", "ray", "slurm"])
def opened(request):
    """How each backend is opened here: name, options, address."""
    if request.param == "ray":
        return "ray", [], request.getfixturevalue("ray_cluster").address
    if request.param == "slurm":
        pytest.importorskip("submitit", reason="submitit is not installed: make clusters")
        return "slurm", ["executor=local", "nodes=2", "time=20"], ""
    return "local", [], ""


@pytest.fixture(scope="module")
def locally(tmp_path_factory, own):
    sources.use(own)
    with open_backend("local") as backend:
        return run_on(backend, TEXT, tmp_path_factory.mktemp("local") / "run")


def findings(rows):
    """What does not depend on the clock, cell by cell."""
    return [finding(row) for row in sorted(rows, key=lambda row: row["id"])]


def finding(row):
    quality = {key: row["quality"][key] for key in ("value", "low", "high", "metric", "tasks", "by_step")}
    work = {"flops": row["work"]["flops"], "tracked": row["memory"]["tracked_bytes"]}
    gate = {key: row["gate"][key] for key in IN_FLOAT64}  # rounding in float32 depends on where tensors lie
    return {key: row[key] for key in OF_THE_CELL} | gate | quality | work


def test_every_cell_is_a_row_with_the_figures_that_it_has_here(opened, locally, tmp_path):
    stopped = Event()
    stopped.set()
    with open_backend(*opened) as backend:
        with pytest.raises(KeyboardInterrupt):
            run_on(backend, TEXT, tmp_path / "run", stop=stopped)
        assert rows_of(tmp_path / "run") == []
        before = set(psutil.Process().children(recursive=True))
        rows = run_on(backend, TEXT, tmp_path / "run", resume=True) if opened[0] != "local" else locally
        again = Silent()
        if opened[0] != "local":
            assert run_on(backend, TEXT, tmp_path / "run", again, resume=True) == rows
            assert (again.total, again.done) == (2, 2)
            environment = json.loads((tmp_path / "run" / "environment.json").read_text())
            assert list(environment["machines"]) == [locally[0]["machine"]]
            assert environment["backend"] == backend.name
        left = [child for child in psutil.Process().children(recursive=True) if child not in before]
        assert [child for child in left if "metabench.sweep.worker" in command_of(child)] == []
    assert findings(rows) == about(findings(locally))
    assert all(row["status"] == "ok" and row["time"]["step"]["n"] > 0 for row in rows)
    assert all(list(row["sources"]) == ["own.py"] for row in rows)
    assert not (tmp_path / "run" / ".slurm").exists()


def command_of(process):
    """Empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Losing(Silent):
    """Takes a node away as soon as two cells run."""

    def __init__(self, take):
        super().__init__()
        self.take, self.begun = take, 0

    def began(self, job):
        self.begun += 1
        if self.begun == 2:
            threading.Timer(0.5, self.take).start()


def test_a_ray_node_that_is_killed_in_the_middle_costs_no_row_and_no_figure(ray_cluster, locally, tmp_path):
    progress = Losing(lambda: ray_cluster.remove_node(ray_cluster.second, allow_graceful=False))
    with open_backend("ray", [], ray_cluster.address) as backend:
        rows = run_on(backend, TEXT, tmp_path / "run", progress)
    assert findings(rows) == about(findings(locally))
    assert all(row["status"] == "ok" and row["time"]["step"]["n"] > 0 for row in rows)
    assert progress.begun == 3  # one cell began twice
    assert any(text.startswith("a node was lost while it measured own.py:Own/loop") for text in progress.warnings)


def test_a_task_of_slurm_that_is_killed_in_the_middle_costs_no_row_and_no_figure(locally, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not installed: make clusters")

    def kill_one():
        children = psutil.Process().children(recursive=True)
        task = next(child for child in children if "submitit.core._submit" in command_of(child))
        for process in [*task.children(recursive=True), task]:
            process.kill()

    progress = Losing(kill_one)
    with open_backend("slurm", ["executor=local", "nodes=2", "time=20"], "") as backend:
        rows = run_on(backend, TEXT, tmp_path / "run", progress)
    assert findings(rows) == about(findings(locally))
    assert progress.begun == 3  # one cell began twice
    assert any(text.startswith("a node was lost while it measured own.py:Own/loop") for text in progress.warnings)
