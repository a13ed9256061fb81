"""Whole sweeps through the command line: every outcome is a row, and a killed run goes on where it stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import psutil
import pytest
from msgspec import structs

from alike import about
from metabench.sweep import process
from metabench.sweep.spec import Settings, parse_sweep

TINY = """
title = "tiny"
[run]
noise_pairs = 0
time_budget_s = 0.05
time_limit_s = {limit}
memory_limit = "{memory}"
side_by_side = {together}
curve_points = 1
[defaults]
task = "sinusoid"
meta_batch = 2
inner_steps = 1
iterations = 3
eval_tasks = 5
eval_steps = 1
"""


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def rows_if_any(folder: Path) -> list[dict]:
    return rows(folder) if (folder / "measurements.jsonl").exists() else []


def write_sweep(folder: Path, grids: str, limit: float = 600, together: int = 1, memory: str = "") -> str:
    (folder / "tiny.toml").write_text(TINY.format(limit=limit, together=together, memory=memory) + grids)
    return "tiny.toml"


def test_every_outcome_is_a_row(metabench, tmp_path):
    sweep = write_sweep(
        tmp_path,
        """
[[grid]]
algorithm = ["maml", "plugged", "forgetful-maml", "segfaulting", "hungry", "exploding", "failing", "undefined"]
[[grid]]
algorithm = ["killed", "time-traveller"]
[[grid]]
algorithm = ["maml"]
engine = ["first-order", "choosy"]
[[grid]]
algorithm = ["maml"]
model = "conv4-16"
[[grid]]
algorithm = "maml"
model = "mlp-80x2"
outer = "sgd"
outer_lr = 1e30
measure = ["quality"]
[[grid]]
algorithm = "maml"
model = "mlp-640x2"
shots = 1_000_000
""",
        memory="1GiB",
    )
    done = metabench("run", sweep, "--out", "run")
    assert done.returncode == 0, done.stderr
    found = {(r["cell"]["algorithm"], r["cell"]["engine"], r["cell"]["model"]): r for r in rows(tmp_path / "run")}
    assert len(found) == len(rows(tmp_path / "run")) == 15

    def outcome(algorithm, engine="loop", model="mlp-40x2"):
        row = found[algorithm, engine, model]
        return row["status"], row["reason"]

    assert outcome("maml") == ("ok", "")
    assert outcome("plugged") == ("ok", "")
    assert outcome("forgetful-maml")[0] == "incorrect"
    assert "finite differences" in outcome("forgetful-maml")[1]
    assert outcome("maml", "first-order")[0] == "incorrect"
    assert "differs from loop" in outcome("maml", "first-order")[1]
    assert outcome("segfaulting")[0] == "crashed"
    assert "SIGSEGV" in outcome("segfaulting")[1]
    assert outcome("hungry")[0] == "oom"
    assert outcome("exploding")[0] == "diverged"
    assert "does not stay finite in float32" in outcome("exploding")[1]
    assert outcome("killed")[0] == "oom"
    assert "killed in phase 'correctness gate', most likely by the system" in outcome("killed")[1]
    assert outcome("maml", model="mlp-640x2")[0] == "oom"
    assert "can't allocate memory" in outcome("maml", model="mlp-640x2")[1]
    assert outcome("maml", model="mlp-80x2")[0] == "diverged"
    assert outcome("maml", model="mlp-80x2")[1].startswith("the training loss is nan by iteration ")
    assert outcome("time-traveller") == ("ok", "")
    assert 0 < found["time-traveller", "loop", "mlp-40x2"]["time"]["step"]["median"] < 10
    assert outcome("failing") == ("crashed", "ValueError: two lines")
    assert "of which the first is shown" in found["failing", "loop", "mlp-40x2"]["traceback"]
    assert outcome("undefined")[0] == "incorrect"
    assert found["undefined", "loop", "mlp-40x2"]["gate"]["definition_error"] is None
    assert outcome("maml", "choosy") == ("unsupported", "carries nothing at all")
    assert outcome("maml", model="conv4-16")[0] == "unsupported"
    assert "needs images" in outcome("maml", model="conv4-16")[1]
    for row in found.values():
        if row["status"] == "incorrect":
            assert row["time"] is row["memory"] is row["quality"] is None
        if row["status"] == "ok":
            assert row["time"]["step"]["n"] > 0
            assert row["quality"]["tasks"] == 5
            assert row["gate"]["engine_error"] < 1e-8
    # the same mathematics from another package gives the same figures
    scores = [found[name, "loop", "mlp-40x2"]["quality"]["value"] for name in ("plugged", "maml")]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_a_stock_batch_norm_under_vmap_is_incorrect_and_untimed(metabench, tmp_path):
    sweep = write_sweep(
        tmp_path,
        """
[[grid]]
task = "glyphs"
algorithm = "maml"
engine = ["loop", "vmap"]
model = ["conv4-16", "conv4-16-stock-norm"]
measure = ["time"]
""",
    )
    assert metabench("run", sweep, "--out", "run").returncode == 0
    found = {(r["cell"]["engine"], r["cell"]["model"]): r for r in rows(tmp_path / "run")}
    assert {key: row["status"] for key, row in found.items()} == {
        ("loop", "conv4-16"): "ok",
        ("vmap", "conv4-16"): "ok",
        ("loop", "conv4-16-stock-norm"): "ok",
        ("vmap", "conv4-16-stock-norm"): "incorrect",
    }
    assert found["vmap", "conv4-16-stock-norm"]["time"] is None
    assert found["vmap", "conv4-16-stock-norm"]["gate"]["engine_error"] > 1e-4


def test_a_cell_that_is_stuck_in_native_code_is_ended_at_its_time_limit(in_plugin, tmp_path, monkeypatch):
    """The limit is reached as soon as the cell is stuck, however long a busy machine takes to come so far."""
    mark, started = tmp_path / "mark", []

    def wait(worker, limit, stop):
        started.append(worker)
        wait_for(mark.exists)
        raise subprocess.TimeoutExpired(worker.args, limit)

    monkeypatch.setattr(process, "_wait", wait)
    for name, value in {**in_plugin, "WAITING_MARK": str(mark)}.items():
        monkeypatch.setenv(name, value)
    (maml,) = parse_sweep("test", {"grid": [{"task": "sinusoid", "algorithm": "maml"}]}, "", 1).cells
    found = process.run_cell(structs.replace(maml, algorithm="stuck"), 0, Settings(time_limit_s=12), None, Event())
    assert (found.status, found.reason) == (
        "timeout",
        "ended in phase 'correctness gate' at the time limit of 12 s",
    )
    assert found.data.name == "sinusoid" and found.parameters == 1761  # what was known is kept
    assert [worker.returncode for worker in started] == [-signal.SIGKILL]


def test_after_an_out_of_memory_larger_cells_are_skipped_and_say_so(metabench, tmp_path):
    # shuffled from this seed, the smaller cell comes first
    sweep = write_sweep(
        tmp_path,
        '[[grid]]\nalgorithm = "hungry"\nmeasure = ["time"]\nmeta_batch = [2, 8]\n'
        '[[grid]]\nalgorithm = "maml"\nmeasure = ["time"]\nmeta_batch = 8\n',
    )
    (tmp_path / sweep).write_text((tmp_path / sweep).read_text().replace("[run]", f"[run]\norder_seed = {1}"))
    assert metabench("run", sweep, "--out", "run").returncode == 0
    found = {(r["cell"]["algorithm"], r["cell"]["meta_batch"]): r for r in rows(tmp_path / "run")}
    assert found["hungry", 2]["status"] == "oom"
    assert found["hungry", 8]["status"] == "skipped"
    assert (
        "memory ran out already at hungry/loop" in found["hungry", 8]["reason"]
        and "tasks=2" in found["hungry", 8]["reason"]
    )
    assert found["maml", 8]["status"] == "ok"


def test_rounds_time_again_and_train_once(metabench, tmp_path):
    sweep = write_sweep(tmp_path, '[[grid]]\nalgorithm = ["maml", "fomaml"]\n')
    (tmp_path / sweep).write_text((tmp_path / sweep).read_text().replace("[run]", "[run]\nrounds = 2"))
    assert metabench("run", sweep, "--out", "run").returncode == 0
    found = rows(tmp_path / "run")
    assert sorted((r["cell"]["algorithm"], r["round"]) for r in found) == [
        ("fomaml", 0), ("fomaml", 1), ("maml", 0), ("maml", 1),
    ]  # fmt: skip
    assert all(r["time"] is not None for r in found)
    assert [r["quality"] is not None for r in sorted(found, key=lambda r: r["round"])] == [True, True, False, False]


def comparable(folder: Path) -> list[dict]:
    """The rows without what a clock or the allocator's mood decides."""
    kept = []
    for row in rows(folder):
        quality = {k: v for k, v in row["quality"].items() if k not in ("train_s", "eval_s", "test_s", "curve")}
        gate = {k: v for k, v in row["gate"].items() if not k.startswith(("timed", "rounding"))}
        kept.append(
            {k: row[k] for k in ("id", "round", "status", "reason", "cell", "data", "parameters")} | gate | quality
        )
    return sorted(kept, key=lambda row: (row["round"], row["id"]))


def order_of(folder: Path) -> list[str]:
    return [row["cell"]["algorithm"] for row in rows(folder)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_run_killed_in_the_middle_of_a_cell_resumes_to_the_same_rows(metabench, tmp_path, in_plugin):
    sweep = write_sweep(
        tmp_path, '[[grid]]\nalgorithm = ["maml", "sleeping-once", "reptile", "anil"]\nmeasure = ["quality"]\n'
    )
    assert metabench("run", sweep, "--out", "undisturbed").returncode == 0
    finished = order_of(tmp_path / "undisturbed").index("sleeping-once")
    assert 1 <= finished < 3  # drawn so by the sweep's seed

    mark = tmp_path / "mark"
    env = {**in_plugin, "WAITING_MARK": str(mark)}
    command = [sys.executable, "-m", "metabench", "run", sweep, "--out", "killed"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_for(mark.exists)
        worker = worker_of(run.pid)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert order_of(tmp_path / "killed") == order_of(tmp_path / "undisturbed")[:finished]
    with (tmp_path / "killed" / "measurements.jsonl").open("a") as file:
        file.write('{"schema": 1, "id": "torn')  # a row that the kill left unfinished

    again = metabench("run", sweep, "--out", "killed", "--resume")
    assert again.returncode == 0, again.stderr
    assert f"resuming: {finished} of 4" in again.stderr
    assert comparable(tmp_path / "killed") == about(comparable(tmp_path / "undisturbed"))

    assert metabench("run", sweep, "--out", "killed", "--resume").returncode == 0
    assert len(rows(tmp_path / "killed")) == 4  # nothing is measured twice


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that is stuck outlives a killed run")
def test_a_run_that_is_killed_leaves_no_process_even_one_that_is_stuck(tmp_path, in_plugin):
    sweep, mark = write_sweep(tmp_path, '[[grid]]\nalgorithm = "stuck"\n'), tmp_path / "mark"
    env = {**in_plugin, "WAITING_MARK": str(mark)}
    command = [sys.executable, "-m", "metabench", "run", sweep, "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_for(mark.exists)
        worker = worker_of(run.pid)
        os.kill(run.pid, signal.SIGKILL)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def wait_for(condition, seconds: float = 300):
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def worker_of(pid: int) -> psutil.Process:
    """The process of a cell of the run that waits: a server has forked it, where there are servers."""
    for child in psutil.Process(pid).children(recursive=True):
        started = child.cmdline()
        if "metabench.sweep.worker" in str(started) or started == psutil.Process(child.ppid()).cmdline():
            return child
    raise AssertionError("no cell runs")


HEARING_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "metabench", *sys.argv[1:]])
"""
"""A shell's background jobs ignore Ctrl-C, and what they start inherits that; the user of this test does not."""
SIDE_BY_SIDE = "measure = ['quality']\nseed = [0, 1, 2]\n"


@pytest.mark.parametrize(
    ("signal_number", "together", "axes"),
    [(signal.SIGINT, 1, ""), (signal.SIGTERM, 1, ""), (signal.SIGINT, 2, SIDE_BY_SIDE)],
)
def test_an_interrupted_run_says_how_to_go_on(tmp_path, in_plugin, signal_number, together, axes):
    sweep, mark = (
        write_sweep(tmp_path, f'[[grid]]\nalgorithm = "sleeping"\n{axes}', together=together),
        tmp_path / "mark",
    )
    env = {**in_plugin, "WAITING_MARK": str(mark)}
    command = [sys.executable, "-c", HEARING_CTRL_C, "run", sweep, "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as run:
        wait_for(mark.exists)
        worker = worker_of(run.pid)
        os.kill(run.pid, signal_number)
        assert run.stderr is not None
        first = next(line for line in run.stderr if "waiting for" in line)
        assert re.search(
            r"waiting for sleeping/loop on sinusoid, .*: about .*, at most .*; interrupt again to end", first
        )
        assert worker.is_running()
        os.kill(run.pid, signal_number)
        _, messages = run.communicate(timeout=300)
    assert run.returncode == 130
    assert "metabench run tiny.toml --out run --resume" in messages
    assert "Traceback" not in messages
    wait_for(lambda: not worker.is_running())
    assert rows_if_any(tmp_path / "run") == []


def test_cells_that_run_side_by_side_score_as_they_do_alone(metabench, tmp_path):
    scores = []
    for together in (1, 2):
        sweep = write_sweep(tmp_path, f'[[grid]]\nalgorithm = ["maml", "reptile"]\n{SIDE_BY_SIDE}', together=together)
        assert metabench("run", sweep, "--out", f"run{together}").returncode == 0
        scores.append({row["id"]: row["quality"]["value"] for row in rows(tmp_path / f"run{together}")})
    assert len(scores[0]) == 6
    assert scores[0] == about(scores[1])


def test_a_folder_holds_one_run_of_one_sweep(metabench, tmp_path):
    sweep = write_sweep(tmp_path, '[[grid]]\nalgorithm = "maml"\nmeasure = ["time"]\n')
    assert metabench("run", sweep, "--out", "run").returncode == 0
    again = metabench("run", sweep, "--out", "run")
    assert again.returncode == 2
    assert "holds a run already: add --resume" in again.stderr
    other = metabench("run", sweep, "--out", "run", "--resume", "--set", "inner_steps=2")
    assert other.returncode == 2
    assert "a run of another sweep" in other.stderr
    assert len(rows(tmp_path / "run")) == 1


def test_where_omniglot_cannot_be_had_its_stand_in_is_named_everywhere(metabench, tmp_path):
    cache = Path(
        os.environ.get("METABENCH_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "metabench"
    )
    own = tmp_path / "cache"
    own.mkdir()
    if (cache / "glyphs-28.npz").exists():  # spares the drawing
        shutil.copy(cache / "glyphs-28.npz", own)
    sweep = write_sweep(
        tmp_path, '[[grid]]\ntask = "omniglot"\nmodel = "conv4-16"\nalgorithm = "maml"\nmeasure = ["time"]\n'
    )
    nowhere = {"METABENCH_CACHE": str(own), "METABENCH_DATA": "", "https_proxy": "http://127.0.0.1:9"}
    refused = metabench("run", sweep, "--out", "run", **nowhere)
    assert refused.returncode == 2
    assert "no Omniglot" in refused.stderr
    assert not (tmp_path / "run").exists()

    (tmp_path / sweep).write_text((tmp_path / sweep).read_text().replace("[run]", '[run]\nstand_in = "glyphs"'))
    allowed = metabench("run", sweep, "--out", "run", **nowhere)
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stderr.count("omniglot is not at hand, so glyphs stand in for it") == 1
    (row,) = rows(tmp_path / "run")
    assert row["cell"]["task"] == row["data"]["name"] == "glyphs"
    tables = (tmp_path / "run" / "tables.md").read_text()
    assert "omniglot is not at hand, so glyphs stand in for it" in tables
    assert "Cost: glyphs" in tables
