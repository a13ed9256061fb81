"""`loop`: one task after the other, one backward pass each. Defines the truth that other engines are held to."""

from dataclasses import replace

from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import TAPE
from metabench.engines.base import ENGINES, Engine, Step
from metabench.tensors import Params, Task, task_at


def build(algorithm: Algorithm) -> Step:
    """Each task's graph is freed before the next task begins: memory does not grow with the meta-batch."""
    algorithm = replace(algorithm, autodiff=TAPE)

    def step(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
        tasks = episodes.support.x.shape[0]
        direction, metrics = algorithm.task_direction(meta, task_at(episodes, 0))
        for i in range(1, tasks):
            more_direction, more_metrics = algorithm.task_direction(meta, task_at(episodes, i))
            direction = _add(direction, more_direction)
            metrics = _add(metrics, more_metrics)
        return _over(direction, tasks), _over(metrics, tasks)

    return step


def _add(total: Params, more: Params) -> Params:
    return {name: tensor + more[name] for name, tensor in total.items()}


def _over(total: Params, count: int) -> Params:
    return {name: tensor / count for name, tensor in total.items()}


ENGINES.register("loop")(Engine("a plain loop over tasks with torch.autograd: the reference", build))
