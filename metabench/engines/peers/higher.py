"""`higher`: Grefenstette et al. 2019, arXiv 1910.01727. A module patched anew for each task, and a differentiable SGD.

First-order methods run it with `track_higher_grads=False` and take the gradient in the adapted parameters, as its
authors advise (facebookresearch/higher#63). Meta-SGD hands it the learned rates as overrides, one parameter a group.
Its Adam is another one than ours: it adds ε to the root.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.algorithms.meta_sgd import MetaSGD
from metabench.algorithms.reptile import Reptile
from metabench.engines.base import ENGINES, Engine, Step
from metabench.engines.peers.module import (
    CARRIED,
    Network,
    TaskDirection,
    differentiates,
    installed,
    momentum,
    refuse_others,
    step_of,
)
from metabench.errors import Unsupported
from metabench.tensors import Params, Task


def build(algorithm: Algorithm) -> Step:
    """Tasks in turn, each inside one `innerloop_ctx`."""
    refuse_others(algorithm, "higher", CARRIED, ("sgd", "momentum"))
    if algorithm.first_order and type(algorithm) is MetaSGD:
        raise Unsupported("higher keeps no graph for the rates where it keeps none for the inner gradients")
    higher = installed("higher")
    return step_of(algorithm, partial(_set_up, higher, algorithm))


def _set_up(higher: Any, algorithm: Algorithm, network: Network) -> TaskDirection:
    loss_of = algorithm.learner.loss_of
    groups = [{"params": [p]} for p in network.inner.parameters()] if network.rates else network.inner.parameters()
    patch = partial(
        higher.innerloop_ctx,
        network.inner,
        torch.optim.SGD(groups, lr=algorithm.inner_lr, momentum=momentum(algorithm)),
        copy_initial_weights=False,
        override={"lr": network.rates} if network.rates else None,
        track_higher_grads=differentiates(algorithm),
    )

    def task_direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        with patch() as (learner, descent):
            for batch in network.batches(algorithm, task):
                loss = loss_of(learner(batch.x), batch.y)
                descent.step(loss)
            if type(algorithm) is Reptile:
                return network.difference(loss, learner.parameters())
            loss = loss_of(learner(network.body(task.query.x)), task.query.y)
            return network.gradient(loss, () if differentiates(algorithm) else learner.parameters())

    return task_direction


ENGINES.register("higher")(
    Engine("tasks in turn through higher's patched modules and optimisers", build, library="higher")
)
