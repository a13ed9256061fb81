"""Peak memory on a GPU: a captured graph's against the same step uncaptured, and no engine without figures."""

from dataclasses import asdict

import pytest
import torch

from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.machine.nvml import unused_gpus
from metabench.measure.gpu_memory import LIBRARY_BOUND, LIBRARY_METHOD, TORCH_METHOD
from metabench.measure.memory import measure_memory
from metabench.record.measurement import Memory
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep

pytestmark = pytest.mark.cuda
GPU = torch.device("cuda")
SMALLEST = 1 << 20
"""Bytes: the steps here are larger, and the allocator's rounding is far smaller."""


def memory_of(engine: str, **axes: object) -> Memory:
    """The memory of one meta-iteration of MAML, as a cell's process measures it; skips what is not at hand."""
    grid = {"task": "sinusoid", "algorithm": "maml", "device": "cuda", "measure": ["memory"], **axes}
    (cell,) = parse_sweep("test", {"grid": [grid | {"engine": engine}]}, "", 1).cells
    found: dict[str, Memory] = {}
    try:
        measure_cell(cell, asdict(Settings()), None, found.update)
    except Unsupported as error:
        pytest.skip(f"{engine}: {error}")
    return found["memory"]


def test_a_large_tensor_is_counted_once() -> None:
    size = 64 << 20
    found = measure_memory(lambda: torch.empty(size, dtype=torch.uint8, device=GPU), GPU)
    assert found.tracked_bytes == pytest.approx(size, abs=SMALLEST)
    assert found.cuda_allocated_bytes >= found.tracked_bytes
    assert found.cuda_reserved_bytes >= found.cuda_allocated_bytes


def test_a_replay_alone_shows_nothing_and_with_what_its_graph_holds_the_peak_of_its_operations() -> None:
    """By hand: the pool of this graph holds two tensors at its fullest moment."""
    size = 32 << 20
    x = torch.ones(size // 4, device=GPU)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.cuda.graph(graph):
        y = x + 1
        z = y * 2
        x.copy_(z)
        del y, z
    held = torch.cuda.max_memory_allocated() - before
    assert held == pytest.approx(2 * size, abs=SMALLEST)

    def eager() -> None:
        y = x + 1
        z = y * 2
        x.copy_(z)

    assert measure_memory(graph.replay, GPU).tracked_bytes < SMALLEST
    captured, uncaptured = measure_memory(graph.replay, GPU, held), measure_memory(eager, GPU)
    assert captured.tracked_bytes == pytest.approx(uncaptured.tracked_bytes, abs=SMALLEST)
    assert captured.tracked_method == uncaptured.tracked_method == TORCH_METHOD
    assert captured.cuda_reserved_bytes >= held


def test_a_captured_meta_iteration_takes_what_the_same_takes_uncaptured() -> None:
    """`cudagraph` captures what `vmap` computes; their outer updates differ, and are far from the peak."""
    axes = {"meta_batch": 1000, "inner_steps": 5, "model": "mlp-40x2"}
    captured, uncaptured = memory_of("cudagraph", **axes), memory_of("vmap", **axes)
    assert uncaptured.tracked_bytes > 10 * SMALLEST
    assert captured.tracked_bytes == pytest.approx(uncaptured.tracked_bytes, rel=0.15)
    assert captured.tracked_method == uncaptured.tracked_method
    assert captured.cuda_reserved_bytes >= captured.tracked_bytes


@pytest.mark.parametrize("engine", ENGINES.names())
def test_no_engine_is_without_figures(engine: str) -> None:
    found = memory_of(engine, meta_batch=25)
    assert found.tracked_bytes is not None and found.tracked_bytes > 0
    foreign = ENGINES.get(engine).foreign is not None
    assert found.tracked_method in ((LIBRARY_METHOD, LIBRARY_BOUND) if foreign else (TORCH_METHOD,))
    assert found.cuda_allocated_bytes is not None and found.cuda_allocated_bytes >= found.tracked_bytes
    assert found.cuda_reserved_bytes is not None and found.cuda_reserved_bytes > 0


def test_nvml_tells_this_processs_memory_or_why_it_cannot() -> None:
    """A process that has used CUDA for long cannot tell the GPU's growth: then there is a reason."""
    torch.ones(1, device=GPU)
    found = measure_memory(lambda: torch.ones(1 << 20, device=GPU), GPU, unused=unused_gpus())
    if found.nvml_bytes is None:
        assert found.nvml_method.startswith("unavailable (")
    else:
        assert found.nvml_bytes >= torch.cuda.memory_reserved()
        assert found.nvml_method.startswith("NVML, ")


def test_jaxs_peak_grows_with_the_meta_batch() -> None:
    small, large = memory_of("jax", meta_batch=200), memory_of("jax", meta_batch=2000)
    assert small.tracked_method == large.tracked_method == LIBRARY_METHOD
    assert 5 < large.tracked_bytes / small.tracked_bytes < 20
