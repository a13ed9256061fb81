"""Peak memory of a step on a CUDA device, by the allocator that hands the step's memory out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from metabench.engines.base import Allocator
from metabench.machine.nvml import Reading, nvml_bytes
from metabench.measure.clock import no_garbage_collection

TORCH_METHOD = "CUDA peak allocated above the start, with what captured graphs hold"
LIBRARY_METHOD = "peak of the library's own allocator above the start"
LIBRARY_BOUND = (
    "upper bound: peak of the library's own allocator since the process began, less what was in use at the start"
)
FOREIGN: Reading = (None, "unavailable (arrays outside torch's allocator)")
TRIES = 3
"""How many blocks are held at the most: making one may itself move the peak a little."""
SAFE_SHARE = 0.8
"""Share of an allocator's limit that may be used: the rest is for gaps between blocks, and for torch."""


@dataclass(frozen=True)
class GpuMemory:
    """What a step takes on a CUDA device, in bytes; None where it cannot be known."""

    added: Reading
    """Peak above what was in use when the step began."""
    allocated: int | None
    """Peak of all that was in use."""
    reserved: int | None
    """What the allocator had taken from the driver at the most."""
    nvml: Reading
    """What the process held after the step."""


def torch_peak(step: Callable[[], object], device: torch.device, held: int, unused: Mapping[str, int]) -> GpuMemory:
    """The peak by torch's caching allocator.

    A captured CUDA graph works in a pool of its own, which the allocator counts as reserved and not as allocated while
    the graph is replayed. `held` is the most that was allocated in it during the capture: with it, the peak is that of
    the same operations called one by one. `unused` is what `unused_gpus` gave before this process used CUDA.

    Raises whatever the step raises.
    """
    cuda = torch.cuda
    with no_garbage_collection():
        cuda.synchronize(device)
        cuda.empty_cache()  # else what earlier phases left reserved would be this step's peak
        cuda.reset_peak_memory_stats(device)
        before = cuda.memory_allocated(device)
        result = step()
        cuda.synchronize(device)
        allocated, reserved = cuda.max_memory_allocated(device), cuda.max_memory_reserved(device)
        # The caching allocator has returned nothing to the driver yet, so the process's use is still that of the peak.
        nvml = nvml_bytes(device, unused)
        del result
    return GpuMemory((allocated - before + held, TORCH_METHOD), allocated + held, reserved, nvml)


def library_peak(
    step: Callable[[], object], device: torch.device, allocator: Allocator | None, unused: Mapping[str, int]
) -> GpuMemory:
    """The peak by the allocator of another library, which keeps its peak since the process began and cannot forget it.

    So the use is raised to that peak first, by blocks that are held during the step: what the step adds is then the
    growth of the peak, to the byte. Where there may be no room for them, only an upper bound is known, and the method
    says so. The caller has called the step before: the reserve and NVML's figure, which the blocks would change, are
    read first, and are those of the whole process so far.

    Raises whatever the step raises.
    """
    with no_garbage_collection():
        torch.cuda.empty_cache()  # what torch has left over is room for the blocks
        nvml = nvml_bytes(device, unused)
        if allocator is None:
            return GpuMemory(FOREIGN, None, None, nvml)
        reserved, before = allocator.reserved(), allocator.in_use()
        with _raised(allocator) as exact:
            start = allocator.in_use() if exact else before
            result = step()
            added = allocator.peak() - start
            del result
    method = LIBRARY_METHOD if exact else LIBRARY_BOUND
    return GpuMemory((added, method), before + added, reserved, nvml)


@contextmanager
def _raised(allocator: Allocator) -> Iterator[bool]:
    """Hold blocks until the allocator's use is its earlier peak; gives whether it is."""
    release: list[Callable[[], object]] = []
    try:
        if _has_room(allocator):
            with suppress(MemoryError):
                while len(release) < TRIES and (gap := allocator.peak() - allocator.in_use()) > 0:
                    release.append(allocator.hold(gap))
        exact = allocator.in_use() >= allocator.peak()
        while not exact and release:
            release.pop()()
        yield exact
    finally:
        while release:
            release.pop()()


def _has_room(allocator: Allocator) -> bool:
    """Whether the step fits above its earlier peak: it was called before, so it adds no more than that tells."""
    limit, peak = allocator.limit(), allocator.peak()
    return limit is not None and peak + (peak - allocator.in_use()) <= SAFE_SHARE * limit
