"""Any `nn.Module` as a model: `from_module(factory)`.

The module is called through torch.func.functional_call. Stock layers that are not pure functions, or whose derivatives
are not exact on every engine, are computed in another way (`adapting`). What cannot be made exact is refused, with a
remedy.
"""

import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from metabench.errors import Unsupported, UserError, in_short
from metabench.models.adapting.heads import Called, Parts, called_in, near, parts_of
from metabench.models.adapting.layers import adapt, batch_norms, statistics_into
from metabench.models.adapting.stateless import Stateless, names_of
from metabench.tensors import Params

Result = TypeVar("Result")
Dropout: TypeAlias = Literal["off", "seeded"]
CANNOT = (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError, AssertionError)
"""What a module raises of inputs that it is not made for. Any other error is a mistake in it, and is shown as one."""
EXAMPLES = 4
"""How many random examples a module is tried on when it is built."""
_SPECTRAL = (
    "spectral_norm keeps vectors that each call improves, so that it is no function of the parameters: "
    "use weight_norm, or leave it out"
)
STATEFUL = {
    "_SpectralNorm": _SPECTRAL,
    "SpectralNorm": _SPECTRAL,
    "WeightNorm": "torch.nn.utils.weight_norm writes to the layer: use torch.nn.utils.parametrizations.weight_norm",
}
"""Parametrisations and hooks that cannot be carried, and what to do about each."""
INEXACT = ("padding_idx", "max_norm", "scale_grad_by_freq")
NUDGE = 0.05
NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm)
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def from_module(
    factory: Callable[..., object], head: str = "", dropout: Dropout = "off"
) -> "Callable[[tuple[int, ...], int], ModuleModel]":
    """A model of what `factory(input_shape, outputs)` or `factory(outputs)` gives, an `nn.Module` of one input.

    `factory` may be the class itself. `head` is the path of the layer that gives the outputs, such as `fc`; without
    it, the last linear layer of so many outputs is looked for. Batch normalisation is by the batch at hand. Dropout is
    `off`, or `seeded`: one mask for all examples, and the same in each call, so that directions can be compared.
    """
    if dropout not in get_args(Dropout):
        raise UserError(f"dropout is '{dropout}', where one of {', '.join(get_args(Dropout))} is due")

    def build(input_shape: tuple[int, ...], outputs: int) -> ModuleModel:
        shape = tuple(input_shape)
        return model_of(lambda: call_with_sizes(factory, shape, outputs), shape, outputs, head, dropout)

    return build


def from_function(function: Callable[..., object]) -> Callable[[tuple[int, ...], int], object]:
    """A model of what the function gives: an `nn.Module`, which is wrapped, or a model, which is taken as it is."""

    def build(input_shape: tuple[int, ...], outputs: int) -> object:
        with _seeded(0):
            made = call_with_sizes(function, tuple(input_shape), outputs)
        return from_module(function)(input_shape, outputs) if isinstance(made, nn.Module) else made

    return build


@dataclass(frozen=True, eq=False)
class ModuleModel:
    """A module in two parts, with all that it holds beside its parameters as constants."""

    make: Callable[[int], nn.Module]
    """Function that gives a fresh module, by a seed."""
    parts: Parts
    outputs: int
    names: frozenset[str]
    """Names of all parameters that are learned."""
    head_names: frozenset[str]
    modulated: tuple[str, ...]
    norm_names: frozenset[str]
    batch_statistics: bool

    def init(self, generator: torch.Generator) -> Params:
        seed = int(torch.randint(2**62, (), generator=generator))
        fresh = self.make(seed).named_parameters()
        return {name: p.detach().to("cpu", torch.float32, copy=True) for name, p in fresh if name in self.names}

    def features(self, params: Params, x: Tensor) -> Tensor:
        return self.parts.features(params, x)

    def head(self, params: Params, features: Tensor) -> Tensor:
        return self.parts.outputs(params, features)

    def statistics(self, params: Params, x: Tensor) -> Params:
        seen: Params = {}
        norms = batch_norms(self.parts.body.module)
        hooks = [norm.register_forward_pre_hook(statistics_into(seen, path)) for path, norm in norms.items()]
        try:
            self.features(params, x)
        finally:
            for hook in hooks:
                hook.remove()
        return seen


def model_of(
    make: Callable[[], object], input_shape: tuple[int, ...], outputs: int, head: str, dropout: Dropout
) -> ModuleModel:
    """The model of what `make` gives; raises `Unsupported`, with a remedy, for what cannot be one."""

    def fresh(seed: int) -> nn.Module:
        with _seeded(seed):
            return _made(make, input_shape, outputs)

    module = fresh(0).eval()
    _refuse(module)
    adapt(module)
    whole = Stateless(module, names_of(module))
    params = {name: _nudged(p) for name, p in module.named_parameters() if name in whole.names}
    with torch.no_grad():
        x, (given, order) = _tried(lambda x: called_in(whole, params, x), module, input_shape, torch.float64)
        if given.shape != (len(x), outputs):
            raise Unsupported(
                f"the module gives outputs of shape {tuple(given.shape)} for {len(x)} examples, where "
                f"{(len(x), outputs)} is due: let its last layer have as many outputs as it is asked for"
            )
        parts = parts_of(whole, params, x, given, order, head)
        if dropout == "seeded":
            parts.seed_dropout(params, x)
        half = len(x) // 2
        alone = near(parts.features(params, x[:half]), parts.features(params, x)[:half])
    head_names = frozenset(parts.head.names)
    modulated = _modulated(order, parts.body.names)
    norms = {f"{path}.{part}" for path in batch_norms(parts.body.module) for part in ("weight", "bias")}
    learned = frozenset(whole.names)
    return ModuleModel(fresh, parts, outputs, learned, head_names, modulated, learned & norms, not alone)


def _nudged(p: Tensor) -> Tensor:
    """A parameter in float64, each number a little off: unit scales and zero biases would hide where the head is."""
    generator = torch.Generator().manual_seed(p.numel())
    noise = NUDGE * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return torch.where(p == 0, noise, p.detach().double() * noise.exp())


def _made(make: Callable[[], object], input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A fresh module in float32 on the CPU, with all of its parameters."""
    try:
        module = make()
    except CANNOT as error:
        raise Unsupported(
            f"the module cannot be made for inputs of shape {input_shape} and {outputs} outputs: {in_short(error)} "
            "(a factory is called with input_shape and outputs, or with outputs alone)"
        ) from error
    if not isinstance(module, nn.Module):
        raise Unsupported(f"the factory gives {type(module).__name__}, where an nn.Module is due")
    module = module.to("cpu").float()
    if any(map(is_lazy, module.parameters())):
        with torch.no_grad():
            _tried(module.eval(), module, input_shape, torch.float32)
    return module


def _tried(
    call: Callable[[Tensor], Result], module: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Result]:
    """A few random examples that the module takes, and what came of the call on them."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(EXAMPLES, *input_shape, generator=generator, dtype=dtype)
    tried = [values, (values < 0.5).long()]  # where it looks its inputs up in a table, they are indices
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in module.modules()):
        tried.reverse()
    errors: list[Exception] = []
    for x in tried:
        try:
            return x, call(x)
        except CANNOT as error:
            errors.append(error)
    raise Unsupported(f"the module cannot take inputs of shape {input_shape}: {in_short(errors[0])}") from errors[0]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Have torch draw from that seed meanwhile, and put tensors on the CPU if they are not sent elsewhere."""
    devices = range(torch.cuda.device_count()) if torch.cuda._initialized else ()
    with torch.random.fork_rng(devices=devices), torch.device("cpu"):
        torch.manual_seed(seed)
        yield


def call_with_sizes(factory: Callable[..., object], input_shape: tuple[int, ...], outputs: int) -> object:
    """Call with what the signature takes: parameters of these names, or the two in this order, or the outputs alone."""
    signature = inspect.signature(factory)
    parameters = signature.parameters.values()
    sizes = {"input_shape": input_shape, "outputs": outputs, "num_classes": outputs}
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = {p.name: sizes[p.name] for p in parameters if p.name in sizes and p.kind is not p.POSITIONAL_ONLY}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)  # as in torchvision's own functions
    needed = [p.name for p in plain if p.default is p.empty]
    in_order: tuple[object, ...] = ()
    if not by_name or not by_name.keys() >= set(needed):
        by_name = {"num_classes": outputs} if open_ended and not plain else {}
        in_order = ((input_shape, outputs) if len(needed) > 1 else (outputs,)) if plain else ()
    try:
        signature.bind(*in_order, **by_name)
    except TypeError as error:
        raise Unsupported(
            f"{getattr(factory, '__name__', 'the factory')} takes other things than (input_shape, outputs) or "
            f"(outputs): write a function of these two that calls it ({error})"
        ) from error
    return factory(*in_order, **by_name)


def _refuse(module: nn.Module) -> None:
    """Raise `Unsupported` for layers that are no function of parameters and inputs, or that cannot be looked into."""
    for layer in module.modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise Unsupported("a scripted module cannot be called with other parameters: give the module itself")
        options = (
            [getattr(layer, name) for name in INEXACT] if isinstance(layer, nn.Embedding | nn.EmbeddingBag) else []
        )
        if any(option is not None and option is not False for option in options):
            raise Unsupported(
                f"gradients of an embedding with {', '.join(INEXACT)} are no derivatives: leave these out"
            )
        for kind in (type(layer), *map(type, layer._forward_pre_hooks.values())):
            if kind.__name__ in STATEFUL:
                raise Unsupported(STATEFUL[kind.__name__])


def _modulated(order: Sequence[Called], names: Container[str]) -> tuple[str, ...]:
    """Scale and shift of the last normalisation of the body that has both; else the bias of its last layer."""
    for called in reversed(order):
        both = f"{called.path}.weight", f"{called.path}.bias"
        if isinstance(called.module, NORMS) and all(name in names for name in both):
            (weight, bias) = (called.module.get_parameter(name.rpartition(".")[2]) for name in both)
            if weight.dim() == bias.dim() == 1:
                return both
    biases = (f"{called.path}.bias" for called in reversed(order) if isinstance(called.module, WEIGHTED))
    return next(((name,) for name in biases if name in names), ())
