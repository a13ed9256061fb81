"""Whole meta-iterations: directions, clipping and outer update in one compiled function, and what crosses over."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from torch import Tensor

from metabench.engines.base import OuterState
from metabench.engines.outer import BETA1, BETA2, CLIP_EPSILON, Outer
from metabench.engines.peers.jax.functions import Arrays, Batch, Episodes, Functions
from metabench.models.base import Model
from metabench.models.conv4 import Conv4
from metabench.tensors import Params, Task, zeros


class Moments(NamedTuple):
    """What Adam remembers."""

    mean: Arrays
    square: Arrays
    updates: Array


State: TypeAlias = Moments | None
Compiled: TypeAlias = Callable[[Arrays, State, Episodes, float], tuple[Arrays, State, Array]]


@lru_cache(maxsize=4)
def compiled(functions: Functions, clip: float, epsilon: float, precision: str) -> Compiled:
    """`(meta, state, episodes, rate) -> (meta, state, loss)`, which takes over the memory of `meta` and `state`.

    It is Adam's update where there is its state, and else plain descent. The rate is no constant: with a schedule it
    would be compiled anew, and with a rate of zero nothing would be left to compute.
    """

    def iteration(meta: Arrays, state: State, episodes: Episodes, rate: float) -> tuple[Arrays, State, Array]:
        with jax.default_matmul_precision(precision):
            direction, loss = functions.direction(meta, episodes)
        if clip:
            norm = jnp.sqrt(jnp.stack([jnp.sum(d**2) for d in direction.values()]).sum())
            scale = jnp.minimum(1.0, clip / (norm + CLIP_EPSILON))
            direction = {name: scale * d for name, d in direction.items()}
        if state:
            return *_adam(meta, state, direction, rate, epsilon), loss
        return {name: p - rate * direction[name] for name, p in meta.items()}, None, loss

    jitted: Compiled = jax.jit(iteration, donate_argnums=(0, 1))
    return jitted


def _adam(meta: Arrays, state: Moments, direction: Arrays, rate: float, epsilon: float) -> tuple[Arrays, Moments]:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, with ε where torch has it: outside the root."""
    updates = state.updates + 1
    mean = {name: BETA1 * state.mean[name] + (1 - BETA1) * d for name, d in direction.items()}
    square = {name: BETA2 * state.square[name] + (1 - BETA2) * d**2 for name, d in direction.items()}
    unbias1, unbias2 = 1 / (1 - BETA1**updates), 1 / (1 - BETA2**updates)

    def step(name: str) -> Array:
        return unbias1 * mean[name] / (jnp.sqrt(unbias2 * square[name]) + epsilon)

    return {name: p - rate * step(name) for name, p in meta.items()}, Moments(mean, square, updates)


class Iterations:
    """Meta-parameters and what the outer optimiser remembers, on JAX's device. `run` begins work and returns."""

    def __init__(self, functions: Functions, meta: Params, outer: Outer, device: jax.Device) -> None:
        self.model, self.outer, self.device = functions.algorithm.learner.model, outer, device
        self.like = next(iter(meta.values()))
        # JAX on a GPU rounds factors to 10 bits unless it is told not to, as torch is where float32 is asked for.
        rounds = device.platform == "gpu" and torch.backends.cuda.matmul.allow_tf32
        precision = "tensorfloat32" if rounds else "float32"
        self.iterate = compiled(functions, outer.clip, outer.epsilon, precision)
        self.done = 0
        self.arrays = self._params(meta)
        self.moments: State = None
        if outer.optimizer == "adam":
            mean, square = zeros(meta), zeros(meta)
            none = torch.zeros((), dtype=torch.int32)
            self.moments = Moments(self._params(mean), self._params(square), self._array(none))

    def take(self, episodes: Task) -> Episodes:
        support, query = (Batch(self._inputs(x), self._array(y)) for x, y in (episodes.support, episodes.query))
        return Episodes(support, query)

    def run(self, episodes: Episodes) -> dict[str, Array]:
        rate = self.outer.lr * self.outer.factor(self.done)
        self.done += 1
        with self._precisely():
            self.arrays, self.moments, loss = self.iterate(self.arrays, self.moments, episodes, rate)
        return {"loss": loss}

    def wait(self) -> None:
        for array in self.arrays.values():
            array.block_until_ready()

    @property
    def held(self) -> int:
        return 0

    @property
    def choices(self) -> Mapping[str, str]:
        return {}

    @property
    def meta(self) -> Params:
        return self._tensors(self.arrays)

    @meta.setter
    def meta(self, meta: Params) -> None:
        self.arrays = self._params(meta)

    @property
    def outer_state(self) -> OuterState:
        if self.moments is None:
            return OuterState(self.meta, {}, {}, self.done)
        means, squares = self._tensors(self.moments.mean), self._tensors(self.moments.square)
        return OuterState(self.meta, means, squares, int(self.moments.updates))

    def restore(self, state: OuterState) -> None:
        self.arrays, self.done = self._params(state.meta), state.updates
        if self.moments is not None:
            updates = self._array(torch.tensor(state.updates, dtype=torch.int32))
            self.moments = Moments(self._params(state.means), self._params(state.squares), updates)

    def set_rate(self, rate: float) -> None:
        self.outer = self.outer.at_rate(rate)

    def _tensors(self, arrays: Arrays) -> Params:
        # Copied: the next iteration writes into JAX's memory.
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        return {name: as_torch(self.model, name, p).to(self.like.device) for name, p in tensors.items()}

    def _precisely(self) -> AbstractContextManager[None]:
        """The context that keeps JAX from making float32 of meta-parameters in float64; of float32, an empty one.

        It holds for this thread and as long as it is entered; what is compiled inside is kept apart.
        """
        if self.like.dtype != torch.float64:
            return nullcontext()
        # In JAX itself since 0.8, where it used to be no longer.
        home: Any = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
        doubles: AbstractContextManager[None] = home.enable_x64(True)
        return doubles

    def _params(self, params: Params) -> Arrays:
        return {name: self._array(as_jax(self.model, name, p)) for name, p in params.items()}

    def _inputs(self, x: Tensor) -> Array:
        """Images (tasks, examples, channels, height, width) with their channels last; anything else as it is."""
        return self._array(x.movedim(2, -1) if isinstance(self.model, Conv4) else x)

    def _array(self, tensor: Tensor) -> Array:
        # Copied: JAX would keep the memory of a tensor on the CPU, whatever is written there later.
        with self._precisely():
            array: Array = jax.device_put(tensor.cpu().numpy().copy(order="C"), self.device)
        return array


def as_jax(model: Model, name: str, p: Tensor) -> Tensor:
    """Kernels (outputs, inputs, height, width) as HWIO, and dense weights (outputs, inputs) as (inputs, outputs).

    A flattened map that is the head's input then has its channels last, as in `functions.features`.
    """
    if p.dim() == 1:
        return p
    kernel = p.reshape(p.shape[0], -1, *_window(model, name, p)).permute(2, 3, 1, 0)
    return kernel if p.dim() == 4 else kernel.flatten(0, 2)


def as_torch(model: Model, name: str, p: Tensor) -> Tensor:
    """What `as_jax` was given."""
    if p.dim() == 1:
        return p
    kernel = p if p.dim() == 4 else p.reshape(*_window(model, name, p), -1, p.shape[-1])
    kernel = kernel.permute(3, 2, 0, 1).contiguous()
    return kernel if p.dim() == 4 else kernel.flatten(1)


def _window(model: Model, name: str, p: Tensor) -> tuple[int, int]:
    """Height and breadth of what a weight sees of each channel."""
    if p.dim() == 4:
        return 3, 3
    return model.window if isinstance(model, Conv4) and name.endswith("head.weight") else (1, 1)
