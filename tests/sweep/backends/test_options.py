"""How a backend is chosen on the command line: what is wrong is one sentence."""

import os
import re
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from dispatch import run_on, sweep_of
from metabench.errors import UserError
from metabench.extras import INSTALL
from metabench.sweep.backends import ray, slurm
from metabench.sweep.backends.base import BACKENDS, Backend, open_backend, unit_of
from metabench.sweep.runner import plan


@pytest.mark.parametrize(
    ("name", "options", "address", "said"),
    [
        ("slrum", [], "", "unknown backend 'slrum': did you mean 'slurm'?"),
        ("local", ["cpus=3"], "", "backend 'local' has no options: leave out --backend-option"),
        ("local", [], "x:1", "backend 'local' has no address: --address is for --backend ray"),
        ("slurm", ["partion=gpu"], "", "unknown option of backend slurm 'partion': did you mean 'partition'?"),
        ("slurm", ["partition"], "", "--backend-option is key=value, not 'partition'"),
        ("slurm", ["nodes=many"], "", "option 'nodes' of backend slurm is a whole number of 0 or more, not 'many'"),
        ("slurm", ["nodes=-1"], "", "option 'nodes' of backend slurm is a whole number of 0 or more, not '-1'"),
        ("slurm", ["qos="], "", "option 'qos' of backend slurm is a word or two, not ''"),
        ("slurm", ["nodes=1", "nodes=2"], "", "option 'nodes' of backend slurm is given twice"),
        ("slurm", ["nodes=0"], "", "options 'nodes' and 'time' of backend slurm are at least 1"),
        ("slurm", ["executor=pbs"], "", "option 'executor' of backend slurm is slurm or local, not 'pbs'"),
        ("slurm", [], "", "backend 'slurm' must know how many processors a node has: --backend-option cpus=N"),
        ("ray", ["address=a:1"], "b:1", "option 'address' of backend ray is given twice"),
    ],
)
def test_a_wrong_option_is_one_sentence(name, options, address, said):
    with pytest.raises(UserError) as error, open_backend(name, options, address):
        pass
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("name", "module", "options"), [("ray", "ray", []), ("slurm", "submitit", ["cpus=2"])], ids=["ray", "slurm"]
)
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch, name, module, options):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=re.escape(f"install it with {INSTALL[name]}")), open_backend(name, options):
        pass


def test_where_there_is_no_slurm_that_is_said(monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed: make clusters")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="finds no sbatch here"), open_backend("slurm", ["cpus=2"]):
        pass


def test_a_ray_cluster_that_is_not_there(monkeypatch):
    module = pytest.importorskip("ray", reason="Ray is not installed: make clusters")

    def init(**options):
        asked.append(options["address"])
        raise ConnectionError("refused")

    asked = []
    monkeypatch.setattr(module, "is_initialized", lambda: False)
    monkeypatch.setattr(module, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = f"127.0.0.1:{listening.getsockname()[1]}"
        for address in (there, f"ray://{there}", "auto", "scheme://host:1"):
            said = re.escape(f"no Ray cluster can be reached at '{address}' (refused)")
            with pytest.raises(UserError, match=said), open_backend("ray", [], address):
                pass
    assert asked == [there, f"ray://{there}", "auto", "scheme://host:1"]


def test_an_address_at_which_nothing_answers_is_said_before_ray_is_asked(monkeypatch):
    """Ray would try for minutes, and write its own log."""
    module = pytest.importorskip("ray", reason="Ray is not installed: make clusters")
    monkeypatch.setattr(module, "is_initialized", lambda: False)
    monkeypatch.setattr(module, "init", lambda **options: pytest.fail("Ray was asked"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = f"127.0.0.1:{listening.getsockname()[1]}"
    wrong = {"127.0.0.1:many": "'many' is no port", "127.0.0.1:99999": "'99999' is no port"}
    for address in (closed, f"ray://{closed}", "no host:1", *wrong):
        said = rf"^no Ray cluster can be reached at '{re.escape(address)}' \({wrong.get(address, '.+')}\)$"
        with pytest.raises(UserError, match=said), open_backend("ray", [], address):
            pass
    monkeypatch.setenv("RAY_ADDRESS", closed)
    with pytest.raises(UserError, match=re.escape(f"can be reached at '{closed}' (")), open_backend("ray"):
        pass


def test_backends_are_found_in_the_tree_and_by_their_entry_points():
    assert BACKENDS.group == "metabench.backends"
    assert {"local", "ray", "slurm"} <= set(BACKENDS.names())
    with open_backend("local") as backend:
        found: Backend = backend
        assert (found.name, found.remote) == ("local", False) and found.cores >= 1


def test_units_hold_what_ratios_are_formed_of():
    sweep = sweep_of(
        '[run]\nrounds = 2\nnoise_pairs = 2\n[[grid]]\ntask = "sinusoid"\nalgorithm = ["maml", "fomaml"]\n'
        'inner_steps = [1, 2]\nmeasure = ["time"]\n[[grid]]\ntask = "sinusoid"\nalgorithm = "anil"\n'
        'measure = ["quality"]\nseed = [0, 1]\n'
    )
    units = {}
    for job in plan(sweep):
        units.setdefault(unit_of(job), []).append((job.cell.algorithm, job.cell.inner_steps, job.round))
    rounds = [sorted(unit) for key, unit in units.items() if key[0] == "round"]
    assert sorted(rounds) == sorted([("fomaml", s, r), ("maml", s, r)] for s in (1, 2) for r in (0, 1))
    assert sorted(len(unit) for key, unit in units.items() if key[0] == "noise") == [2, 2]
    assert [len(unit) for key, unit in units.items() if key[0] == "alone"] == [1, 1]


class Place:
    """A node as Ray tells of it."""

    def __init__(self, name, cpus, gpus=0, alive=True, **more):
        self.told = {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus, **more}}


def work(device, world_size=1):
    from metabench.sweep.backends.base import Work
    from metabench.sweep.jobs import Failures
    from metabench.sweep.spec import Settings

    sweep = sweep_of(
        f'[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\ndevice = "{device}"\nworld_size = {world_size}\n'
    )
    return Work(plan(sweep), Settings(), None, Path(), Failures([], (), None), None, None)


@pytest.mark.parametrize(
    ("device", "world_size", "places"),
    [
        ("cpu", 1, [("a", 0, 8, 0), ("b", 0, 16, 4)]),  # whole nodes
        ("cuda", 1, [("b", i, 4, 1) for i in range(4)]),  # a GPU with its share of the processors
        ("cuda", 2, [("b", i, 8, 2) for i in range(2)]),
        ("cuda", 8, []),
    ],
)
def test_which_part_of_a_ray_node_a_slot_holds(monkeypatch, device, world_size, places):
    nodes = [Place("a", 8.0), Place("b", 16.0, 4), Place("gone", 8.0, alive=False), Place("head", 0)]
    monkeypatch.setattr(ray, "_Slot", lambda _, place, threads: type("S", (), {"place": place, "actor": None})())
    there = type("R", (), {"nodes": lambda self: [node.told for node in nodes]})()
    cluster = ray._Cluster(there, ray.Options(), work(device, world_size))
    found = [slot.place for slot in cluster.open(99)]
    assert [(p.node, p.number, p.cpus, p.gpus) for p in found] == places
    cluster.looked = float("-inf")
    assert cluster.open(99) == []


@pytest.mark.parametrize(
    ("device", "threads", "world_size", "given", "said"),
    [
        ("cuda", 64, 1, 0, "a configuration would have 64 threads, and 8 processors of a node go with its GPUs: give"),
        ("cuda", 32, 2, 0, "a configuration would have 64 threads, and 16 processors of a node go with its GPUs: give"),
        ("cuda", 8, 1, 0, ""),
        ("cuda", 8, 2, 0, ""),
        ("cuda", 64, 1, 64, ""),
        ("cpu", 64, 1, 0, ""),
    ],
)
def test_threads_that_are_left_open_are_no_more_than_go_with_a_gpu(
    monkeypatch, device, threads, world_size, given, said
):
    """Eight GPUs in a node of 64 processors: eight configurations at once would have 512 threads."""
    there = type("R", (), {"nodes": lambda self: [Place("a", 64.0, 8).told]})()
    asked = work(device, world_size)
    jobs = [replace(job, cell=structs.replace(job.cell, threads=threads)) for job in asked.jobs]
    asked = replace(asked, jobs=jobs, settings=replace(asked.settings, threads=given))
    begun = []
    monkeypatch.setattr(ray, "Pool", lambda cluster, work: type("P", (), {"run": lambda self: begun.append(1) or ()})())
    measured = ray.Ray(there, ray.Options()).measure(asked)
    if said:
        with pytest.raises(UserError, match=said):
            next(measured)
    assert list(measured) == [] and begun == ([] if said else [1])


def test_ray_has_no_node_left_once_all_that_would_do_were_refused(monkeypatch):
    monkeypatch.setattr(ray, "_Slot", lambda _, place, threads: type("S", (), {"place": place, "actor": None})())
    alive = [Place("head", 8.0), Place("a", 8.0, 1), Place("b", 8.0, 1)]
    there = type("R", (), {"nodes": lambda self: [n.told for n in alive], "kill": lambda self, actor: None})()
    cluster = ray._Cluster(there, ray.Options(), work("cuda"))
    first, second = cluster.open(99)
    cluster.refuse(first)
    assert cluster.open(99) == [] and not cluster.spent, "it has looked for nodes a moment ago, and one is left"
    cluster.release(second)
    assert not cluster.spent
    cluster.refused.add("b")
    assert cluster.spent
    alive.clear()
    assert not cluster.spent, "others may come"


def test_ray_nodes_can_be_chosen_by_a_resource():
    there = type("R", (), {"nodes": lambda self: [Place("a", 8).told, Place("b", 8, bench=1).told]})()
    assert [node["NodeID"] for node in ray.nodes(there, ray.Options(resource="bench"))] == ["b"]
    assert ray.Ray(there, ray.Options()).cores == 8


def test_what_slurm_is_asked_for():
    options = slurm.Options(partition="p", cpus=8, gpus=1, time=30)
    common = {"timeout_min": 30, "name": "metabench", "tasks_per_node": 1, "nodes": 1}
    common |= {"cpus_per_task": 8, "gpus_per_node": 1, "slurm_partition": "p", "slurm_use_srun": False}
    assert slurm._parameters(options, {"cuda"}) == common
    assert slurm._parameters(options, {"cpu", "cuda"}) == common | {"slurm_exclusive": True}


SBATCH = """#!/bin/bash
# Starts the tasks of an array at once, as Slurm would on nodes of its own.
cp "$1" "$(dirname "$0")/script"
last=$(grep -oP '^#SBATCH --array=0-\\K[0-9]+' "$1")
for i in $(seq 0 "$last"); do
    SLURM_JOB_ID=$((70 + i)) SLURM_ARRAY_JOB_ID=70 SLURM_ARRAY_TASK_ID=$i SLURM_NTASKS=1 SLURM_PROCID=0 \\
    SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=n setsid bash "$1" >/dev/null 2>&1 &
done
echo "Submitted batch job 70"
"""


def test_an_array_job_as_slurm_takes_it(tmp_path, monkeypatch):
    """With commands that stand in for Slurm's: the tasks are real processes, and what they measure a real cell."""
    pytest.importorskip("submitit", reason="submitit is not installed: make clusters")
    commands = tmp_path / "bin"
    commands.mkdir()
    stand_ins = {"sbatch": SBATCH, "srun": "#!/bin/bash\n", "scancel": "#!/bin/bash\n"}
    stand_ins["sacct"] = "#!/bin/bash\necho 'JobID|State|NodeList'\nfor i in 0 1; do echo \"70_$i|RUNNING|n\"; done\n"
    for name, text in stand_ins.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    text = (
        '[run]\nnoise_pairs = 0\n[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\nmeasure = ["quality"]\n'
        "iterations = 2\neval_tasks = 5\nseed = [0, 1]\n"
    )
    with open_backend("slurm", ["cpus=1", "nodes=2", "partition=long", "time=60"]) as backend:
        rows = run_on(backend, text, tmp_path / "run")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    script = (commands / "script").read_text()
    for line in ("partition=long", "time=60", "exclusive", "cpus-per-task=1", "array=0-1%2", "job-name=metabench"):
        assert f"#SBATCH --{line}\n" in script
    assert "\nsrun " not in script
    assert not (tmp_path / "run" / ".slurm").exists()
