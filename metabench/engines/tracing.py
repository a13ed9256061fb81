"""A function of tensors as a graph of plain operations, for what compiles."""

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import Tensor
from torch.fx import GraphModule


def traced(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> GraphModule:
    """What `function` does to inputs like these: gradients resolved, and in Inductor's few primitive operations.

    What it writes to its inputs becomes copies at the end of the graph; within, nothing is written to. (Inductor takes
    no heed of what a graph writes to on its way, as batch norm's decomposition does: the second-order gradient through
    it would be wrong.)
    """
    # Importing the compiler takes seconds, which the other engines need not spend.
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    import_module("torch._inductor.lowering")  # a decomposition of max-pooling looks it up without importing it

    with torch.no_grad():
        copies = [tensor.clone() for tensor in inputs]  # tracing runs the function
        differentiated = make_fx(function)(*copies)
        graph = make_fx(torch.func.functionalize(differentiated), decomposition_table=select_decomp_table())(*copies)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph
