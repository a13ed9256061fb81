"""Functions of torch that are called in another form or precision while an iteration is traced or captured.

torch.autocast does not reach all that torch.func calls: of a vmapped function it leaves convolutions in float32 and
losses in bfloat16. Here the casts are made where the functions are called, and so they are differentiated, vmapped and
traced as any other operation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from metabench.engines.convolutions import Forms

IN_HALF = frozenset(
    (
        *("conv1d", "conv2d", "conv3d", "linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv"),
        *("addmm", "addmv", "baddbmm", "addbmm", "einsum"),
    )
)
"""Functions that torch.autocast computes in bfloat16."""
IN_FULL = frozenset(
    (
        *("softmax", "log_softmax", "logsumexp", "cross_entropy", "nll_loss", "mse_loss", "cosine_similarity"),
        *("layer_norm", "group_norm", "norm", "sum", "prod", "cumsum", "cumprod", "cdist", "dist"),
        *("exp", "log", "pow", "__pow__", "__rpow__", "rsqrt", "reciprocal", "softplus"),
    )
)
"""Functions that torch.autocast computes in float32."""


class Rewriting(TorchFunctionMode):
    """Mode that computes products in `half`, if that is a type, and convolutions in the form that `forms` choose.

    The functions of each kind are those of torch.autocast on CUDA.
    """

    def __init__(self, half: torch.dtype | None, forms: Forms | None) -> None:
        super().__init__()
        self.half, self.forms = half, forms

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if self.half and name in IN_HALF:
            args, kwargs = _cast((args, kwargs), self.half)
        elif self.half and name in IN_FULL:
            args, kwargs = _cast((args, kwargs), torch.float32, lower=True)
        if self.forms and name == "conv2d":
            return self.forms.convolve(*args, **kwargs)
        return function(*args, **kwargs)


def _cast(arguments: Any, dtype: torch.dtype, lower: bool = False) -> Any:
    """The tensors of float32 (or, with `lower`, those of a lower precision) in that type."""

    def cast(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        wanted = value.dtype.itemsize < dtype.itemsize if lower else value.dtype == torch.float32
        return value.to(dtype) if wanted else value

    return tree_map(cast, arguments)
