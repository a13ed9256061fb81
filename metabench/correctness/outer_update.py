"""What one outer update did, read off the outer optimiser's state before and after it."""

import torch
from torch import Tensor

from metabench.correctness.fault import Fault
from metabench.engines.base import OuterState
from metabench.engines.outer import BETA1, BETA2
from metabench.tensors import Params, Task

RATE = 1e3
"""Outer rate of a call that is looked at: then the update is large beside the rounding of the parameters."""
UPDATE_TOLERANCE = 1e-2
"""Relative error of an outer update in float32, given its direction: 1 - 0.999ᵗ has four digits there."""


def norm(p: Tensor) -> float:
    """The Euclidean norm."""
    return float(torch.linalg.vector_norm(p))


def wrong(reason: str) -> Fault:
    """The fault of a wrong implementation."""
    return Fault("incorrect", reason)


def shown_direction(before: OuterState, after: OuterState) -> Params:
    """The direction of one update, read off what it did: to Adam's mean, or to the meta-parameters at `RATE`."""
    if after.means:
        return {name: (after.means[name] - BETA1 * m) / (1 - BETA1) for name, m in before.means.items()}
    return {name: (p - after.meta[name]) / RATE for name, p in before.meta.items()}


def wrong_update(
    before: OuterState, after: OuterState, direction: Params, epsilon: float, spacing: float
) -> Fault | None:
    """What is wrong with an update by Adam (Kingma and Ba 2015, arXiv 1412.6980, alg. 1), given its direction.

    `epsilon` is Adam's, and `spacing` the relative distance of two numbers next to each other.
    """
    if not after.means:
        return None
    t = after.updates
    for name, p in before.meta.items():
        square = BETA2 * before.squares[name] + (1 - BETA2) * direction[name] ** 2
        if not norm(after.squares[name] - square) <= UPDATE_TOLERANCE * norm(square):
            return wrong(f"the outer update of {name} has another mean of squares than Adam")
        mean, root = after.means[name] / (1 - BETA1**t), (after.squares[name] / (1 - BETA2**t)).sqrt()
        step = RATE * mean / (root + epsilon)
        allowed = UPDATE_TOLERANCE * norm(step) + 4 * spacing * norm(p)
        if not norm(p - after.meta[name] - step) <= allowed:
            return wrong(f"the outer update of {name} is not Adam's")
    return None


def copied(state: OuterState) -> OuterState:
    """The state in float64, in memory of its own."""
    return OuterState(doubled(state.meta), doubled(state.means), doubled(state.squares), state.updates)


def doubled(params: Params) -> Params:
    """Copies in float64."""
    return {name: p.detach().to(torch.float64, copy=True) for name, p in params.items()}


def less(params: Params, others: Params) -> Params:
    """Differences, name by name."""
    return {name: params[name].to(p.device) - p for name, p in others.items()}


def written(episodes: Task, buffers: Task) -> Task:
    """The buffers, with those episodes written into them."""
    # Not by `tensors_of`: of a tensor that is not contiguous it gives a copy, and only the copy would be written to.
    for into, batch in ((buffers.support, episodes.support), (buffers.query, episodes.query)):
        into.x.copy_(batch.x)
        into.y.copy_(batch.y)
    buffers.classes.copy_(episodes.classes)
    return buffers
