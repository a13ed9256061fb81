"""A synthetic run folder whose true ratios are known, with a failure of every kind in it."""

import hashlib
import json
import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]

TRUE_SECONDS = {"maml": 4e-3, "fomaml": 2.4e-3, "reptile": 2e-3, "anil": 1.6e-3}
"""Per meta-iteration on vmap with one inner step, a meta-batch of 25 and mlp-40x2."""
LOOP_FACTOR = 5.0
DRIFT = (1.0, 1.5, 0.8)
"""How much slower the machine is in each round: hits all cells of a round alike."""
CRASH = "RuntimeError: expected <class 'int'> | got __float__ *and* `None`, ~twice~"
ENVIRONMENT = {
    "summary": "Test CPU, 2 cores, torch 2.13",
    "warnings": ["omniglot is not at hand, so glyphs stand in for it: no zips"],
    "sweep": {"name": "synthetic", "title": "Every case once"},
}
CELL = {
    "algorithm": "maml",
    "engine": "vmap",
    "task": "sinusoid",
    "model": "mlp-40x2",
    "inner_steps": 1,
    "meta_batch": 25,
    "ways": 1,
    "shots": 10,
    "query": 10,
    "precision": "float32",
    "device": "cpu",
    "seed": 0,
    "preset": "quick",
    "inner_lr": 0.01,
    "eval_steps": 2,
    "eval_query": 100,
    "outer": "adam",
    "outer_lr": 0.001,
    "outer_decay": "none",
    "iterations": 1000,
    "eval_tasks": 600,
    "threads": 2,
    "measure": ["time", "memory", "quality"],
}
NO_TECHNIQUES = {
    "first_order": 0.0,
    "checkpoint": False,
    "inner_optimizer": "sgd",
    "precision": "float32",
    "outer_clip": 0.0,
}
"""Most of which CELL, as recorded before there were techniques, does not have."""
TECHNIQUE_TIME = {"first_order": 0.5, "checkpoint": 1.5, "inner_optimizer": 1.25, "precision": 0.75, "outer_clip": 1.1}
"""How many times as long a meta-iteration takes with a technique."""
TECHNIQUE_MEMORY = {"first_order": 0.5, "checkpoint": 0.25}
PARAMETERS = {"mlp-40x2": 1761, "mlp-256x2": 66561, "conv4-64": 112069}
REPTILE = {"algorithm": "reptile", "inner_steps": 5, "meta_batch": 5, "outer": "sgd", "outer_lr": 1.0}
IMAGES = {"task": "glyphs", "model": "conv4-64", "ways": 5, "shots": 1, "query": 1, "measure": ["time", "memory"]}


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """The recorded summary of samples in seconds."""
    ordered = sorted(samples)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return {
        "median": statistics.median(ordered),
        "low": low,
        "high": high,
        "iqr": high - low,
        "n": len(ordered),
        "block": 4,
        "samples": list(samples),
    }


def true_seconds(cell: Row) -> float:
    """What one meta-iteration of a cell takes on the machine of round 0."""
    seconds = TRUE_SECONDS[cell["algorithm"]] * (1 + cell["inner_steps"]) / 2 * cell["meta_batch"] / 25
    seconds *= LOOP_FACTOR if cell["engine"] == "loop" else 1.0
    return seconds * {"mlp-40x2": 1.0, "mlp-256x2": 3.0}.get(cell["model"], 10.0)


def effect(cell: Row, factors: dict[str, float]) -> float:
    """The product of the factors of the techniques that a cell uses."""
    used = {axis for axis, plain in NO_TECHNIQUES.items() if cell.get(axis, plain) != plain}
    return math.prod(factor for axis, factor in factors.items() if axis in used)


def make_row(number: int = 0, status: str = "ok", reason: str = "", noise: float = 0.01, **changes: Any) -> Row:
    """One line of `measurements.jsonl`, for CELL with changes; figures only where the status is ok."""
    cell = {**CELL, **changes}
    if number > 0:
        cell["measure"] = ["time"]
    identity = json.dumps({k: v for k, v in cell.items() if k != "measure"}, sort_keys=True)
    row: Row = {
        "schema": 1,
        "id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "round": number,
        "status": status,
        "reason": reason,
        "cell": cell,
        "started": "2026-11-21T05:00:00Z",
        "seconds": 12.5,
        "data": {"name": cell["task"], "content_hash": "ab" * 32},
        "parameters": PARAMETERS.get(cell["model"]),
        "gate": {"engine_error": 0.0 if cell["engine"] == "loop" else 3e-15, "definition_error": 2e-10},
        "time": None,
        "memory": None,
        "quality": None,
        "warnings": [],
    }
    if status == "incorrect":
        row["gate"]["engine_error"] = 2e-3
    if status in ("skipped", "unsupported"):
        row |= {"data": None, "parameters": None, "gate": None}
    if status == "ok":
        row |= figures(row, random.Random(f"{identity}/{number}"), noise)
    return row


def figures(row: Row, generator: random.Random, noise: float) -> Row:
    """Time, memory and quality as the cell asks for them."""
    cell, measure = row["cell"], row["cell"]["measure"]
    found: Row = {}
    if "time" in measure:
        centre = true_seconds(cell) * effect(cell, TECHNIQUE_TIME) * DRIFT[row["round"]]
        step = summary([centre * (1 + generator.uniform(-noise, noise)) for _ in range(21)])
        sampling = summary([1e-4 * (1 + generator.uniform(-noise, noise)) for _ in range(6)])
        found["time"] = {
            "step": step,
            "sampling": sampling,
            "compile_s": 0.0,
            "first_step_s": 0.01,
            "noisy": noise > 0.1,
            "note": "",
        }
    if "memory" in measure:
        scale = {"maml": 4, "fomaml": 2, "reptile": 2, "anil": 1}[cell["algorithm"]]
        found["memory"] = {
            "tracked_bytes": int(100_000 * scale * (1 + cell["inner_steps"]) * effect(cell, TECHNIQUE_MEMORY)),
            "tracked_method": "peak of live tensor bytes",
            "resident_bytes": 5_000_000,
            "resident_method": "resident peak above the baseline",
            "cuda_allocated_bytes": None,
            "cuda_reserved_bytes": None,
            "nvml_bytes": None,
        }
    if "quality" in measure:
        mean = {"maml": 0.4, "fomaml": 0.45, "reptile": 0.8, "anil": 0.5}[cell["algorithm"]] + 0.01 * cell["seed"]
        points = [mean * factor for factor in (8.0, 2.0, 1.0)]
        found["quality"] = {
            "metric": "mse",
            "value": mean,
            "low": mean - 0.03,
            "high": mean + 0.03,
            "tasks": 600,
            "by_step": [{"step": i, "value": v, "low": v - 0.03, "high": v + 0.03} for i, v in enumerate(points)],
            "batch_norm": "none",
            "iterations": cell["iterations"],
            "train_s": 12.0 + cell["seed"],
            "curve": [
                {"iteration": 0, "seconds": 0.0, "loss": None, "value": 4.0},
                {"iteration": 1000, "seconds": 12.0, "loss": 0.3, "value": mean},
            ],
        }
    return found


def make_pairs(*pairs: tuple[float, float]) -> list[Row]:
    """The reference's rows: CELL timed in two processes, which take so many times as long as it truly does."""
    rows = []
    for pair, sides in enumerate(pairs):
        for side, factor in zip("ab", sides, strict=True):
            row = make_row(noise=0.0, measure=["time"])
            samples = [seconds * factor for seconds in row["time"]["step"]["samples"]]
            row["time"]["step"] = summary(samples)
            rows.append(row | {"round": pair, "reference": {"pair": pair, "side": side}})
    return rows


def synthetic_rows() -> list[Row]:
    """Four algorithms, two engines, three rounds and seeds, lines along every axis, and every status."""
    rows: list[Row] = []
    for number in range(3):
        for seed in range(3):
            rows += [make_row(number, algorithm=name, seed=seed) for name in ("maml", "anil")]
            rows.append(make_row(number, **REPTILE, seed=seed))
            lost = ("diverged", "the training loss is nan by iteration 40") if seed == 2 and number == 0 else ("ok", "")
            rows.append(make_row(number, *lost, algorithm="fomaml", seed=seed))
        costs = {"measure": ["time", "memory"]}
        for name in ("maml", "fomaml"):
            for engine in ("loop", "vmap"):
                # one inner step on vmap is among the cells that measure quality
                for steps in (2, 5, 10) if engine == "vmap" else (1, 2, 5, 10):
                    late = engine == "loop" and steps == 10 and name == "maml"
                    ended = ("timeout", "ended in phase 'timing' at the time limit of 60 s") if late else ("ok", "")
                    rows.append(make_row(number, *ended, algorithm=name, engine=engine, inner_steps=steps, **costs))
            rows += [make_row(number, algorithm=name, meta_batch=size, **costs) for size in (5, 100)]
            rows.append(make_row(number, algorithm=name, model="mlp-256x2", **costs))
        big = {"model": "mlp-4096x4", **costs}
        rows.append(make_row(number, "oom", "DefaultCPUAllocator: can't allocate memory", algorithm="maml", **big))
        rows.append(make_row(number, "skipped", "a smaller cell ran out of memory", algorithm="fomaml", **big))
        rows.append(make_row(number, **{**IMAGES, "engine": "loop"}))
        rows.append(make_row(number, "incorrect", "the engine's direction differs from loop by 2.0e-03", **IMAGES))
        rows.append(make_row(number, "crashed", CRASH, **{**IMAGES, "algorithm": "anil"}))
        rows.append(make_row(number, "unsupported", "no images for reptile", **{**IMAGES, "algorithm": "reptile"}))
        rows.append(make_row(number, noise=0.3, **{**IMAGES, "algorithm": "fomaml", "engine": "loop"}))
    for row in rows:
        if row["cell"]["algorithm"] == "anil":
            row["memory"] = None
    random.Random(0).shuffle(rows)  # cells run in random order
    return rows


def write_run(folder: Path, rows: Iterable[Row], environment: Row | None = None) -> Path:
    """Write a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "measurements.jsonl").write_text(lines, encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT if environment is None else environment))
    (folder / "sweep.toml").write_text('title = "Every case once"\n')
    return folder


@pytest.fixture
def row() -> Callable[..., Row]:
    """Makes one measurement: see `make_row`."""
    return make_row


@pytest.fixture
def pairs() -> Callable[..., list[Row]]:
    """Makes the rows of a reference: see `make_pairs`."""
    return make_pairs


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder of the given rows."""
    return lambda rows, environment=None, name="run": write_run(tmp_path / name, rows, environment)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder with everything in it; not to be changed."""
    return write_run(tmp_path_factory.mktemp("runs") / "synthetic", synthetic_rows())
