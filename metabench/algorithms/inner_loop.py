"""The inner loop, which gradient-based algorithms share: steps of an optimiser on a sequence of batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from metabench.algorithms.reversal import Leaves, Tree, end_of
from metabench.autodiff import Autodiff, GradientAndValue, Scalar, derivative_along
from metabench.record.cell import InnerOptimizer
from metabench.tensors import Params

B = TypeVar("B")
T = TypeVar("T")
State: TypeAlias = dict[str, Params]

MOMENTUM = 0.9
BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8
FORGOTTEN = 1e-9
"""Weight of what is remembered before the first task, in which one step weighs 1 - β₂."""


class Holding(Protocol):
    """The part of a learner that an inner loop needs."""

    @property
    def held(self) -> frozenset[str]: ...


class Descending(Protocol):
    """The part of an algorithm that its inner loop needs."""

    @property
    def learner(self) -> Holding: ...
    @property
    def inner_lr(self) -> float: ...
    @property
    def inner_optimizer(self) -> InnerOptimizer: ...
    @property
    def first_order(self) -> bool: ...
    @property
    def checkpoint(self) -> bool: ...
    @property
    def kept_steps(self) -> int: ...
    @property
    def autodiff(self) -> Autodiff: ...
    def inner_gradient(self, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]: ...


def descend(
    algorithm: Descending,
    loss: Callable[[Params, B], Tensor],
    params: Params,
    batches: Iterable[B],
    rates: Iterable[float | Params] | None = None,
    transform: Callable[[Params, B], Params] | None = None,
    remembered: State | None = None,
) -> Iterator[Params]:
    """Yields φ₀ = params, then φᵢ₊₁ = φᵢ - rateᵢ ∘ U(T(∇L(φᵢ, batchᵢ))) for each batch.

    U is the algorithm's inner optimiser, started anew here; T is `transform`, which sees the batch too; rates are
    numbers or tensors by parameter, one a step (`inner_lr` if left out). Parameters that the learner holds stay as they
    are: of them there is no gradient, and no rate is looked for. The algorithm says whether the steps are
    first-order, how they are differentiated, and what is kept of them. Hand everything that the direction is
    differentiated in to L and T as arguments: a step that is computed again does not see their closures. Where few
    steps are kept and something is differentiated, φ₀ and the end are all that is yielded.

    With `remembered`, as `first_memory` makes it, U goes on from what it remembers of earlier tasks, and each φᵢ has
    that as well, by the names that `memory_in` looks for.
    """
    own = {name: p for name, p in params.items() if name not in algorithm.learner.held}
    held = {name: p for name, p in params.items() if name not in own}
    linear = transform is None and algorithm.inner_optimizer in LINEAR
    update = _remembering if remembered else _UPDATES[algorithm.inner_optimizer]
    one = Step(loss, transform, update, tuple(own), tuple(params), linear)
    inputs = zip(batches, rates or repeat(algorithm.inner_lr), strict=False)
    yield {**params, **_named(remembered or {})}
    if algorithm.kept_steps and not algorithm.first_order and torch.is_grad_enabled():
        if steps := list(inputs):
            yield {**params, **_few_kept(one, own, held, steps, algorithm)}
        return
    advance = one.advance
    if algorithm.checkpoint and torch.is_grad_enabled():
        advance = algorithm.autodiff.recomputed(advance)
    state = remembered or {}
    for step, (batch, rate) in enumerate(inputs):
        own, state = advance(algorithm.inner_gradient, own, state, held, batch, rate, step)
        yield {**params, **own, **(_named(state) if remembered else {})}


@dataclass(frozen=True)
class Step(Generic[B]):
    """One step of an inner loop: a gradient, and where it takes the parameters and the inner optimiser's state."""

    loss: Callable[[Params, B], Tensor]
    transform: Callable[[Params, B], Params] | None
    update: Callable[[Params, State, int], tuple[Params, State]]
    moved: tuple[str, ...]
    names: tuple[str, ...]
    """Names of all parameters, in their order."""
    linear: bool
    """Whether the step is a linear function of the gradient."""

    def loss_of(self, own: Params, held: Params, batch: B) -> Tensor:
        """The loss, as a function of what is moved and of what is not."""
        return self.loss({name: own[name] if name in own else held[name] for name in self.names}, batch)

    def advance(
        self,
        gradient_and_value: GradientAndValue,
        own: Params,
        state: State,
        held: Params,
        batch: B,
        rate: float | Params,
        step: int,
    ) -> tuple[Params, State]:
        """What is moved, and the state, after the step."""
        gradient, _ = gradient_and_value(self.loss_of)(own, held, batch)
        return self.after(gradient, own, state, batch, rate, step)

    def after(
        self, gradient: Params, own: Params, state: State, batch: B, rate: float | Params, step: int
    ) -> tuple[Params, State]:
        """What is moved, and the state, after the step, of the gradient."""
        direction, state = self.update(self.transform(gradient, batch) if self.transform else gradient, state, step)
        rates = rate if isinstance(rate, dict) else dict.fromkeys(own, rate)
        return {name: p - rates[name] * direction[name] for name, p in own.items()}, state


def _few_kept(
    one: Step[B], own: Params, held: Params, inputs: list[tuple[B, float | Params]], algorithm: Descending
) -> Params:
    """What is moved, after all steps, which are gone back through with `kept_steps` of them kept at once."""
    batches, batch_of = _each_once([batch for batch, _ in inputs])
    rates, rate_of = _each_once([rate for _, rate in inputs])
    constant = algorithm.autodiff.constant_gradient_and_value

    def at_step(given: Tree, step: int) -> tuple[B, float | Params]:
        return given[1][batch_of[step]], given[2][rate_of[step]]

    def advance(state: Tree, given: Tree, step: int) -> Tree:
        own, moments = state
        return one.advance(constant, own, moments, given[0], *at_step(given, step), step)

    def pull_back(
        state: Tree, given: Tree, step: int, cotangent: Leaves, wanted: Sequence[bool]
    ) -> tuple[Leaves, Leaves]:
        before, of_state = tree_flatten(state)
        numbers, of_given = tree_flatten(given)
        chosen = {f"given {i}": number for i, number in enumerate(numbers) if wanted[i]}

        def filled(chosen: Params) -> Tree:
            return tree_unflatten([chosen.get(f"given {i}", number) for i, number in enumerate(numbers)], of_given)

        def after(gradient: Params, before: list[Tensor], chosen: Params) -> tuple[Tensor, ...]:
            own, moments = tree_unflatten(before, of_state)
            found, _ = tree_flatten(one.after(gradient, own, moments, *at_step(filled(chosen), step), step))
            return tuple(found)

        def loss(some: Params) -> Tensor:
            given = filled(some)
            return one.loss_of({name: some[name] for name in one.moved}, given[0], at_step(given, step)[0])

        def back(gradient: Params) -> Any:
            after_and_pull: Any = torch.func.vjp(after, gradient, before, chosen)
            return after_and_pull[1](tuple(cotangent))

        if one.linear:  # what the gradient is does not matter to its own cotangent, and is known after that
            along, _, _ = back(_zeros(state[0]))
            gradient, second = derivative_along(loss, state[0] | chosen, along)
            _, of_before, of_chosen = back({name: gradient[name] for name in one.moved})
        else:
            gradient, _ = constant(one.loss_of)(state[0], given[0], at_step(given, step)[0])
            along, of_before, of_chosen = back(gradient)
            _, second = derivative_along(loss, state[0] | chosen, along)
        for i, name in enumerate(one.moved):  # they come first in the state
            of_before[i] = of_before[i] + second[name]
        of_numbers = {name: of_chosen[name] + second[name] for name in chosen}
        return [*of_before], [of_numbers.get(f"given {i}") for i in range(len(numbers))]

    # The first step is like all others where it has a velocity, too: of zero.
    momentum = algorithm.inner_optimizer == "momentum"
    start: tuple[Params, State] = own, {"velocity": _zeros(own)} if momentum else {}
    alike = len(batches) == len(rates) == 1 and algorithm.inner_optimizer in LINEAR
    end: tuple[Params, State] = end_of(
        *(advance, pull_back, start, (held, batches, rates), len(inputs), algorithm.kept_steps),
        algorithm.autodiff.repeating if alike else None,
    )
    return end[0]


def _zeros(params: Params) -> Params:
    return {name: torch.zeros_like(p) for name, p in params.items()}


def _each_once(values: Sequence[T]) -> tuple[list[T], list[int]]:
    """The values without those that are the same object as an earlier one, and the place of each among them."""
    once = {id(value): value for value in values}
    places = {name: i for i, name in enumerate(once)}
    return list(once.values()), [places[id(value)] for value in values]


def _sgd(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    return gradient, state


def _momentum(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    velocity = {name: MOMENTUM * state["velocity"][name] + g for name, g in gradient.items()} if state else gradient
    return velocity, {"velocity": velocity}


def _adam(gradient: Params, state: State, step: int, beta1: float = BETA1) -> tuple[Params, State]:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, with ε inside the root: the root's derivative at zero is finite."""
    mean = {name: (1 - beta1) * g for name, g in gradient.items()}
    square = {name: (1 - BETA2) * g * g for name, g in gradient.items()}
    if state:
        mean = {name: beta1 * state["mean"][name] + m for name, m in mean.items()}
        square = {name: BETA2 * state["square"][name] + s for name, s in square.items()}
    unbias1, unbias2 = 1 / (1 - beta1 ** (step + 1)), 1 / (1 - BETA2 ** (step + 1))
    direction = {name: unbias1 * m / (unbias2 * square[name] + EPSILON**2).sqrt() for name, m in mean.items()}
    return direction, {"mean": mean, "square": square}


def _remembering(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    """What `rmsprop` does with squares that go back to earlier tasks, of which `weight` says how many steps they hold.

    After t steps from zero the weight is 1 - β₂ᵗ, by which Kingma and Ba divide.
    """
    weight = BETA2 * state["weight"]["square"] + (1 - BETA2)
    square = {name: BETA2 * state["square"][name] + (1 - BETA2) * g * g for name, g in gradient.items()}
    direction = {name: g / (square[name] / weight + EPSILON**2).sqrt() for name, g in gradient.items()}
    return direction, {"square": square, "weight": {"square": weight}}


def first_memory(params: Params) -> Params:
    """What `rmsprop` remembers before the first task: next to nothing, as squares are positive."""
    like = next(iter(params.values()))
    squares = {"square": {name: torch.full_like(p, FORGOTTEN**2) for name, p in params.items()}}
    return _named({**squares, "weight": {"square": like.new_tensor(FORGOTTEN)}})


def memory_in(meta: Params) -> tuple[Params, State | None]:
    """The network's parameters among the meta-parameters, and what is remembered of earlier tasks, if anything is."""
    if "weight.square" not in meta:
        return meta, None
    squares = {name.removeprefix("square."): p for name, p in meta.items() if name.startswith("square.")}
    return {name: meta[name] for name in squares}, {"square": squares, "weight": {"square": meta["weight.square"]}}


def _named(state: State) -> Params:
    return {f"{kind}.{name}": p for kind, moments in state.items() for name, p in moments.items()}


# `rmsprop` is Adam with β₁ = 0, the inner optimiser of Reptile's authors.
_UPDATES: dict[InnerOptimizer, Callable[[Params, State, int], tuple[Params, State]]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
    "rmsprop": partial(_adam, beta1=0.0),
}
LINEAR: tuple[InnerOptimizer, ...] = ("sgd", "momentum")
"""Inner optimisers whose steps are linear in the gradient."""
INNER_OPTIMIZERS = tuple(_UPDATES)
