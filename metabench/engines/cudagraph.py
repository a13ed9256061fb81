"""`cudagraph`: a meta-iteration captured as one CUDA graph, and replayed.

On small networks a GPU waits for the processor to call the next kernel. A replay launches all kernels of a
meta-iteration (the vmapped direction, clipping and the outer update) at once. They work at addresses that do not
change: the meta-parameters and moments, updated in place, and buffers that the episodes are copied into.
"""

from metabench.algorithms.base import Algorithm
from metabench.engines.base import ENGINES, Engine, Iteration, by_unit_descent
from metabench.engines.capture import captured
from metabench.engines.convolutions import forms_for
from metabench.engines.iterations import Iterations
from metabench.engines.outer import Outer
from metabench.tensors import Params


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations; the first one of each shape of episodes is captured."""
    return Iterations(algorithm, meta, outer, captured, forms_for(next(iter(meta.values())).device))


ENGINES.register("cudagraph")(
    Engine(
        "a whole meta-iteration, vmapped, captured as one CUDA graph and replayed",
        by_unit_descent(start),
        start,
        compiles=True,
    )
)
