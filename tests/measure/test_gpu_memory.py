"""Peaks on a GPU, by stand-ins for torch's allocator and for another library's."""

import gc
import os
from collections.abc import Callable

import pytest
import torch

from gpus import FakeCuda, FakeNvml
from metabench.measure.gpu_memory import LIBRARY_BOUND, LIBRARY_METHOD, TORCH_METHOD
from metabench.measure.memory import measure_memory

GPU0 = torch.device("cuda", 0)
READ = "NVML, process's use after the step"


class FakeAllocator:
    """Another library's allocator: hands out blocks of 256 bytes, and does not forget its peak."""

    def __init__(self, used: int = 5120, peak: int = 102400, limit: int | None = 1 << 20) -> None:
        self.used, self.highest, self.most = used, peak, limit
        self.room = limit or 0

    def in_use(self) -> int:
        return self.used

    def peak(self) -> int:
        return self.highest

    def reserved(self) -> int | None:
        return 2 << 20

    def limit(self) -> int | None:
        return self.most

    def hold(self, size: int) -> Callable[[], object]:
        block = -(-size // 256) * 256
        if self.used + block > self.room:
            raise MemoryError("RESOURCE_EXHAUSTED")
        self.take(block)
        return lambda: self.take(-block)

    def take(self, size: int) -> None:
        """Take or give back."""
        self.used += size
        self.highest = max(self.highest, self.used)

    def step(self) -> None:
        """A step that adds 7680 bytes: less than the earlier peak."""
        self.take(7680)
        self.take(-7680)


def test_a_step_is_measured_from_a_fresh_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[(os.getpid() + 1, 5), (os.getpid(), 3 << 20)])
    found = measure_memory(cuda.step, GPU0)
    assert cuda.asked == ["synchronize", "empty_cache", "reset_peak_memory_stats", "step", "synchronize"]
    assert (found.tracked_bytes, found.tracked_method) == (700, TORCH_METHOD)
    assert found.cuda_allocated_bytes == 1700
    assert found.cuda_reserved_bytes == 1 << 20
    assert (found.nvml_bytes, found.nvml_method) == (3 << 20, READ)
    assert found.resident_bytes is None and found.resident_method.startswith("not measured")
    assert gc.isenabled()


def test_what_a_captured_graph_holds_counts_as_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay allocates next to nothing: what its graph works in was allocated in the capture."""
    cuda = FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    found = measure_memory(cuda.step, GPU0, held=50_000)
    assert (found.tracked_bytes, found.cuda_allocated_bytes) == (50_700, 51_700)
    assert found.tracked_method == TORCH_METHOD  # the same for all engines, so that tables form ratios
    assert found.cuda_reserved_bytes == 1 << 20  # the pool is in it already


def test_another_librarys_step_is_measured_to_the_byte_below_an_earlier_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[(os.getpid(), 3 << 20)])
    allocator = FakeAllocator()
    found = measure_memory(allocator.step, GPU0, foreign=lambda device: allocator)
    assert (found.tracked_bytes, found.tracked_method) == (7680, LIBRARY_METHOD)
    assert found.cuda_allocated_bytes == 5120 + 7680
    assert found.cuda_reserved_bytes == 2 << 20
    assert (found.nvml_bytes, found.nvml_method) == (3 << 20, READ)
    assert allocator.in_use() == 5120  # the blocks are given back


def test_a_step_that_sets_the_peak_itself_needs_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    allocator = FakeAllocator(used=5120, peak=5120)
    found = measure_memory(allocator.step, GPU0, foreign=lambda device: allocator)
    assert (found.tracked_bytes, found.tracked_method) == (7680, LIBRARY_METHOD)


@pytest.mark.parametrize("limit", [None, 200_000])
def test_without_room_to_raise_the_use_there_is_an_upper_bound_that_says_so(
    monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    allocator = FakeAllocator(limit=limit)
    found = measure_memory(allocator.step, GPU0, foreign=lambda device: allocator)
    assert (found.tracked_bytes, found.tracked_method) == (102400 - 5120, LIBRARY_BOUND)
    assert found.cuda_allocated_bytes == 102400
    assert allocator.in_use() == 5120


def test_blocks_that_cannot_be_had_are_given_back_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    allocator = FakeAllocator()
    allocator.room = 60_000  # by gaps between what is in use
    found = measure_memory(allocator.step, GPU0, foreign=lambda device: allocator)
    assert (found.tracked_bytes, found.tracked_method) == (102400 - 5120, LIBRARY_BOUND)


def test_a_step_that_fails_leaves_no_blocks_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[])
    allocator = FakeAllocator()

    def fails() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        measure_memory(fails, GPU0, foreign=lambda device: allocator)
    assert allocator.in_use() == 5120


def test_an_allocator_that_keeps_no_count_leaves_the_gpus_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    FakeNvml(monkeypatch, GPU_aaaa_bbbb_0=[(os.getpid(), 3 << 20)])
    found = measure_memory(cuda.step, GPU0, foreign=lambda device: None)
    assert (found.tracked_bytes, found.cuda_allocated_bytes, found.cuda_reserved_bytes) == (None, None, None)
    assert "outside torch's allocator" in found.tracked_method
    assert (found.nvml_bytes, found.nvml_method) == (3 << 20, READ)
