"""Episode batches on the device that they are used on: the one way to ask a task distribution for tasks."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from metabench.tasks.base import ALL, DeviceTasks, Drawn, Split, TaskDistribution
from metabench.tensors import Task, cast

AHEAD = 16
"""How many meta-batches are drawn before they are needed where the device works while the CPU goes on."""


def sampled(
    distribution: TaskDistribution,
    split: Split,
    tasks: int,
    generator: torch.Generator,
    like: Tensor,
    share: slice = ALL,
) -> Task:
    """One episode batch, as `TaskDistribution.sample` says, on the device and with the floating dtype of `like`.

    The generator is left behind this batch. Raises what the distribution raises.
    """
    return stream(distribution, split, tasks, generator, like, share, ahead=1)()


def stream(
    distribution: TaskDistribution,
    split: Split,
    tasks: int,
    generator: torch.Generator,
    like: Tensor,
    share: slice = ALL,
    ahead: int | None = None,
) -> Callable[[], Task]:
    """A function that gives one episode batch after the other, each as by `sampled`.

    Up to `ahead` batches are drawn before they are asked for, so the generator runs ahead of the batches that were
    given; by default 16 on a GPU and one elsewhere. Which tasks come, and in which order, does not depend on it.
    """
    if not isinstance(distribution, DeviceTasks):
        # Only processes that share a meta-batch need a share: a `sample` without that argument serves all else.
        own = {} if share == ALL else {"share": share}
        return lambda: cast(distribution.sample(split, tasks, generator, **own), like)
    if ahead is None:
        ahead = AHEAD if like.device.type == "cuda" else 1
    return _Stream(
        draw=partial(distribution.draw, split, tasks, generator, share),
        make=partial(distribution.make, like=like),
        device=like.device,
        ahead=ahead,
    )


class _Stream:
    """Draws meta-batches ahead on the CPU, takes `ahead` of them to the device in one copy, and makes them there.

    There is no second thread: on a GPU a step returns before it is done, so the CPU draws while the device works; on a
    CPU a thread would compete with the step for its cores. After the first call each call draws one meta-batch, so
    that all cost the same and a clock may look at any of them.
    """

    def __init__(
        self, draw: Callable[[], Drawn], make: Callable[[Drawn], Task], device: torch.device, ahead: int
    ) -> None:
        self._draw, self._make, self._device, self._ahead = draw, make, device, ahead
        self._drawn: list[Drawn] = []
        self._moved: deque[Drawn] = deque()

    def __call__(self) -> Task:
        if self._moved:
            self._drawn.append(self._draw())
        else:
            while len(self._drawn) < self._ahead:
                self._drawn.append(self._draw())
            self._moved.extend(_on_device(self._drawn, self._device))
            self._drawn.clear()
        return self._make(self._moved.popleft())


def _on_device(drawn: Sequence[Drawn], device: torch.device) -> Sequence[Drawn]:
    """Tensors on the device."""
    if device.type != "cuda":
        return [one.to(device) for one in drawn]
    # One copy, from pinned memory: from ordinary memory it would wait for all that the device has been given to do.
    # The pinned memory is torch's own, which keeps it until the copy is done.
    return torch.stack(list(drawn)).pin_memory().to(device, non_blocking=True).unbind()
