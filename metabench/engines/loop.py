"""`loop`: one task after the other, one backward pass each. Defines the truth that other engines are held to."""

from dataclasses import replace

from metabench.algorithms.base import Algorithm
from metabench.autodiff import TAPE
from metabench.engines.base import ENGINES, Engine, Step, mean_over_tasks


def build(algorithm: Algorithm) -> Step:
    """A step that frees the graph of each task before the next begins: memory does not grow with the meta-batch."""
    return mean_over_tasks(replace(algorithm, autodiff=TAPE).task_direction)


ENGINES.register("loop")(
    Engine("a plain loop over tasks with torch.autograd: the reference", build, concurrent_tasks=False)
)
