"""The tasks of a meta-batch over several processes, whose directions are averaged by all-reduce (torch.distributed)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from metabench.engines.base import Step
from metabench.errors import Unsupported
from metabench.tensors import Params, Task, task_at

METRIC, TASKS = "metric ", "tasks "  # before the name of a metric, and for their number: no parameter is called so
WATCHED = 20  # iterations in which communication is timed
T = TypeVar("T")


@dataclass(frozen=True)
class Rank:
    """Number of this process. All hold the same meta-parameters; each has its share of a meta-batch's tasks."""

    number: int
    of: int

    @property
    def leads(self) -> bool:
        """Whether this process decides how many iterations there are, and says what was measured."""
        return self.number == 0

    def share(self, tasks: int) -> slice:
        """The tasks of a meta-batch that this process takes. Raises `Unsupported` for fewer tasks than processes."""
        if tasks < self.of:
            raise Unsupported(f"{self.of} processes have no use for a meta-batch of {tasks}: some would have no task")
        return slice(tasks * self.number // self.of, tasks * (self.number + 1) // self.of)


class Group:
    """The processes together, as one of them sees it.

    They meet at `address` (`file:///…` or `tcp://…`): through gloo on processors, through NCCL on CUDA, where each
    takes the device of its number, in turn.
    """

    def __init__(self, rank: Rank, address: str, device: torch.device) -> None:
        self.rank, self._device = rank, device
        self._last = False
        self._watched: list[float] | None = None
        if device.type == "cuda":
            torch.cuda.set_device(rank.number % torch.cuda.device_count())
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=address, rank=rank.number, world_size=rank.of)

    def total(self, parts: Params) -> Params:
        """The sums of all processes' tensors, in one all-reduce.

        One number more travels along: by it the leading process says that this is the last time, so that the others
        need not be told before each iteration whether there will be one.
        """
        flag = torch.full((1,), float(self._last), device=next(iter(parts.values())).device)
        flat = torch.cat([*(part.reshape(-1) for part in parts.values()), flag])
        self._all_reduce(flat)
        if not self.rank.leads:
            self._last = bool(flat[-1])
        sums = torch.split(flat[:-1], [part.numel() for part in parts.values()])
        return {name: own.view_as(part) for own, (name, part) in zip(sums, parts.items(), strict=True)}

    def agree(self, passed: bool) -> bool:
        """Whether all processes say so: they then do the same, and none waits for another that has ended."""
        failed = torch.full((), float(not passed), device=self._device)
        dist.all_reduce(failed)
        return not bool(failed)

    def led(self, run: Callable[[], object], measure: Callable[[], T]) -> T | None:
        """Call `measure` in the leading process and give its result. It calls `run` as often as it likes; the other
        processes call `run` as often, and give None."""
        if not self.rank.leads:
            while not self._last:
                run()
            self._last = False
            return None
        found = measure()
        self._last = True
        run()
        self._last = False
        return found

    def communication(self, run: Callable[[], object]) -> list[float]:
        """Seconds that the all-reduce of each of some iterations takes, the wait for the slowest process included."""
        self._watched = []
        for _ in range(WATCHED):
            run()
        found, self._watched = self._watched, None
        return found

    def _all_reduce(self, flat: Tensor) -> None:
        if self._watched is None:
            dist.all_reduce(flat)
            return
        _finish(flat)
        begin = time.perf_counter()
        dist.all_reduce(flat)
        _finish(flat)
        self._watched.append(time.perf_counter() - begin)


def distributed(step: Step, group: Group) -> Step:
    """The direction of `step` on the tasks of all processes together; each hands over its share of them."""

    def shared(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
        direction, metrics = step(meta, episodes)
        parts = direction | {f"{METRIC}{name}": value for name, value in metrics.items()}
        own = next(iter(direction.values())).new_full((), len(episodes.support.x))
        sums = group.total({name: own * part for name, part in parts.items()} | {TASKS: own})
        means = {name: sums[name] / sums[TASKS] for name in parts}
        return {name: means[name] for name in direction}, {name: means[f"{METRIC}{name}"] for name in metrics}

    return shared


def of_share(step: Step, rank: Rank) -> Step:
    """`step`, handed a whole meta-batch of which it takes its process's share."""

    def shared(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
        return step(meta, task_at(episodes, rank.share(len(episodes.support.x))))

    return shared


def _finish(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
