"""`cudagraph`: a meta-iteration captured as one CUDA graph, and replayed.

On small networks a GPU waits for the processor to call the next kernel. A replay launches all kernels of a
meta-iteration (the vmapped direction, clipping and the outer update) at once. They work at addresses that do not
change: the meta-parameters and moments, updated in place, and buffers that the episodes are copied into.
"""

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.engines import vmap
from metabench.engines.base import ENGINES, Engine, Iteration, by_unit_descent
from metabench.engines.compile import Graph, Iterations
from metabench.errors import Unsupported, in_short
from metabench.outer import Outer
from metabench.tensors import Params

WARM_UP = 3
"""Runs before the capture, in which libraries choose their kernels and take their work space."""


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations; the first one of each shape of episodes is captured."""
    return Iterations(vmap.build(algorithm), meta, outer, captured)


def captured(function: Graph, state: list[Tensor], episodes: list[Tensor]) -> Graph:
    """`function` of state and episodes as a CUDA graph: it updates this very state, and takes any episodes like these.

    Raises `Unsupported` off CUDA, and for what cannot be captured: where the processor waits for a number, for one.
    """
    _need_cuda(state[0].device)
    buffers = [tensor.clone() for tensor in episodes]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph, main = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    stream.wait_stream(main)
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function([tensor.clone() for tensor in (*state, *episodes)])
    main.wait_stream(stream)
    try:
        with torch.no_grad(), torch.cuda.graph(graph, stream=stream):
            outputs = function([*state, *buffers])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Unsupported(f"cudagraph cannot capture this meta-iteration: {in_short(error)}") from error

    def replay(inputs: list[Tensor]) -> list[Tensor]:
        for buffer, tensor in zip(buffers, inputs[len(state) :], strict=True):
            buffer.copy_(tensor)
        graph.replay()
        return [tensor.clone() for tensor in outputs]  # the next replay writes to these

    return replay


def _need_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        raise Unsupported(f"cudagraph is for CUDA devices, not for '{device.type}': use native or compile")


ENGINES.register("cudagraph")(
    Engine(
        "a whole meta-iteration, vmapped, captured as one CUDA graph and replayed",
        by_unit_descent(start),
        start,
        compiles=True,
        autocasts=False,
        foreign=True,
    )
)
