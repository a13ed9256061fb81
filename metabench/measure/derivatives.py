"""A network differentiated once, and twice: what a gradient penalty adds to the gradient of a loss.

The comparison of pytorch issue 3076 (2017), where an iteration with a penalty took 5 times as long as one without, and
with batch normalisation 25 to 30 times. Their penalty is the mean, over examples, of the 1-norm of the loss's gradient
in an example (Drucker and LeCun 1992 call it double backpropagation). It is what second-order meta-gradients are made
of, without an inner loop around it. Their step of the optimiser, which is the same on both sides, is left out.
"""

import torch
from torch import Tensor

from metabench.algorithms.base import Learner
from metabench.tensors import Batch, Params

PENALTY = 1e-3
"""The penalty's weight beside the loss."""


def differentiated_once(learner: Learner, params: Params, batch: Batch) -> Params:
    """The gradient of the mean loss of the batch, in the parameters."""
    of_loss, _ = _gradient(learner, _leaves(params), _leaf(batch), again=False)
    return of_loss


def differentiated_twice(learner: Learner, params: Params, batch: Batch) -> Params:
    """The gradient of the mean loss and of the penalty on its gradient in the inputs, in the parameters."""
    params, batch = _leaves(params), _leaf(batch)
    of_loss, in_x = _gradient(learner, params, batch, again=True)
    penalty = PENALTY * in_x.flatten(1).abs().sum(1).mean()
    wanted = [*params.values(), batch.x]
    *of_penalty, _ = torch.autograd.grad(penalty, wanted, allow_unused=True, materialize_grads=True)
    return {name: (of_loss[name] + more).detach() for name, more in zip(params, of_penalty, strict=True)}


def _gradient(learner: Learner, params: Params, batch: Batch, again: bool) -> tuple[Params, Tensor]:
    """The gradient of the loss in the parameters and in the inputs, to be differentiated `again` or not."""
    loss = learner.loss(params, batch)
    wanted = [*params.values(), batch.x]
    *of_params, of_x = torch.autograd.grad(loss, wanted, create_graph=again, allow_unused=True, materialize_grads=True)
    return dict(zip(params, of_params, strict=True)), of_x


def _leaves(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _leaf(batch: Batch) -> Batch:
    return Batch(batch.x.detach().requires_grad_(), batch.y)
