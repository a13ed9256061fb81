"""Networks, losses, inner loops and directions, once more, as pure functions of JAX's arrays.

Nothing is shared with the torch code, so that the correctness gate compares two implementations that know nothing of
each other. Arrays have the layout that JAX's libraries use: images NHWC, kernels HWIO (NCHW with OIHW is a
twentieth slower on a processor), dense weights (inputs, outputs).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from metabench.algorithms.anil import ANIL
from metabench.algorithms.base import Algorithm
from metabench.algorithms.fomaml import FOMAML
from metabench.algorithms.meta_sgd import MetaSGD
from metabench.algorithms.reptile import Reptile
from metabench.models.base import Model
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP

Arrays: TypeAlias = dict[str, Array]
"""Named arrays: parameters, gradients."""

NORM_EPSILON = 1e-5
"""Constant of `F.batch_norm`."""


class Batch(NamedTuple):
    """Batch like that of `metabench.tensors`; images have their channels last."""

    x: Array
    y: Array


class Episodes(NamedTuple):
    """Support and query set of one task; or of an episode batch, with a leading task dimension on every array."""

    support: Batch
    query: Batch


class Images(NamedTuple):
    """Operations on images (examples, height, width, channels)."""

    convolve: Callable[[Array, Array, int], Array]
    """`(images, kernel of 3x3, stride)`, padded by one pixel on each side"""
    halve: Callable[[Array], Array]
    """2x2 max-pooling; an odd last row or column is left out"""


def convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Convolution as JAX's neural network libraries write it."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=layout)


def halve(x: Array) -> Array:
    """Max-pooling as JAX's neural network libraries write it."""
    halved: Array = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return halved


def convolve_by_matrix(x: Array, kernel: Array, stride: int) -> Array:
    """The nine shifted images side by side, times the kernel as a matrix."""
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [x[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[-1])


def halve_by_choice(x: Array) -> Array:
    """The larger of neighbours, twice: its derivatives are choices, too, and no scatter.

    Derivatives of a maximum over a dimension and of `jnp.maximum` look for what equals the maximum. Where XLA computes
    an input twice, once with fused multiply-adds, nothing does, and gradients vanish (seen with 0.10.2).
    """
    _, height, breadth, _ = x.shape
    x = _larger(x[:, : height // 2 * 2 : 2], x[:, 1::2])
    return _larger(x[:, :, : breadth // 2 * 2 : 2], x[:, :, 1::2])


def _larger(x: Array, y: Array) -> Array:
    return jnp.where(x > y, x, y)


IMAGES = {"lax": Images(convolve, halve), "im2col": Images(convolve_by_matrix, halve_by_choice)}


def features(model: Model, images: Images, params: Arrays, x: Array) -> Array:
    """(examples, *input_shape) -> (examples, features); a map is flattened with its channels last."""
    if isinstance(model, MLP):
        x = x.reshape(x.shape[0], -1)
        for i in range(1, model.layers + 1):
            x = jax.nn.relu(x @ params[f"hidden{i}.weight"] + params[f"hidden{i}.bias"])
        return x
    assert isinstance(model, Conv4)
    for i in range(1, model.blocks + 1):
        x = images.convolve(x, params[f"conv{i}.weight"], 1 if model.max_pool else 2)
        if model.normalise:
            mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
            x = (x - mean) * lax.rsqrt(variance + NORM_EPSILON)
            x = x * params[f"norm{i}.weight"] + params[f"norm{i}.bias"]
        else:
            x = x + params[f"conv{i}.bias"]
        x = jax.nn.relu(x)
        if model.max_pool and i <= model.pooled:
            x = images.halve(x)
    return x.reshape(x.shape[0], -1) if model.max_pool else x.mean((1, 2))


@dataclass(frozen=True)
class Functions:
    """An algorithm as pure functions; hashable, so that what is compiled of it can be found again."""

    algorithm: Algorithm
    images: Images

    def features(self, params: Arrays, x: Array) -> Array:
        return features(self.algorithm.learner.model, self.images, params, x)

    def loss(self, params: Arrays, batch: Batch) -> Array:
        """Mean cross-entropy in nats, or mean squared error, of a batch of one task."""
        return self.head_loss(params, Batch(self.features(params, batch.x), batch.y))

    def head_loss(self, params: Arrays, batch: Batch) -> Array:
        """Mean loss of a batch whose `x` is features already."""
        outputs = batch.x @ params["head.weight"] + params["head.bias"]
        if self.algorithm.learner.kind == "regression":
            return jnp.mean((outputs - batch.y) ** 2)
        right = jax.nn.one_hot(batch.y, outputs.shape[-1], dtype=outputs.dtype)
        return -jnp.mean(jnp.sum(right * jax.nn.log_softmax(outputs), -1))

    def descend(
        self, loss: Callable[[Arrays, Batch], Array], params: Arrays, batches: Iterable[Batch], rates: Arrays | float
    ) -> tuple[Arrays, list[Array]]:
        """Plain descent, a step a batch, and the loss before each step.

        Unrolled: a scan compiles in two thirds of the time, and runs for longer.
        """
        losses = []
        for batch in batches:
            value, gradient = jax.value_and_grad(loss)(params, batch)
            losses.append(value)
            if self.algorithm.first_order or isinstance(self.algorithm, FOMAML):
                gradient = lax.stop_gradient(gradient)
            rate_of = rates if isinstance(rates, dict) else dict.fromkeys(params, rates)
            params = {name: p - rate_of[name] * gradient[name] for name, p in params.items()}
        return params, losses

    def adapt(self, meta: Arrays, task: Episodes) -> tuple[Arrays, list[Array]]:
        """The model's parameters at the end of the inner loop, as training has it, and the loss before each step."""
        rate, batches = self.algorithm.inner_lr, repeat(task.support, self.algorithm.inner_steps)
        if isinstance(self.algorithm, ANIL):
            head = {name: meta[name] for name in sorted(self.algorithm.learner.model.head_names)}
            support = Batch(self.features(meta, task.support.x), task.support.y)
            head, losses = self.descend(self.head_loss, head, repeat(support, self.algorithm.inner_steps), rate)
            return meta | head, losses
        if isinstance(self.algorithm, MetaSGD):
            theta = {name: p for name, p in meta.items() if not name.startswith("rate.")}
            return self.descend(self.loss, theta, batches, {name: meta[f"rate.{name}"] for name in theta})
        if isinstance(self.algorithm, Reptile):
            return self.descend(self.loss, meta, _minibatches(task, self.algorithm.inner_steps), rate)
        return self.descend(self.loss, meta, batches, rate)

    def direction(self, meta: Arrays, episodes: Episodes) -> tuple[Arrays, Array]:
        """The mean of the tasks' directions, and that of the losses that they report."""
        if isinstance(self.algorithm, Reptile):
            adapted, losses = jax.vmap(self.adapt, (None, 0))(meta, episodes)
            return {name: p - adapted[name].mean(0) for name, p in meta.items()}, losses[-1].mean()

        def objective(meta: Arrays) -> Array:
            return jax.vmap(lambda task: self.loss(self.adapt(meta, task)[0], task.query))(episodes).mean()

        loss, gradient = jax.value_and_grad(objective)(meta)
        return gradient, loss


def _minibatches(task: Episodes, count: int) -> Iterator[Batch]:
    """`count` minibatches of the support set's size, of all examples in order, and again."""
    size, queries = task.support.x.shape[0], task.query.x.shape[0]
    if queries % size:
        x, y = (jnp.concatenate([own, others, own]) for own, others in zip(task.support, task.query, strict=True))
        starts = (i * size % (size + queries) for i in range(count))
        return (Batch(x[start : start + size], y[start : start + size]) for start in starts)
    chunks = (Batch(*(each[i : i + size] for each in task.query)) for i in range(0, queries, size))
    return islice(cycle([task.support, *chunks]), count)
