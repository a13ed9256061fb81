"""Functions of torch that a module calls by itself, in a form that is pure and exact.

What stock layers call is changed in the layers (`layers`). Here are the functions that a module of the user's own may
call in its `forward`: dropout, normalisation with its weights inside, attention. A module that calls none of them is
run without any of this.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends import mha
from torch.overrides import TorchFunctionMode

from metabench.errors import Unsupported
from metabench.models.adapting.layers import hard_sigmoid, scaled
from metabench.tensors import Params

SEED = 0x5EED
"""What dropout's masks are drawn from, together with their place in the module."""
ALPHA = -1.7580993408473766
"""What alpha dropout puts in the place of a number: -λα of SELU (Klambauer et al. 2017, arXiv 1706.02515, §3)."""


class Exact(TorchFunctionMode):
    """Mode that calls functions in another form.

    Without `masks`, dropout is off. With them, a call of dropout multiplies by the mask of its place among the calls,
    the same for all examples. `drawing` is for the first call, which puts them there: random numbers can be drawn
    outside of vmap alone.
    """

    def __init__(self, masks: Params | None = None, drawing: bool = False) -> None:
        super().__init__()
        self.masks, self.drawing = masks, drawing
        self.dropouts = 0
        self.rewrites = False
        """Whether any function was called in another form."""
        self.attends = False
        """Whether attention was computed."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (F.multi_head_attention_forward, F.scaled_dot_product_attention):
            self.attends = True
        other = FUNCTIONS.get(function)
        return other(self, function, *args, **kwargs) if other else function(*args, **kwargs)

    def mask(self, x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
        """The mask of this call: 1 for what is kept and 0 for what is dropped, of that shape."""
        assert self.masks is not None
        name = f"dropout {self.dropouts}"
        self.dropouts += 1
        if self.drawing:
            generator = torch.Generator().manual_seed(SEED + self.dropouts)
            self.masks[name] = (torch.rand(shape, generator=generator) >= p).to(x)
        if name not in self.masks or self.masks[name].shape != shape:
            raise Unsupported(
                "seeded dropout has one mask for all examples, and a layer has another shape than when it was drawn: "
                "let the examples be the first dimension, or leave dropout off"
            )
        return self.masks[name]


def _elements(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[1:])


def _channels(x: Tensor) -> tuple[int, ...]:
    return (x.shape[1], *[1] * (x.dim() - 2))


@dataclass(frozen=True)
class _Dropout:
    """A function of the family of dropout."""

    dropped: Callable[[Tensor], tuple[int, ...]]
    """The shape of a mask: whether numbers are dropped, or whole channels."""
    alpha: bool = False
    """Whether mean and variance are kept, as in self-normalising networks."""

    def __call__(
        self,
        mode: Exact,
        function: Callable[..., Tensor],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        mode.rewrites |= training
        if mode.masks is None or not training or p == 0:
            return input
        mask = mode.mask(input, self.dropped(input), p)
        if not self.alpha:
            return input * (mask / (1 - p) if p < 1 else mask)
        scale = 1 / math.sqrt(1 - p + p * (1 - p) * ALPHA**2)
        return scale * (input * mask + ALPHA * (1 - mask)) - scale * p * ALPHA


def _attention(mode: Exact, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Attention without dropout inside."""
    query, key, value, *rest = args
    names = ("attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, rest, strict=False)), **kwargs}
    mode.rewrites |= bool(given.get("dropout_p"))
    given["dropout_p"] = 0.0
    attended: Tensor = function(query, key, value, **given)
    return attended


def _batch_norm(
    mode: Exact,
    function: Callable[..., Tensor],
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if running_mean is not None and mode.drawing:  # stock layers are not given any before there is a population
        raise Unsupported(
            "the module calls F.batch_norm with running statistics: use nn.BatchNorm2d, or give it None and None and "
            "training=True"
        )
    mode.rewrites |= weight is not None or bias is not None
    x = function(input, running_mean, running_var, training=training, momentum=momentum, eps=eps)
    return scaled(x, weight, bias, x.dim() - 2)


def _instance_norm(
    mode: Exact,
    function: Callable[..., Tensor],
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    mode.rewrites |= weight is not None or bias is not None
    x = function(input, running_mean, running_var, None, None, use_input_stats, momentum, eps)
    return scaled(x, weight, bias, x.dim() - 2)


def _layer_norm(
    mode: Exact,
    function: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    mode.rewrites |= weight is not None or bias is not None
    return scaled(function(input, normalized_shape, eps=eps), weight, bias, 0)


def _hard_sigmoid(mode: Exact, function: Callable[..., Tensor], input: Tensor, inplace: bool = False) -> Tensor:
    mode.rewrites = True
    return hard_sigmoid(input)


FUNCTIONS: Mapping[Any, Callable[..., Tensor]] = {
    F.dropout: _Dropout(_elements),
    F.dropout1d: _Dropout(_channels),
    F.dropout2d: _Dropout(_channels),
    F.dropout3d: _Dropout(_channels),
    F.alpha_dropout: _Dropout(_elements, alpha=True),
    F.feature_alpha_dropout: _Dropout(_channels, alpha=True),
    F.scaled_dot_product_attention: _attention,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    F.hardsigmoid: _hard_sigmoid,
}
"""The other form of each function: called with the mode, the function, and its arguments."""


@contextmanager
def exact_attention() -> Iterator[None]:
    """Attention by plain products and a softmax: fused kernels have no second derivative, and no rule for vmap."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before)
