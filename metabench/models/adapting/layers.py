"""Stock layers whose own way to compute is not pure, or not exact under torch.func.vmap, in a form that is both.

A layer keeps its parameters and their names; its `forward` alone is another. A class with a `forward` of its own is
left as it is.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrizations import _WeightNorm

from metabench.models.adapting.recurrent import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from metabench.tensors import Params


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: int) -> Tensor:
    """`x * weight + bias`; `x` has `dims` dimensions more behind those of the weight.

    Inside of torch's normalisations, torch.func.vmap gives a wrong second-order gradient in adapted weights.
    """
    behind = [1] * dims
    if weight is not None:
        x = x * weight.reshape(*weight.shape, *behind)
    return x if bias is None else x + bias.reshape(*bias.shape, *behind)


def batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Normalise by the batch, or by the running statistics where the layer is given some."""
    mean, variance = layer.running_mean, layer.running_var
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
    x = F.batch_norm(x, mean, variance, training=mean is None, eps=layer.eps)
    return scaled(x, layer.weight, layer.bias, x.dim() - 2)


def instance_norm(layer: _InstanceNorm, x: Tensor) -> Tensor:
    """Normalise each example by itself."""
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
    return scaled(F.instance_norm(x, eps=layer.eps), layer.weight, layer.bias, x.dim() - 2)


def layer_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise over the last dimensions."""
    return scaled(F.layer_norm(x, layer.normalized_shape, eps=layer.eps), layer.weight, layer.bias, 0)


def hard_sigmoid(x: Tensor) -> Tensor:
    """Compute `F.hardsigmoid`, of which torch has no second derivative."""
    return F.relu6(x + 3) / 6


def weight_norm(layer: Any, size: Tensor, direction: Tensor) -> Tensor:
    """Compute a weight as `weight_norm` does: the second derivative of torch's own operation is off by per cents."""
    others = [i for i in range(direction.dim()) if i != layer.dim]  # all of them where it is -1
    length: Tensor = torch.linalg.vector_norm(direction, dim=others, keepdim=layer.dim >= 0)
    return direction * (size / length)


def stochastic_depth(layer: Any, x: Tensor) -> Tensor:
    """Drop all examples of a branch together, by one mask of one number."""
    return x * F.dropout(x.new_ones(1), layer.p, layer.training)


FORWARDS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    _BatchNorm.forward: batch_norm,
    nn.SyncBatchNorm.forward: batch_norm,
    _InstanceNorm.forward: instance_norm,
    nn.LayerNorm.forward: layer_norm,
    _WeightNorm.forward: weight_norm,
    nn.Hardsigmoid.forward: lambda _, x: hard_sigmoid(x),
    nn.LSTM.forward: lstm,
    nn.GRU.forward: gru,
    nn.RNN.forward: rnn,
    nn.LSTMCell.forward: lstm_cell,
    nn.GRUCell.forward: gru_cell,
    nn.RNNCell.forward: rnn_cell,
}
"""What takes the place of which `forward`."""


def adapt(module: nn.Module) -> None:
    """Give all stock layers within a module a `forward` that is pure and exact."""
    for layer in module.modules():
        own = type(layer).forward
        if own in FORWARDS:
            layer.forward = partial(FORWARDS[own], layer)
        elif type(layer).__name__ == "StochasticDepth" and type(layer).__module__.startswith("torchvision."):
            layer.forward = partial(stochastic_depth, layer)
        if isinstance(getattr(layer, "inplace", None), bool):
            layer.inplace = False  # type: ignore[assignment]
        if isinstance(layer, nn.MultiheadAttention):
            layer.dropout = 0.0
        if isinstance(layer, _BatchNorm | _InstanceNorm) and own in FORWARDS:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                layer.register_buffer(name, None)
        _keep_constants(layer)


def _keep_constants(layer: nn.Module) -> None:
    """Make buffers of tensors that a layer keeps as plain attributes, so that they get the type of the input, too."""
    constants = {name: value for name, value in vars(layer).items() if isinstance(value, Tensor)}
    for name, value in constants.items():
        if value.grad_fn is None:
            delattr(layer, name)
            layer.register_buffer(name, value.detach(), persistent=False)


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """The layers of a module that normalise by their batch, by path."""
    return {
        path: layer
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and FORWARDS.get(type(layer).forward) is batch_norm
    }


def statistics_into(seen: Params, path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """A hook that puts the mean and the variance of a layer's input into `seen`, as buffers of the layer at `path`."""

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        (x,) = inputs
        dims = [0, *range(2, x.dim())]
        seen[f"{path}.running_var"], seen[f"{path}.running_mean"] = torch.var_mean(x, dims)

    return hook
