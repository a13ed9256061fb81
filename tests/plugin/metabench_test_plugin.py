"""A package outside the tree: what is good, and one of each way in which a plug-in can go wrong."""

import ctypes
import math
import os
import signal
import time
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import torch
import torch.nn.functional as F

from metabench.algorithms.base import Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.engines import loop
from metabench.engines.base import Engine
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TaskSource
from metabench.tasks.sinusoid import Sinusoid
from metabench.tensors import Batch, Task


@dataclass(frozen=True)
class Plugged(Algorithm):
    """MAML, written again."""

    order = "second"
    source = "a test"

    def trajectory(self, meta, support):
        return descend(self, self.learner.loss, meta, repeat(support, self.inner_steps))

    def objective(self, meta, anchor, task):
        return self.learner.loss(self.adapt(meta, task.support), task.query)


@dataclass(frozen=True)
class ForgetfulMAML(Plugged):
    """Calls itself MAML and drops the second order: the inner gradient is taken of detached parameters."""

    def trajectory(self, meta, support):
        yield meta
        adapted = meta
        for _ in range(self.inner_steps):
            constant = {name: p.detach() for name, p in adapted.items()}
            gradient, _ = self.autodiff.gradient_and_value(self.learner.loss)(constant, support)
            adapted = {name: p - self.inner_lr * gradient[name].detach() for name, p in adapted.items()}
            yield adapted


@dataclass(frozen=True)
class Restless(Plugged):
    """Says that it adapts the head alone, and moves everything."""

    def adapted_names(self, meta):
        return self.learner.model.head_names


@dataclass(frozen=True)
class Stubborn(Plugged):
    """Takes any inner optimiser and uses plain descent."""

    def trajectory(self, meta, support):
        return descend(replace(self, inner_optimizer="sgd"), self.learner.loss, meta, repeat(support, self.inner_steps))


@dataclass(frozen=True)
class Segfaulting(Plugged):
    def objective(self, meta, anchor, task):
        ctypes.string_at(0)


def _say_that_it_waits():
    """Make the file that the test waits for."""
    if mark := os.environ.get("WAITING_MARK"):
        Path(mark).touch()


@dataclass(frozen=True)
class Sleeping(Plugged):
    def objective(self, meta, anchor, task):
        _say_that_it_waits()
        time.sleep(600)


@dataclass(frozen=True)
class SleepingOnce(Plugged):
    """Sleeps where a test waits for it, and is MAML elsewhere."""

    def objective(self, meta, anchor, task):
        if "WAITING_MARK" in os.environ:
            _say_that_it_waits()
            time.sleep(600)
        return super().objective(meta, anchor, task)


@dataclass(frozen=True)
class Stuck(Plugged):
    """Waits for ever in native code that never gives the interpreter's lock back."""

    def objective(self, meta, anchor, task):
        _say_that_it_waits()
        ctypes.PyDLL(None).pause()


@dataclass(frozen=True)
class Killed(Plugged):
    """As the system does when memory runs out."""

    def objective(self, meta, anchor, task):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KilledFollower(Plugged):
    """The same in all processes of a cell but the leading one."""

    def objective(self, meta, anchor, task):
        if torch.distributed.get_rank():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().objective(meta, anchor, task)


@dataclass(frozen=True)
class TimeTraveller(Plugged):
    """While it is measured, the clock on the wall jumps by hours at each look."""

    def objective(self, meta, anchor, task):
        jumps = iter(range(10**9))
        time.time = lambda: 3600.0 * next(jumps) * (-1) ** next(jumps)
        return super().objective(meta, anchor, task)


@dataclass(frozen=True)
class Hungry(Plugged):
    """Asks for a pebibyte as soon as there is more than one task in float32, which the gate never has."""

    def objective(self, meta, anchor, task):
        if task.support.x.dtype == torch.float32:
            torch.empty(2**48)
        return super().objective(meta, anchor, task)


@dataclass(frozen=True)
class Exploding(Plugged):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        if task.support.x.dtype == torch.float32:
            metrics = {"loss": metrics["loss"] / 0}
        return direction, metrics


@dataclass(frozen=True)
class Failing(Plugged):
    def objective(self, meta, anchor, task):
        raise ValueError("two lines\nof which the first is shown, with a | in neither")


@dataclass(frozen=True)
class Undefined(Plugged):
    """Neither its direction nor its definition is a number."""

    def objective(self, meta, anchor, task):
        return super().objective(meta, anchor, task) * float("nan")


def _first_order(algorithm):
    """Detaches what it should differentiate through."""
    return loop.build(ForgetfulMAML(algorithm.learner, algorithm.inner_lr, algorithm.inner_steps))


def _choosy(algorithm):
    raise Unsupported("carries nothing at all")


FIRST_ORDER = Engine("drops the second order", _first_order)
CHOOSY = Engine("carries nothing", _choosy)


@dataclass(frozen=True)
class StockNormConv4(Conv4):
    """Batch normalisation as everyone writes it: its affine weights inside F.batch_norm."""

    def features(self, params, x):
        for i in range(1, 5):
            x = F.conv2d(x, params[f"conv{i}.weight"], stride=2, padding=1)
            x = F.relu(F.batch_norm(x, None, None, params[f"norm{i}.weight"], params[f"norm{i}.bias"], training=True))
        return x.mean((2, 3))


def stock_norm(input_shape, outputs):
    return replace(StockNormConv4((1, 28, 28), outputs, 16, False, True), input_shape=input_shape)


@dataclass(frozen=True)
class Dropout(MLP):
    """A network that draws random numbers."""

    def features(self, params, x):
        return F.dropout(super().features(params, x), 0.5, True)


def dropout(input_shape, outputs):
    return Dropout(math.prod(input_shape), outputs, 8, 2)


@dataclass(frozen=True)
class FlatSinusoid(Sinusoid):
    """Targets without their last dimension: they broadcast against outputs."""

    def make(self, drawn, like):
        support, query, classes = super().make(drawn, like)
        return Task(Batch(support.x, support.y[..., 0]), Batch(query.x, query.y[..., 0]), classes)


@dataclass(frozen=True)
class UnseededSinusoid(Sinusoid):
    """Draws from torch's global generator."""

    def draw(self, split, tasks, generator, share=slice(None)):
        return super().draw(split, tasks, None, share)


FLAT = TaskSource("regression", lambda shape, data_dir: FlatSinusoid(shape))
UNSEEDED = TaskSource("regression", lambda shape, data_dir: UnseededSinusoid(shape))
