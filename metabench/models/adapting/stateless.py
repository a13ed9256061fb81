"""A module as a function of its parameters: everything else that it holds is constant."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch._C import _functorch as layers
from torch._C import _len_torch_dispatch_stack
from torch.func import functional_call

from metabench.errors import Unsupported
from metabench.models.adapting.calls import Exact, exact_attention
from metabench.tensors import Params


class Constants:
    """Tensors that do not change, in the floating type and on the device of others."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)
        self._moved: dict[tuple[torch.dtype, torch.device], Params] = {}

    def like(self, other: Tensor) -> Params:
        key = other.dtype, other.device
        if key not in self._moved:
            moved = {name: _moved(tensor, other) for name, tensor in self.tensors.items()}
            # Inside of a transform or of a trace, they are not the numbers alone.
            if layers.peek_interpreter_stack() is not None or _len_torch_dispatch_stack():
                return moved
            self._moved[key] = moved
        return dict(self._moved[key])


def _moved(tensor: Tensor, other: Tensor) -> Tensor:
    return tensor.to(other) if tensor.is_floating_point() else tensor.to(other.device)


class Stateless:
    """A module, called with parameters under the names that they have in `names`.

    `names` has, for each parameter of the caller's, the places in the module where it stands: more than one where
    parameters are tied.
    """

    def __init__(self, module: nn.Module, names: Mapping[str, tuple[str, ...]], seeded: bool = False) -> None:
        self.module, self.names = module, names
        own = {place for places in names.values() for place in places}
        tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        self.constants = Constants({name: tensor.detach() for name, tensor in tensors if name not in own})
        self.masks = Constants({})
        self.seeded = seeded
        self.rewrites, self.attends = True, True

    def __call__(self, params: Params, x: Tensor, also: Mapping[str, Tensor] | None = None) -> Tensor:
        """The module's output; `also` has buffers to be put in the place of its own."""
        with ExitStack() as stack:
            if self.attends:
                stack.enter_context(exact_attention())
            if self.rewrites:
                like = next(iter(params.values()), x)
                stack.enter_context(Exact(self.masks.like(like) if self.seeded else None))
            return self._called(self._given(params, x) | dict(also or {}), x)

    def try_on(self, params: Params, x: Tensor) -> Tensor:
        """The module's output, by which it is found out what of it must be called in another form.

        Raises `Unsupported` for what is not a function of parameters and inputs.
        """
        mode = Exact({} if self.seeded else None, drawing=True)
        given = self._given(params, x)
        kept = {name: given[name].clone() for name in self.constants.tensors}
        random = torch.get_rng_state()
        with exact_attention(), mode:
            output = self._called(given, x)
        if not torch.equal(random, torch.get_rng_state()):
            raise Unsupported("the module draws random numbers by itself: leave noise out")
        for name, tensor in kept.items():
            if not torch.equal(given[name], tensor):
                raise Unsupported(f"the module writes to its buffer {name}: it must keep no state from call to call")
        self.masks = Constants(mode.masks or {})
        self.rewrites, self.attends = mode.rewrites, mode.attends
        return output

    def _given(self, params: Params, x: Tensor) -> Params:
        given = self.constants.like(next(iter(params.values()), x))
        for name, places in self.names.items():
            given.update(dict.fromkeys(places, params[name]))
        return given

    def _called(self, given: Params, x: Tensor) -> Tensor:
        output = functional_call(self.module, given, (x,), tie_weights=False)
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise Unsupported(f"the module gives {kind}, where one tensor is due: let it give the outputs alone")
        return output


def names_of(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The places of each parameter that is learned, by the first of its names."""
    places: dict[int, list[str]] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        if p.requires_grad:
            places.setdefault(id(p), []).append(name)
    return {first: (first, *others) for first, *others in places.values()}


def below(names: Mapping[str, tuple[str, ...]], path: str, inside: bool) -> dict[str, tuple[str, ...]]:
    """The parameters that stand in the submodule at `path`, by their places there; or all others."""
    prefix = f"{path}." if path else ""
    found: dict[str, tuple[str, ...]] = {}
    for name, places in names.items():
        chosen: Iterable[str] = (place for place in places if place.startswith(prefix) == inside)
        if chosen := tuple(place.removeprefix(prefix) if inside else place for place in chosen):
            found[name] = chosen
    return found
