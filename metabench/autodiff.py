"""Two ways of taking a gradient with one meaning, so that an algorithm is written once and engines choose.

`FUNCTIONAL` goes through the layers of `torch.func`: it can be vmapped, compiled and nested freely, and its layers take
time in eager mode. `TAPE` is `torch.autograd` with `create_graph` wherever an outer gradient is being recorded. In a
plain loop over tasks it is more than twice as fast, so `loop` uses it and is a fair baseline. The two are independent,
so each also checks the other.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch._C import _functorch as layers
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from metabench.tensors import Params

P = ParamSpec("P")
R = TypeVar("R")

Tensors: TypeAlias = tuple[Tensor, ...]
Scalar: TypeAlias = Callable[..., Tensor]
"""A function whose first argument is a `Params` and whose value is a scalar tensor."""
GradientAndValue: TypeAlias = Callable[[Scalar], Callable[..., tuple[Params, Tensor]]]


@dataclass(frozen=True)
class Repeat:
    """Inner steps that are all alike, as functions of tensors."""

    advance: Callable[..., Tensors]
    """The state after a step: of the state before it, and of what is given to all steps."""
    steps: int
    kept: int
    """States that are kept at once on the way back; 0 where there is no way back."""
    pull_back: Callable[..., Tensors] | None = None
    """One step back: of those two, and of the cotangents of the state after it. None on the way there."""


Repeating: TypeAlias = Callable[[Repeat, Tensors, Tensors, Tensors, Sequence[int]], Tensors]
"""All steps at once: the last state, of the first one and of what is given. On the way back it also has the cotangents
of the last state and places in what is given. Then it gives the cotangents of the first state and of those places."""


def differentiated(tree: Any) -> bool:
    """Whether a gradient is being taken in any of its tensors."""
    return any(leaf.requires_grad for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


class Autodiff(NamedTuple):
    """`gradient_and_value(f)(params, *args) -> (gradient in params, value)`, differentiable itself when nested.

    `constant_gradient_and_value` gives the same numbers as constants: nothing is differentiated through them.
    `tangent_gradient_and_value` keeps no graph, and is differentiated by forward mode over reverse mode. What it is
    differentiated in must be among its arguments.
    `recomputed(f)` is `f` whose graph is not kept: the backward pass has its arguments alone, and computes the rest
    again. What `f` is differentiated in must be among its arguments: `FUNCTIONAL` sees no other tensor.
    `repeating` carries out steps that are all alike, if few of them are kept or none; None takes one after the other.
    """

    name: str
    gradient_and_value: GradientAndValue
    constant_gradient_and_value: GradientAndValue
    tangent_gradient_and_value: GradientAndValue
    recomputed: Callable[[Callable[P, R]], Callable[P, R]]
    repeating: Repeating | None = None


def _functional(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    """What `torch.func.grad_and_value` does, by the same layers.

    torch's own asks for the state of its compiler at every gradient. The first time imports the compiler, which takes
    a small cell's process longer than all that it measures.
    """

    # with a graph in any case: a layer outside of this one may differentiate what it gives
    return partial(_in_layer, function, True)


def _in_layer(function: Scalar, recording: bool, params: Params, *args: Any) -> tuple[Params, Tensor]:
    level = layers._grad_increment_nesting()
    try:
        with torch.enable_grad():
            leaves = {name: _leaf(p, level) for name, p in params.items()}
            value = function(leaves, *args)
            inputs = list(leaves.values())
            gradients = torch.autograd.grad(value, inputs, create_graph=recording, allow_unused=True)
            found = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(inputs, gradients, strict=True)]
        gradient = {name: layers._unwrap_for_grad(g, level) for name, g in zip(leaves, found, strict=True)}
        return gradient, layers._unwrap_for_grad(value, level)
    finally:
        layers._grad_decrement_nesting()


def _leaf(p: Tensor, level: int) -> Tensor:
    """A tensor as a layer of torch.func sees it, where gradients in it are taken."""
    leaf: Tensor = layers._wrap_for_grad(p, level)
    before = layers.get_inplace_requires_grad_allowed()
    layers.set_inplace_requires_grad_allowed(True)
    try:
        return leaf.requires_grad_()
    finally:
        layers.set_inplace_requires_grad_allowed(before)


def _functional_constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        gradient, value = _functional(function)(params, *args)
        return {name: g.detach() for name, g in gradient.items()}, value.detach()

    return gradient_and_value


def _tape(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        recording = torch.is_grad_enabled() and any(p.requires_grad for p in params.values())
        return _on_tape(function, params, args, recording)

    return gradient_and_value


def _tape_constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    return lambda params, *args: _on_tape(function, params, args, recording=False)


def _on_tape(function: Scalar, params: Params, args: tuple[Any, ...], recording: bool) -> tuple[Params, Tensor]:
    with torch.enable_grad():
        if not recording:
            params = {name: p.detach().requires_grad_() for name, p in params.items()}
        value = function(params, *args)
        gradients = torch.autograd.grad(
            value, list(params.values()), create_graph=recording, allow_unused=True, materialize_grads=True
        )
    return dict(zip(params, gradients, strict=True)), value if recording else value.detach()


@cache
def _import_forward_rules() -> None:
    """Import what torch imports where forward mode is used first, without its warning of how it defines them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import_module("torch._decomp.decompositions_for_jvp")


def derivative_along(function: Callable[[Params], Tensor], at: Params, along: Params) -> tuple[Params, Params]:
    """The gradient of a scalar function in all of `at`, and its derivative along a tangent, without a graph of either.

    By forward mode over reverse mode. What `along` does not name does not move.
    """
    names = list(at)

    def gradients(recording: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        found, _ = _in_layer(function, recording, dict(zip(names, tensors, strict=True)))
        return tuple(found.values())

    _import_forward_rules()
    tangents = tuple(along[name] if name in along else torch.zeros_like(p) for name, p in at.items())
    found: Any
    try:
        found = torch.func.jvp(partial(gradients, False), tuple(at.values()), tangents)
    except NotImplementedError:  # torch has a backward pass of group normalisation without tangents, and one with them
        found = torch.func.jvp(partial(gradients, True), tuple(at.values()), tangents)
    first, second = found
    return dict(zip(names, first, strict=True)), dict(zip(names, second, strict=True))


def _by_tangents(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    """A gradient whose graph is one node: its derivative is that of the gradient along a tangent.

    The derivative of ⟨∇f, u⟩ in all arguments is the derivative of all gradients of f along u, as second derivatives
    do not depend on the order. Forward mode takes it beside one more backward pass, and keeps no graph of that.
    """
    gradient_of = partial(_in_layer, function, False)

    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        leaves, structure = tree_flatten((params, args))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        names, own = list(params), len(params)

        def arguments(tensors: Params) -> list[Any]:
            given = {place: tensors[str(i)] for i, place in enumerate(places)}
            params, args = tree_unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)], structure)
            return [params, *args]

        def numbered(tensors: Iterable[Tensor]) -> Params:
            return {str(i): tensor for i, tensor in enumerate(tensors)}

        def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
            gradient, value = gradient_of(*arguments(numbered(tensors)))
            return (*(gradient[name].detach() for name in names), value.detach())

        def backward(tensors: Tensors, needed: Sequence[bool], cotangents: Tensors) -> tuple[Tensor | None, ...]:
            inputs = numbered(tensors)
            wanted = [i for i, each in enumerate(needed) if each or i < own]
            at = {str(i): inputs[str(i)] for i in wanted}
            along = numbered(cotangents[:own])
            first, second = derivative_along(lambda some: function(*arguments(inputs | some)), at, along)
            found = {i: second[str(i)] + cotangents[own] * first[str(i)] for i in wanted}
            return tuple(found[i] if each else None for i, each in enumerate(needed))

        *gradient, value = as_one_node(forward, backward, [leaves[i] for i in places])
        return dict(zip(names, gradient, strict=True)), value

    return gradient_and_value


def _tape_recomputed(function: Callable[P, R]) -> Callable[P, R]:
    return partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)


def _functional_recomputed(function: Callable[P, R]) -> Callable[P, R]:
    # torch.utils.checkpoint works by hooks on what the tape saves, which torch.func does not allow.
    def recomputed(*args: P.args, **kwargs: P.kwargs) -> R:
        leaves, structure = tree_flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        shape_of_result: Any = None

        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            nonlocal shape_of_result
            given = dict(zip(places, tensors, strict=True))
            call, named = tree_unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)], structure)
            outputs, shape_of_result = tree_flatten(function(*call, **named))
            return tuple(outputs)

        def backward(inputs: Tensors, needed: Sequence[bool], cotangents: Tensors) -> tuple[Tensor | None, ...]:
            wanted = [i for i, each in enumerate(needed) if each]

            def of_wanted(*some: Tensor) -> tuple[Tensor, ...]:
                chosen = dict(zip(wanted, some, strict=True))
                return of_tensors(*(chosen.get(i, tensor) for i, tensor in enumerate(inputs)))

            value_and_pull_back: Any = torch.func.vjp(of_wanted, *(inputs[i] for i in wanted))
            found = dict(zip(wanted, value_and_pull_back[1](cotangents), strict=True))
            return tuple(found.get(i) for i in range(len(inputs)))

        outputs = as_one_node(of_tensors, backward, [leaves[i] for i in places])
        result: R = tree_unflatten(outputs, shape_of_result)
        return result

    return recomputed


def as_one_node(
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[[Tensors, Sequence[bool], Tensors], tuple[Tensor | None, ...]],
    inputs: Iterable[Tensor],
) -> list[Tensor]:
    """`forward(*inputs)`, whose graph is one node that keeps its inputs alone.

    `backward` has the inputs, which of them need a cotangent, and those of what `forward` gave; it gives the inputs'.
    """
    modes = _function_modes()  # torch leaves them while it calls what is below

    @contextmanager
    def among_modes() -> Iterator[None]:
        with ExitStack() as stack:
            for mode in modes[len(_function_modes()) :]:
                stack.enter_context(mode)
            yield

    class Node(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
            with among_modes():
                return forward(*tensors)

        @staticmethod
        def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
            with among_modes():
                return backward(ctx.saved_tensors, ctx.needs_input_grad, cotangents)

    return list(Node.apply(*inputs))


def _function_modes() -> list[TorchFunctionMode]:
    modes: list[TorchFunctionMode] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return modes


FUNCTIONAL = Autodiff("functional", _functional, _functional_constant, _by_tangents, _functional_recomputed)
TAPE = Autodiff("tape", _tape, _tape_constant, _by_tangents, _tape_recomputed)


def recording_into(record: list[tuple[Params, Tensor]]) -> Autodiff:
    """`TAPE` that writes down every constant gradient it takes, in order."""

    def constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
            record.append(_on_tape(function, params, args, recording=False))
            return record[-1]

        return gradient_and_value

    return TAPE._replace(name="recording", constant_gradient_and_value=constant)


def replaying(record: list[tuple[Params, Tensor]]) -> Autodiff:
    """`TAPE` whose constant gradients are the recorded ones, whatever the parameters.

    What a first-order method means, in terms that finite differences can be taken of: the inner gradients do not
    change when the meta-parameters do.
    """
    recorded = iter(record)
    return TAPE._replace(name="replaying", constant_gradient_and_value=lambda _: lambda *_: next(recorded))
