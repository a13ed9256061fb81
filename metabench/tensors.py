"""The words that everything else is said in: named tensors, batches, tasks."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Params: TypeAlias = dict[str, Tensor]
"""Named tensors: meta-parameters, adapted parameters, gradients, directions."""


class Batch(NamedTuple):
    """Inputs `x` of shape (examples, *input_shape) and targets `y`: class indices (examples,) of int64, or values
    (examples, outputs). Classification batches are shot-major: example `shot * ways + way` is of class `way`, so that
    any `ways * m` consecutive examples hold each class equally often."""

    x: Tensor
    y: Tensor


class Task(NamedTuple):
    """One few-shot problem; or an episode batch, with a leading task dimension on every tensor."""

    support: Batch
    query: Batch
    classes: Tensor
    """(ways,) int64: which class of the whole split each way is, a quarter turn making another class. Methods that
    train on all classes jointly look at it, and no others; zeros where classes have no identity."""


def zeros(like: Params) -> Params:
    """Zeros by the same names, of the same shapes."""
    return {name: torch.zeros_like(p) for name, p in like.items()}


def flat(params: Params) -> Tensor:
    """All numbers of the parameters as one vector, in their order."""
    return torch.cat([p.reshape(-1) for p in params.values()])


def tensors_of(task: Task) -> list[Tensor]:
    """The five tensors of a task or an episode batch, each of them contiguous; `task_of` puts them together again."""
    (sx, sy), (qx, qy), classes = task
    return [tensor.contiguous() for tensor in (sx, sy, qx, qy, classes)]


def task_of(tensors: Sequence[Tensor]) -> Task:
    """What `tensors_of` took apart."""
    sx, sy, qx, qy, classes = tensors
    return Task(Batch(sx, sy), Batch(qx, qy), classes)


def task_at(episodes: Task, index: int | slice | list[int]) -> Task:
    """The task at `index` of an episode batch, as views; an episode batch of several for a slice or a list."""
    (sx, sy), (qx, qy), classes = episodes
    return Task(Batch(sx[index], sy[index]), Batch(qx[index], qy[index]), classes[index])


def cast(episodes: Task, like: Tensor) -> Task:
    """Episodes on the device and with the floating dtype of `like`; class indices keep their dtype."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)

    (sx, sy), (qx, qy), classes = episodes
    return Task(Batch(move(sx), move(sy)), Batch(move(qx), move(qy)), move(classes))
