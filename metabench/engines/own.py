"""An engine around a training loop that somebody has already: a function of one task, and the network in it."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from metabench.algorithms.base import Algorithm
from metabench.engines.base import Engine, Step, mean_over_tasks
from metabench.errors import Unsupported
from metabench.tensors import Batch, Params, Task

TaskLoss: TypeAlias = Callable[[Params, Batch, Batch, Algorithm], Tensor]
"""`(parameters of the network by its own names, support, query, algorithm) -> loss on the queries after adaptation`."""
NAME_IT = "name the model that it is by --model, or change it"


def engine_of(network: nn.Module, task_loss: TaskLoss) -> Engine:
    """An engine whose direction is the gradient of `task_loss`, averaged over the tasks of a meta-batch.

    `task_loss` adapts to the support set and gives the loss on the query set, for parameters to be used with
    `torch.func.functional_call(network, parameters, x)`. Their gradient is taken from here, so all that happens to them
    must stay on autograd's tape: inner gradients need `create_graph=True`. `algorithm` has the hyper-parameters, such
    as `inner_steps` and `inner_lr`.

    The network's parameters are matched with the model's by order and shape. Building the engine raises `Unsupported`
    where they do not fit.
    """

    def build(algorithm: Algorithm) -> Step:
        model = algorithm.init(torch.Generator())
        names = matched(((name, p.shape) for name, p in network.named_parameters()), model)

        def task_direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
            follow(network, next(iter(meta.values())))
            with torch.enable_grad():
                start = {own: meta[name].detach().requires_grad_() for own, name in names.items()}
                loss = task_loss(dict(start), task.support, task.query, algorithm)
                gradients = torch.autograd.grad(loss, list(start.values()), allow_unused=True, materialize_grads=True)
            return dict(zip(names.values(), gradients, strict=True)), {"loss": loss.detach()}

        return mean_over_tasks(task_direction)

    return Engine("a training loop of the user's own", build, concurrent_tasks=False)


def matched(own: Iterable[tuple[str, torch.Size]], model: Params) -> dict[str, str]:
    """The model's name for each of the network's own, by order and shape. Raises `Unsupported` where one differs."""
    parameters = list(own)
    for place, ((name, shape), (theirs, p)) in enumerate(zip(parameters, model.items(), strict=False), 1):
        if shape != p.shape:
            raise Unsupported(
                f"the network does not fit the model: its parameter {place} is '{name}' of shape {tuple(shape)}, and "
                f"the model's is '{theirs}' of shape {tuple(p.shape)}: {NAME_IT}"
            )
    if len(parameters) != len(model):
        raise Unsupported(
            f"the network does not fit the model: it has {len(parameters)} parameters, and the model has {len(model)} "
            f"({', '.join(model)}): {NAME_IT}"
        )
    return {name: theirs for (name, _), theirs in zip(parameters, model, strict=True)}


def follow(network: nn.Module, like: Tensor) -> None:
    """Have the network's buffers on the device of `like`, and those of real numbers in its type."""
    if any(buffer.device != like.device or _differs(buffer, like) for buffer in network.buffers()):
        network.to(device=like.device, dtype=like.dtype)


def _differs(buffer: Tensor, like: Tensor) -> bool:
    return buffer.is_floating_point() and buffer.dtype != like.dtype
