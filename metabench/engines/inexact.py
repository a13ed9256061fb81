"""What torch differentiates wrongly, and says nothing: named where the gate finds that a direction is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from metabench.algorithms.base import Algorithm
from metabench.autodiff import TAPE
from metabench.engines.refusals import WRAP
from metabench.tensors import Params, Task

WEIGHT = {F.batch_norm: 3, F.instance_norm: 3, F.layer_norm: 2}
"""Where in their arguments the weight stands."""


class _Watching(TorchFunctionMode):
    """Mode that notes which functions are called in a form that is not differentiated exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.under_vmap: set[str] = set()
        self.anywhere: set[str] = set()

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in WEIGHT:
            weight = kwargs.get("weight", next(iter(args[WEIGHT[function] :]), None))
            if weight is not None:
                self.under_vmap.add(function.__name__)
        if function is torch._weight_norm:
            self.anywhere.add("weight_norm")
        return function(*args, **kwargs)


def known_faults(algorithm: Algorithm, meta: Params, task: Task) -> tuple[str, str]:
    """What is known to be inexact in the algorithm's network: on `loop`, and under vmap; empty where nothing is."""
    watching = _Watching()
    with torch.no_grad(), watching:
        replace(algorithm, autodiff=TAPE).objective(meta, meta, task)
    on_loop = under_vmap = ""
    if watching.anywhere:
        on_loop = f"the second derivative that torch takes of weight_norm is wrong: {WRAP}, which computes it plainly"
    if watching.under_vmap:
        names = " and ".join(sorted(watching.under_vmap))
        under_vmap = (
            f"torch.func.vmap takes a wrong second derivative of {names} with the weights inside: scale and shift "
            f"outside of it, or {WRAP}, which does so"
        )
    return on_loop, under_vmap
