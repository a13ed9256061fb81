"""Graphs compiled by torch's Inductor, called below torch.compile.

make_fx resolves functional gradients into plain tensor operations, so that nothing is differentiated through a compiled
module, and whatever vmap or loop carries is carried. Inductor makes fused loops of the graph. It is called without
torch.compile's guards, which take longer than the work on small networks: what they would check, `signature_of` does.
"""

import os
import shlex
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from metabench.engines.compiler import compiler
from metabench.engines.function import Function
from metabench.engines.tracing import traced


def compiled(function: Function, inputs: list[Tensor]) -> Function:
    """`function` for inputs like these; what it writes to must be among them. Kept on disk by Inductor's cache.

    Raises `Unsupported` on a processor without a C++ compiler.
    """
    # Importing the compiler takes seconds, which the other engines need not spend.
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._subclasses import FakeTensorMode

    compiling = _by_our_compiler() if inputs[0].device.type == "cpu" else nullcontext()
    graph = traced(function, inputs)
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # for what the network keeps for itself
    with compiling, torch.no_grad(), tracing(TracingContext(mode)):
        made: Function = compile_fx_inner(graph, [mode.from_tensor(tensor) for tensor in inputs])
    return made


def _by_our_compiler() -> AbstractContextManager[object]:
    """Have Inductor call the compiler that other engines call: by itself it takes what CXX says, or else g++ alone.

    Raises `Unsupported` where there is none.
    """
    command = compiler("compile")
    from torch._inductor import config

    patched: AbstractContextManager[object] = config.patch({"cpp.cxx": (shlex.join(command),)})
    return patched


def kept_libraries() -> int:
    """How many compiled pieces Inductor's cache holds: libraries of the processor's, binaries of Triton's."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    # What other processes remove meanwhile is passed over.
    return sum(file.endswith((".so", ".cubin", ".hsaco")) for _, _, files in os.walk(cache_dir()) for file in files)
