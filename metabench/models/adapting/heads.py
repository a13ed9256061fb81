"""Where a module's head begins: the layer that gives the outputs, and a body that ends before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metabench.errors import Unsupported, unknown
from metabench.models.adapting.layers import batch_norms
from metabench.models.adapting.stateless import Stateless, below
from metabench.tensors import Params

SAME = 1e-9
"""Largest difference, in float64 and as a share of the largest number, of results that are equal."""


@dataclass(frozen=True)
class Called:
    """A submodule that took part in computing outputs."""

    path: str
    module: nn.Module
    shape: tuple[int, ...]
    """The shape of one example of its input."""


@dataclass(frozen=True)
class Parts:
    """A module in two parts: `outputs(features(x))` is what it gives for x."""

    path: str
    body: Stateless
    head: Stateless
    shape: tuple[int, ...]
    """The shape in which the head takes the features of one example."""
    statistics: tuple[str, ...]
    """Names that running statistics have among the parameters, if there are any."""

    def features(self, params: Params, x: Tensor) -> Tensor:
        running = {name: params[name] for name in self.statistics if name in params}
        return self.body(params, x, running).flatten(1)

    def outputs(self, params: Params, features: Tensor) -> Tensor:
        return self.head(params, features.reshape(-1, *self.shape)).flatten(1)

    def seed_dropout(self, params: Params, x: Tensor) -> None:
        """Switch dropout on, by masks that are drawn here."""
        for part in (self.body, self.head):
            part.module.train()
            part.seeded = True
        features = self.body.try_on(params, x)
        self.head.try_on(params, features.reshape(-1, *self.shape))


def called_in(whole: Stateless, params: Params, x: Tensor) -> tuple[Tensor, list[Called]]:
    """The outputs of a module, and its submodules of one input in the order in which they were done."""
    order: list[Called] = []

    def note(path: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if len(inputs) == 1 and isinstance(inputs[0], Tensor):
            order.append(Called(path, module, tuple(inputs[0].shape[1:])))

    hooks = [
        module.register_forward_hook(lambda own, inputs, _, path=path: note(path, own, inputs))
        for path, module in whole.module.named_modules()
    ]
    try:
        return whole.try_on(params, x), order
    finally:
        for hook in hooks:
            hook.remove()


def parts_of(whole: Stateless, params: Params, x: Tensor, due: Tensor, order: Sequence[Called], named: str) -> Parts:
    """The body and the head of a module that gives `due` for `x`; raises `Unsupported`."""
    outputs = due.shape[1]
    candidates = list(_candidates(order, outputs, named))
    if not candidates:
        raise Unsupported(f"no linear layer of the module gives its {outputs} outputs: name the head (head=)")
    for called in candidates:
        if found := _split(whole, params, x, due, called):
            return found
    first = candidates[0].path
    raise Unsupported(
        f"the head {first} is followed by what changes its outputs, so that the module cannot be cut there: "
        f"name {'another' if named else 'the'} head (head=), or let the module give what {first} gives"
    )


def _candidates(order: Sequence[Called], outputs: int, named: str) -> Iterator[Called]:
    """What may be the head: the named layer; or the last that gives the outputs, then what holds it, inside out."""
    by_path = {called.path: called for called in order}
    if named:
        if named not in by_path:
            raise Unsupported(str(unknown("head", named, [path for path in by_path if path])))
        yield by_path[named]
        return
    last = next((called for called in reversed(order) if _gives(called.module, outputs)), None)
    path = last.path if last else ""
    if last and not path:
        yield last
    while path in by_path and path:
        if not batch_norms(by_path[path].module):
            yield by_path[path]
        path = path.rpartition(".")[0]


def _gives(layer: nn.Module, outputs: int) -> bool:
    """Whether it is a linear layer, or a convolution of single places, with so many outputs."""
    if isinstance(layer, nn.Linear):
        return layer.out_features == outputs
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.out_channels == outputs and set(layer.kernel_size) == {1}
    return False


def _split(whole: Stateless, params: Params, x: Tensor, due: Tensor, called: Called) -> Parts | None:
    """The two parts, if the head is this one; else the module is left as it was."""
    inside, outside = (below(whole.names, called.path, inside) for inside in (True, False))
    head = Stateless(called.module, inside)
    if called.path:
        parent_path, _, leaf = called.path.rpartition(".")
        parent = whole.module.get_submodule(parent_path)
    else:  # all of the module is the head
        parent, leaf = nn.Sequential(whole.module), "0"
    parent._modules[leaf] = nn.Identity()
    body = Stateless(whole.module if called.path else parent, outside)
    try:
        features = body.try_on(params, x)
        as_called = features[0].numel() == torch.Size(called.shape).numel()
        shape = called.shape if as_called else tuple(features.shape[1:])
        fits = near(head.try_on(params, features.reshape(-1, *shape)).flatten(1), due)
    except Exception:  # what follows may not take the body's output at all
        fits = False
    if fits and (tied := inside.keys() & outside.keys()):
        raise Unsupported(f"the head {called.path} and the body share {', '.join(tied)}: untie them")
    if not fits:
        parent._modules[leaf] = called.module
        return None
    names = [f"{path}.{name}" for path in batch_norms(body.module) for name in ("running_mean", "running_var")]
    return Parts(called.path, body, head, shape, tuple(names))


def near(some: Tensor, others: Tensor) -> bool:
    """Whether two results are equal but for rounding in float64."""
    if some.shape != others.shape:
        return False
    return bool((some - others).abs().max() <= SAME * others.abs().max().clamp(min=1e-30))
