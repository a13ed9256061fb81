"""A cell of every engine on a GPU: proved, timed, weighed, divided into phases, trained; and out of memory."""

from dataclasses import asdict

import pytest
import torch
from msgspec import to_builtins

from metabench.errors import Unsupported
from metabench.sweep.measuring import measure_cell
from metabench.sweep.process import run_cell
from metabench.sweep.spec import Settings, parse_sweep
from metabench.sweep.worker import status_of

OURS = ("loop", "vmap", "compile", "compile-tasks", "cudagraph")
PEERS = ("higher", "learn2learn", "torchopt", "jax", "jax-im2col")
PROBLEMS = {
    "sinusoid": {"task": "sinusoid", "shots": 5, "query": 5},
    "conv4, stride 2": {"task": "glyphs", "model": "conv4-16", "ways": 2, "query": 2, "eval_query": 2},
    "conv4, max-pool": {"task": "glyphs", "model": "conv4-16-maxpool", "ways": 2, "query": 2, "eval_query": 2},
}
MEASURE = ("time", "memory", "phases", "quality")


def cell_of(engine, problem, **axes):
    grid = {"algorithm": "maml", "inner_steps": 1, "meta_batch": 4, "iterations": 3, "eval_tasks": 2, "device": "cuda"}
    given = {**grid, "engine": engine, "measure": list(MEASURE), **PROBLEMS[problem], **axes}
    (cell,) = parse_sweep("test", {"grid": [given]}, "", 1).cells
    return cell


@pytest.fixture(scope="module", params=[(e, p) for e in (*OURS, "fused", *PEERS) for p in PROBLEMS], ids=", ".join)
def row(request):
    """What is measured in a cell, and the exception that ended it, if one did. Each cell once, in this process."""
    engine, problem = request.param
    found = {"engine": engine, "problem": problem}
    try:
        measure_cell(cell_of(engine, problem), asdict(Settings(time_budget_s=0.2, curve_points=1)), None, found.update)
    except Unsupported as reason:
        if engine in PEERS and "not installed" in str(reason):
            pytest.skip(str(reason))
        raise
    return to_builtins(found)


def test_the_direction_is_right(row):
    gate = row["gate"]
    assert gate["engine_error"] <= gate["engine_tolerance"]
    assert gate["definition_error"] <= gate["definition_tolerance"]


def test_it_is_timed(row):
    assert row["time"]["step"]["median"] > 0
    assert row["time"]["step"]["n"] >= 6
    assert row["time"]["sampling"]["median"] > 0


def test_its_memory_is_known(row):
    memory = row["memory"]
    assert memory["tracked_bytes"] > 0, memory["tracked_method"]
    if row["engine"] not in ("jax", "jax-im2col"):  # its arrays are not torch's
        assert memory["cuda_allocated_bytes"] >= memory["tracked_bytes"]
        assert memory["cuda_reserved_bytes"] >= memory["cuda_allocated_bytes"]


def test_its_phases_make_up_the_step(row):
    seconds = {name: figure["value"] for name, figure in row["phases"]["seconds"].items()}
    assert sum(seconds.values()) > 0
    assert all(value >= 0 for value in seconds.values())


def test_it_trains(row):
    quality = row["quality"]
    assert quality["iterations"] == 3
    assert quality["train_s"] > 0
    assert [point["iteration"] for point in quality["curve"]] == [0, 3]
    assert quality["value"] >= 0


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("engine", OURS + PEERS)
def test_want_of_memory_is_told_as_such(gpu, engine, problem):
    """Of JAX, whose memory torch cannot limit, it is told that there is no such limit."""
    torch.cuda.empty_cache()
    settings = asdict(Settings(memory_limit="1MiB"))
    try:
        with pytest.raises(Exception) as ended:
            measure_cell(cell_of(engine, problem), settings, None, lambda part: None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert status_of(ended.value) == ("unsupported" if engine.startswith("jax") else "oom"), ended.value


@pytest.mark.parametrize("engine", ["loop", "vmap", "compile", "cudagraph"])
def test_a_cell_that_runs_out_of_memory_in_its_step_is_a_row(engine):
    cell = cell_of(engine, "conv4, max-pool", measure=["time"], meta_batch=256, query=10, inner_steps=5)
    settings = Settings(time_budget_s=0.2, time_limit_s=120, memory_limit="48MiB")
    measurement = run_cell(cell, 1, settings, None)
    assert measurement.status == "oom", measurement.reason


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_fused_takes_more_tasks_than_blocks_run_at_once(clip):
    """Blocks wait for each other, and take the tasks in turn."""
    found = {}
    cell = cell_of("fused", "sinusoid", meta_batch=3000, inner_steps=5, outer_clip=clip, measure=["time"])
    measure_cell(cell, asdict(Settings(time_budget_s=0.2)), None, found.update)
    assert to_builtins(found)["gate"]["engine_error"] < 1e-12


def test_native_is_refused_by_name():
    with pytest.raises(Unsupported, match="on a GPU use compile"):
        measure_cell(cell_of("native", "sinusoid"), asdict(Settings()), None, lambda part: None)
