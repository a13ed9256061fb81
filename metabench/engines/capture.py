"""A function of tensors as one CUDA graph, which is replayed."""

import torch
from torch import Tensor

from metabench.engines.function import Function, Made
from metabench.errors import Unsupported, in_short

WARM_UP = 3
"""Runs before the capture, in which libraries choose their kernels and take their work space."""


def captured(function: Function, state: list[Tensor], episodes: list[Tensor]) -> Made:
    """`function` of state and episodes as a CUDA graph: it updates this very state, and takes any episodes like these.

    A replay works at the addresses of the capture, in memory that the graph keeps: `held` is the most that the function
    allocated at once while it was captured. Episodes are copied into buffers.
    Raises `Unsupported` off CUDA, and for what cannot be captured: where the processor waits for a number, for one.
    """
    need_cuda((state or episodes)[0].device)
    cuda = torch.cuda
    buffers = [tensor.clone() for tensor in episodes]
    stream = cuda.Stream()  # type: ignore[no-untyped-call]
    graph, main = cuda.CUDAGraph(), cuda.current_stream()
    stream.wait_stream(main)
    with torch.no_grad(), cuda.stream(stream):
        for _ in range(WARM_UP):
            function([tensor.clone() for tensor in (*state, *episodes)])
    main.wait_stream(stream)
    try:
        with torch.no_grad(), cuda.graph(graph, stream=stream):
            before = cuda.memory_allocated()  # here: on its way in, torch collects garbage
            cuda.reset_peak_memory_stats()
            outputs = function([*state, *buffers])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Unsupported(f"CUDA cannot capture this meta-iteration: {in_short(error)}") from error
    held = cuda.max_memory_allocated() - before

    def replay(inputs: list[Tensor]) -> list[Tensor]:
        torch._foreach_copy_(buffers, inputs[len(state) :])
        graph.replay()
        return [tensor.clone() for tensor in outputs]  # the next replay writes to these

    return Made(replay, held)


def need_cuda(device: torch.device) -> None:
    """Raises `Unsupported` for any other device."""
    if device.type != "cuda":
        raise Unsupported(f"cudagraph is for CUDA devices, not for '{device.type}': use native or compile")
