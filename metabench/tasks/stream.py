"""Episode batches on the device that they are used on: the one way to ask a task distribution for tasks."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

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
) -> "Stream":
    """A function that gives one episode batch after the other, each as by `sampled`.

    Up to `ahead` batches are drawn before they are asked for, so the generator runs ahead of the batches that were
    given; by default 16 on a GPU and one elsewhere. Which tasks come, and in which order, does not depend on it.
    """
    if not isinstance(distribution, DeviceTasks):
        # Only processes that share a meta-batch need a share: a `sample` without that argument serves all else.
        own = {} if share == ALL else {"share": share}
        return _Sampled(lambda: cast(distribution.sample(split, tasks, generator, **own), like), generator)
    if ahead is None:
        ahead = AHEAD if like.device.type == "cuda" else 1
    return _Drawn(
        generator,
        draw=partial(distribution.draw, split, tasks, generator, share),
        make=partial(distribution.make, like=like),
        device=like.device,
        ahead=ahead,
    )


class Stream(Protocol):
    """One episode batch after the other."""

    def __call__(self) -> Task:
        """The next one."""
        ...

    @property
    def state(self) -> Tensor:
        """The generator's state behind the last batch that was given, whatever was drawn ahead of need since."""
        ...

    def go_to(self, state: Tensor) -> None:
        """Give those batches next that came after the state was read."""
        ...


class _Sampled:
    """Batches of a task distribution that makes them on the CPU."""

    def __init__(self, sample: Callable[[], Task], generator: torch.Generator) -> None:
        self._sample, self._generator = sample, generator

    def __call__(self) -> Task:
        return self._sample()

    @property
    def state(self) -> Tensor:
        return self._generator.get_state()

    def go_to(self, state: Tensor) -> None:
        self._generator.set_state(state)


class _Drawn:
    """Draws meta-batches ahead on the CPU, takes `ahead` of them to the device in one copy, and makes them there.

    There is no second thread: on a GPU a step returns before it is done, so the CPU draws while the device works; on a
    CPU a thread would compete with the step for its cores. After the first call each call draws one meta-batch, so
    that all cost the same and a clock may look at any of them.
    """

    def __init__(
        self,
        generator: torch.Generator,
        draw: Callable[[], Drawn],
        make: Callable[[Drawn], Task],
        device: torch.device,
        ahead: int,
    ) -> None:
        self._generator = generator
        self._draw, self._make, self._device, self._ahead = draw, make, device, ahead
        self._drawn: list[Drawn] = []
        self._moved: deque[Drawn] = deque()
        self._behind: deque[Tensor] = deque()
        """The generator's state behind each batch that was drawn and not given yet."""
        self.state = generator.get_state()

    def __call__(self) -> Task:
        if self._moved:
            self._draw_one()
        else:
            while len(self._drawn) < self._ahead:
                self._draw_one()
            self._moved.extend(_on_device(self._drawn, self._device))
            self._drawn.clear()
        self.state = self._behind.popleft()
        return self._make(self._moved.popleft())

    def go_to(self, state: Tensor) -> None:
        self._drawn.clear()
        self._moved.clear()
        self._behind.clear()
        self._generator.set_state(state)
        self.state = state

    def _draw_one(self) -> None:
        self._drawn.append(self._draw())
        self._behind.append(self._generator.get_state())  # a microsecond


def _on_device(drawn: Sequence[Drawn], device: torch.device) -> Sequence[Drawn]:
    """Tensors on the device."""
    if device.type != "cuda":
        return [one.to(device) for one in drawn]
    # One copy, from pinned memory: from ordinary memory it would wait for all that the device has been given to do.
    # The pinned memory is torch's own, which keeps it until the copy is done.
    return torch.stack(list(drawn)).pin_memory().to(device, non_blocking=True).unbind()
