"""`torchopt`: Ren et al. 2022, arXiv 2211.06934. Differentiable optimisers; its `MetaSGD` is descent, not Meta-SGD.

MAML and ANIL step `MetaSGD` on the module and take both back to where they were after each task, as the library's
examples do. It always keeps the graph of the inner gradients, so first-order methods use the functional `sgd`, whose
user takes the gradient. The rates are one number, or a schedule, for all parameters: Meta-SGD cannot be had.
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
    """Tasks in turn, on one module whose state is recovered, or on trees of tensors for first-order methods."""
    if type(algorithm) is MetaSGD:
        raise Unsupported("torchopt has no primitive for Meta-SGD: its MetaSGD has one rate, which is not learned")
    refuse_others(algorithm, "torchopt", CARRIED, ("sgd", "momentum"))
    torchopt = installed("torchopt")
    return step_of(algorithm, partial(_stateful if differentiates(algorithm) else _functional, torchopt, algorithm))


def _stateful(torchopt: Any, algorithm: Algorithm, network: Network) -> TaskDirection:
    loss_of = algorithm.learner.loss_of
    optimizer = torchopt.MetaSGD(network.inner, lr=algorithm.inner_lr, momentum=momentum(algorithm))
    # References to the leaves, which stay the same ones: once is enough.
    initial, unstarted = torchopt.extract_state_dict(network.inner), torchopt.extract_state_dict(optimizer)

    def task_direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        for batch in network.batches(algorithm, task):
            optimizer.step(loss_of(network.inner(batch.x), batch.y))
        loss = loss_of(network.inner(network.body(task.query.x)), task.query.y)
        torchopt.recover_state_dict(network.inner, initial)
        torchopt.recover_state_dict(optimizer, unstarted)
        return network.gradient(loss)

    return task_direction


def _functional(torchopt: Any, algorithm: Algorithm, network: Network) -> TaskDirection:
    loss_of, apply = algorithm.learner.loss_of, network.inner.function
    optimizer = torchopt.sgd(algorithm.inner_lr, momentum=momentum(algorithm))

    def task_direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        params: Params = {name: network.leaves[name] for name in network.inner.names}
        state = optimizer.init(params)
        for batch in network.batches(algorithm, task):
            loss = loss_of(apply(params, batch.x), batch.y)
            gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True, materialize_grads=True)
            updates, state = optimizer.update(dict(zip(params, gradients, strict=True)), state, inplace=False)
            params = torchopt.apply_updates(params, updates, inplace=False)
        if type(algorithm) is Reptile:
            return network.difference(loss, [params[name] for name in network.inner.names])
        return network.gradient(loss_of(apply(params, network.body(task.query.x)), task.query.y))

    return task_direction


ENGINES.register("torchopt")(Engine("tasks in turn through torchopt's differentiable SGD", build, library="torchopt"))
