"""Launches, busy share, clocks and energy on a GPU."""

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metabench.errors import Unsupported
from metabench.measure.energy import NVML_METHOD
from metabench.report.sections.device import BY_LAUNCHES, device_work
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep

pytestmark = pytest.mark.cuda
INNER = 5


def row_of(engine: str, **axes: Any) -> dict[str, Any]:
    """What a cell's process records; skips what is not at hand."""
    grid = {
        "task": "sinusoid",
        "algorithm": "maml",
        "device": "cuda",
        "inner_steps": INNER,
        "measure": ["time"],
        **axes,
    }
    (cell,) = parse_sweep("test", {"grid": [grid | {"engine": engine}]}, "", 1).cells
    found: dict[str, Any] = {}
    try:
        measure_cell(cell, asdict(Settings()) | {"time_budget_s": 0.3}, None, found.update)
    except Unsupported as error:
        pytest.skip(f"{engine}: {error}")
    return found


def test_one_task_after_the_other_is_bound_by_launches() -> None:
    row = row_of("loop")
    work = device_work([SimpleNamespace(**row)])
    assert row["launches"].note == ""
    assert work is not None and work.bound == BY_LAUNCHES
    assert work.launches > 25 * INNER  # each task's inner steps have at least one each
    assert work.kernels == pytest.approx(work.launches, rel=0.01)


def test_a_captured_iteration_is_launched_as_one() -> None:
    loop, captured = row_of("vmap")["launches"], row_of("cudagraph")["launches"]
    assert captured.note == ""
    assert captured.launches < 20 < loop.launches
    assert captured.kernels > 5 * captured.launches
    assert 0 < captured.busy_share <= 1


def test_the_kernels_of_jax_are_seen() -> None:
    found = row_of("jax")["launches"]
    assert found.note == ""
    assert found.launches >= 1 and found.kernels >= found.launches and 0 < found.busy_share <= 1


def test_the_state_of_the_gpu_stands_in_the_row() -> None:
    row = row_of("vmap")
    if not row["time"].gpu:
        pytest.skip("NVML tells nothing here")
    before, after = row["time"].gpu
    for state in (before, after):
        assert state.sm_mhz > 0 and state.celsius < 120 and isinstance(state.reasons, list)


def test_the_energy_of_an_iteration_is_power_times_time() -> None:
    row = row_of("vmap", measure=["time", "energy"])
    energy = row["energy"]
    if energy.joules is None:
        pytest.skip(energy.method)
    assert energy.method == NVML_METHOD and energy.seconds >= 3
    assert 10 < energy.watts < 2000
    assert energy.joules == pytest.approx(energy.watts * energy.seconds / energy.iterations)
    torch.cuda.synchronize()
