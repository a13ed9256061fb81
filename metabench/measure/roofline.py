"""How much arithmetic a meta-iteration is, and how fast this machine can be at arithmetic: the pieces of a roofline."""

import gc
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metabench.algorithms.base import Algorithm
from metabench.engines import loop
from metabench.machine.threads import torch_threads
from metabench.measure.clock import Budget, measure_time
from metabench.record.measurement import Peaks
from metabench.tensors import Params, Task, task_at

CHANNELS = 64  # in and out of the convolutions tried
LONG_SECONDS = 0.02  # larger sizes are not tried after a call of this length
# Blocks of a millisecond: another program's time slices then spoil some of them and not all.
PEAK_BUDGET = Budget(seconds=0.25, block_seconds=0.001, relative_width=0.02)

Trial = tuple[float, Callable[[], object]]
"""The work of a call, in floating-point operations or bytes, and the call."""


# --- the work --------------------------------------------------------------------------------------------------------


def step_flops(algorithm: Algorithm, episodes: Task, meta: Params) -> int:
    """Floating-point operations of the directions of one meta-iteration, as `loop` computes them.

    torch's own counter takes 2·m·n·k for each matrix product and its like for each convolution. It counts whatever of
    forward, backward and double backward is carried out: also what `checkpoint` computes again, and what torch does
    without need (the second derivative of a convolution always contains its input's). Products with the zeros of
    padding count. An engine that comes to the same direction by a shorter way is credited with the loop's work.

    Left out: all that works element by element or sums up (activations, batch normalisation, pooling, softmax, losses,
    inner and outer updates, the mean over tasks), products of a matrix and a vector, and linear algebra (solve,
    cholesky). In a convolutional network with batch normalisation these are 3 % (64 filters) to 10 % (16 filters) of
    the arithmetic, and about half of the time or more.

    The first task's direction is computed once, on the tensors' own device, and its count taken times the tasks: all
    tasks of an episode batch have the same shapes, and the count is one of shapes. That holds for every algorithm
    whose course does not depend on values, which none of ours does. The first call in a process makes torch import its
    compiler, which takes a second or two, and memory: call this when all else is measured.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, and most cells count nothing

    direction = loop.build(algorithm)
    with FlopCounterMode(display=False) as counter:
        direction(meta, task_at(episodes, [0]))
    return int(counter.get_total_flops()) * episodes.support.x.shape[0]


def step_bytes(algorithm: Algorithm, episodes: Task, meta: Params) -> int:
    """Bytes that the operators of one meta-iteration's directions read and write, as `loop` calls them one by one.

    The sum over all operators of the bytes of their tensor inputs and outputs: what an eager execution asks of memory
    and caches together, where no operator knows of another. On small networks most of it never leaves the caches, and a
    compiled engine moves a fraction of it: it is an upper bound of main memory's traffic. Views move nothing; of an
    expanded tensor its own elements count. One task is counted and multiplied by the tasks, as in `step_flops`.
    """
    direction = loop.build(algorithm)
    with Traffic() as traffic:
        direction(meta, task_at(episodes, [0]))
    return int(traffic.bytes) * episodes.support.x.shape[0]


def iteration_calls(run: Callable[[], object]) -> int:
    """Operators that `run`, one meta-iteration of an engine that goes through torch's operators, calls.

    Operators that do nothing, such as views and the making of empty tensors, are left out. On a GPU each is a kernel
    launched, or a few. The outer update counts.
    """
    with Traffic() as traffic:
        run()
    return int(traffic.calls)


IDLE = (
    *("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"),
    "_unsafe_view",
)
"""Operators that touch no element."""


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators that do something, and the bytes of the tensors that go into them and come out of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if not view and func.overloadpacket.__name__ not in IDLE:
            self.calls += 1
            self.bytes += sum(map(_touched, tree_leaves((args, kwargs, out))))
        return out


def _touched(value: object) -> int:
    """Bytes of a tensor's own elements: those along which it is only repeated count once."""
    if not isinstance(value, Tensor) or value.numel() == 0:
        return 0
    sizes = zip(value.shape, value.stride(), strict=True)
    return math.prod(size for size, stride in sizes if stride) * value.element_size()


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """What is tried for the peaks: each series from small to large, until a call takes 20 ms."""

    matrices: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    """Rows of square matrices. Small ones stay in a processor's caches; the last ones fill a GPU."""
    images: tuple[tuple[int, int], ...] = ((32, 14), (32, 28), (32, 56), (256, 56))
    """(images in the batch, rows of a square image) of convolutions."""
    array_bytes: int = 2**27
    """Bytes of each array that is copied: several times the size of caches, else their bandwidth would be measured."""


def measure_peaks(
    threads: int,
    dtype: torch.dtype,
    device: torch.device,
    sizes: Sizes = Sizes(),
    budget: Budget = PEAK_BUDGET,
) -> Peaks:
    """The peaks with that many threads of torch; takes about 5 s and 0.4 GB.

    The fastest block of the best size counts: a peak is a ceiling, and other programs can only make a block slower.
    Where they leave fewer cores than there are threads, though, every block waits for them, and the figures are far too
    low: look at `noisy`, and at the load.
    On CUDA, float32 means what torch's settings for TF32 say at the moment.
    """
    generator = torch.Generator(device).manual_seed(0)

    def noise(*shape: int) -> Tensor:
        # Not zeros or ones: a GPU that switches fewer transistors clocks higher.
        return torch.randn(shape, generator=generator, dtype=dtype, device=device)

    def best_of(*series: Iterable[Trial]) -> tuple[float, bool]:
        return max(_best_rate(trials, device, budget) for trials in series)

    with torch_threads(threads), _known_to_the_collector(), torch.no_grad():
        matmul, noisy_matmul = best_of(_products(sizes, noise))
        convolution, noisy_convolution = best_of(
            *(_convolutions(sizes, noise, layout) for layout in (torch.contiguous_format, torch.channels_last))
        )
        bandwidth, noisy_bandwidth = best_of(*([trial] for trial in _passes(sizes, dtype, device)))
    return Peaks(matmul, convolution, bandwidth, noisy_matmul or noisy_convolution or noisy_bandwidth)


def _best_rate(trials: Iterable[Trial], device: torch.device, budget: Budget) -> tuple[float, bool]:
    """The highest work per second among the trials, and whether its timing is noisy; they are made one by one."""
    best = (0.0, True)
    for work, call in trials:
        timing = measure_time(call, device, budget)
        fastest = min(timing.summary.samples)
        best = max(best, (work / fastest, timing.noisy))
        if fastest >= LONG_SECONDS:
            break
    return best


@contextmanager
def _known_to_the_collector() -> Iterator[None]:
    """Spare the garbage collector what is there already: before each of a dozen timings it would look at it all."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _products(sizes: Sizes, noise: Callable[..., Tensor]) -> Iterator[Trial]:
    for n in sizes.matrices:
        a, b = noise(n, n), noise(n, n)
        out = torch.empty_like(a)
        yield 2 * n**3, lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # type: ignore[misc]


def _convolutions(sizes: Sizes, noise: Callable[..., Tensor], layout: torch.memory_format) -> Iterator[Trial]:
    kernel = noise(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=layout)
    for batch, rows in sizes.images:
        # One image over and over: to draw them all takes longer than to convolve them.
        x = noise(1, CHANNELS, rows, rows).repeat(batch, 1, 1, 1).contiguous(memory_format=layout)
        work = 2 * batch * rows**2 * kernel.numel()
        yield work, lambda x=x: F.conv2d(x, kernel, padding=1)  # type: ignore[misc]


def _passes(sizes: Sizes, dtype: torch.dtype, device: torch.device) -> Iterator[Trial]:
    # Written to, not `zeros`: untouched pages are all one page of zeros, which stays in the cache.
    a, b, out = (torch.ones(sizes.array_bytes // dtype.itemsize, dtype=dtype, device=device) for _ in range(3))
    size = a.numel() * a.element_size()
    yield 2 * size, lambda: out.copy_(a)
    yield 3 * size, lambda: torch.add(a, b, alpha=0.5, out=out)
