"""`learn2learn`: Arnold et al. 2020, arXiv 2008.12284. Each task clones the learner and adapts the clone.

ANIL wraps the head alone, as in the library's example. Its example of Reptile copies the module and steps an optimiser
of torch; here Reptile's inner steps are those of `adapt`, without their graphs.
"""

from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from typing import Any

from torch import Tensor, nn

from metabench.algorithms.base import Algorithm
from metabench.algorithms.reptile import Reptile
from metabench.engines.base import ENGINES, Engine, Step
from metabench.engines.peers.module import (
    CARRIED,
    Network,
    TaskDirection,
    differentiates,
    installed,
    refuse_others,
    step_of,
)
from metabench.tensors import Params, Task


def build(algorithm: Algorithm) -> Step:
    """Tasks in turn, each on a clone of one `MAML` or `MetaSGD`."""
    refuse_others(algorithm, "learn2learn", CARRIED, ("sgd",))
    with redirect_stderr(StringIO()):  # gym, which it imports, has words for its own users
        l2l = installed("learn2learn")
    return step_of(algorithm, partial(_set_up, l2l, algorithm))


def _set_up(l2l: Any, algorithm: Algorithm, network: Network) -> TaskDirection:
    loss_of = algorithm.learner.loss_of
    first_order = not differentiates(algorithm)
    if network.rates:
        wrapped = l2l.algorithms.MetaSGD(network.inner, lrs=nn.ParameterList(network.rates), first_order=first_order)
    else:
        # What the loss does not depend on stays as it is; without this, the library takes it for a mistake.
        settings = {"lr": algorithm.inner_lr, "first_order": first_order, "allow_unused": True}
        wrapped = l2l.algorithms.MAML(network.inner, **settings)

    def task_direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        learner = wrapped.clone()
        for batch in network.batches(algorithm, task):
            loss = loss_of(learner(batch.x), batch.y)
            learner.adapt(loss)
        if type(algorithm) is Reptile:
            return network.difference(loss, learner.module.parameters())
        return network.gradient(loss_of(learner(network.body(task.query.x)), task.query.y))

    return task_direction


ENGINES.register("learn2learn")(
    Engine("tasks in turn through learn2learn's clone and adapt", build, library="learn2learn")
)
