"""What `test_devices.py` runs in a process of its own: a cell of each engine on a second device, all phases.

Prints a line of JSON for each check: its name, and what went wrong.
"""

import json
import os
import traceback
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from unittest.mock import patch

import torch
from msgspec.structs import replace

import elsewhere
from metabench.engines.function import Made
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep

PROBLEMS = {
    "sinusoid": {"task": "sinusoid"},
    "stride 2": {"task": "glyphs", "model": "conv2-8", "ways": 2, "eval_query": 1},
    "max-pool": {"task": "glyphs", "model": "conv2-8-maxpool", "ways": 2, "eval_query": 1},
}
ENGINE_NAMES = ["loop", "vmap", "compile", "compile-tasks", "cudagraph", "jax"]
"""All but `native` and `fused`, which are other devices' instructions, and the peers of nn.Module, whose `data` this
device's tensors lack."""
MEASURE = ["time", "memory", "phases", "quality"]


def cell_of(engine, problem):
    axes = {
        "algorithm": "maml",
        "engine": engine,
        "meta_batch": 1,
        "iterations": 2,
        "eval_tasks": 2,
        "eval_steps": 1,
        "query": 1,
    }
    grid = {**axes, "shots": 1, "measure": MEASURE, **PROBLEMS[problem]}
    (cell,) = parse_sweep("test", {"grid": [grid]}, "", 1).cells
    return replace(cell, device=elsewhere.NAME)


def check(engine, problem):
    """Prove and measure the cell there; gives what its row would hold."""
    found = {}
    settings = asdict(Settings(time_budget_s=0.01, curve_points=1))
    measure_cell(cell_of(engine, problem), settings, None, found.update)
    return found


def not_captured(function, state, episodes):
    """In the place of a capture: the function itself."""
    return Made(function)


def not_compiled(function, inputs):
    """In the place of a compiler: the function itself."""
    return function


def tell(check, fault):
    print(json.dumps({"check": check, "fault": fault}), flush=True)


def main():
    torch.set_num_threads(1)
    elsewhere.register()
    with ExitStack() as stack:
        stack.enter_context(elsewhere.Elsewhere())
        stack.enter_context(patch("metabench.sweep.scoring.VALIDATION_TASKS", 2))
        # CUDA's graphs and compilers do not know this device: the functions that they are given run as they are.
        for module in ("compile", "cudagraph"):
            stack.enter_context(patch(f"metabench.engines.{module}.captured", not_captured))
        stack.enter_context(patch("metabench.engines.compile.compiled", not_compiled))
        # The device's tensors cannot be made in the thread that a measurement runs in.
        stack.enter_context(patch("metabench.engines.convolutions.measured", lambda *_: {"matrix": 1.0}))
        stack.enter_context(patch("metabench.engines.convolutions._kept", lambda device: {}))
        stack.enter_context(patch("metabench.engines.convolutions._keep", lambda *_: None))
        if find_spec("jax"):
            from jax import devices

            stack.enter_context(patch("metabench.engines.peers.jax.device_like", lambda device: devices("cpu")[0]))
        for engine in ENGINE_NAMES:
            for problem in PROBLEMS:
                try:
                    found = check(engine, problem)
                    missing = [part for part in ("gate", *MEASURE) if not found.get(part)]
                    fault = f"no {' and no '.join(missing)}" if missing else ""
                except Exception:
                    fault = traceback.format_exc()
                tell(f"{engine}, {problem}", fault)
        try:
            torch.ones(2, device=elsewhere.NAME) + torch.ones(2)
        except RuntimeError as error:
            tell("a mix", str(error))


if __name__ == "__main__":
    main()
    os._exit(0)  # autograd's thread of the device has no end of its own
