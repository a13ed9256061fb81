"""The inner loop, which gradient-based algorithms share: steps of an optimiser on a sequence of batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from metabench.algorithms.inner_optimizers import LINEAR, UPDATES, State, named, remembering
from metabench.algorithms.reversal import Leaves, Tree, end_of, repeated
from metabench.autodiff import Autodiff, GradientAndValue, Scalar, derivative_along, differentiated
from metabench.record.cell import InnerOptimizer
from metabench.tensors import Params, zeros

B = TypeVar("B")
T = TypeVar("T")


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


class Descent(Iterator[Params]):
    """The points of an inner loop, φ₀ first; or its end alone, which takes fewer operations to write down."""

    def __init__(self, points: Iterator[Params], end: Callable[[], Params]) -> None:
        self._points, self.end = points, end

    def __next__(self) -> Params:
        return next(self._points)


def last(trajectory: Iterator[Params]) -> Params:
    """The end of a trajectory, holding no earlier point of it."""
    if isinstance(trajectory, Descent):
        return trajectory.end()
    for point in trajectory:
        adapted = point
    return adapted


def descend(
    algorithm: Descending,
    loss: Callable[[Params, B], Tensor],
    params: Params,
    batches: Iterable[B],
    rates: Iterable[float | Params] | None = None,
    transform: Callable[[Params, B], Params] | None = None,
    remembered: State | None = None,
    losses: list[Tensor] | None = None,
) -> Descent:
    """φ₀ = params, then φᵢ₊₁ = φᵢ - rateᵢ ∘ U(T(∇L(φᵢ, batchᵢ))) for each batch.

    U is the algorithm's inner optimiser, started anew here; T is `transform`, which sees the batch too; rates are
    numbers or tensors by parameter, one a step (`inner_lr` if left out). Parameters that the learner holds stay as they
    are: of them there is no gradient, and no rate is looked for. The algorithm says whether the steps are
    first-order, how they are differentiated, and what is kept of them. Hand every tensor in to L and T as an argument:
    a step that is computed again, or written as a loop, does not see their closures. Where few steps are kept and
    something is differentiated, φ₀ and the end are all that there is.

    With `remembered`, U goes on from what it remembers of earlier tasks (`with_first_memory`), and each φᵢ has that as
    well, by the names that `memory_in` looks for. To `losses`, L(φᵢ, batchᵢ) is added as step i + 1 is taken.
    """
    own = {name: p for name, p in params.items() if name not in algorithm.learner.held}
    held = {name: p for name, p in params.items() if name not in own}
    linear = transform is None and algorithm.inner_optimizer in LINEAR
    update = remembering if remembered else UPDATES[algorithm.inner_optimizer]
    one = Step(loss, transform, update, tuple(own), tuple(params), linear, losses)
    inputs = zip(batches, rates or repeat(algorithm.inner_lr), strict=False)

    def points(inputs: Iterable[tuple[B, float | Params]]) -> Iterator[Params]:
        yield {**params, **named(remembered or {})}
        if algorithm.kept_steps and not algorithm.first_order and torch.is_grad_enabled():
            if steps := list(inputs):
                yield {**params, **_few_kept(one, own, held, steps, algorithm)}
            return
        advance = one.advance
        if algorithm.checkpoint and torch.is_grad_enabled():
            advance = algorithm.autodiff.recomputed(advance)
        moved, state = own, remembered or {}
        for step, (batch, rate) in enumerate(inputs):
            moved, state = advance(algorithm.inner_gradient, moved, state, held, batch, rate, step)
            yield {**params, **moved, **(named(state) if remembered else {})}

    def end() -> Params:
        if not algorithm.autodiff.repeating:
            return last(points(inputs))
        listed = list(inputs)
        steps = Steps(one, own, held, listed, algorithm.inner_optimizer, algorithm.inner_gradient)
        if remembered or losses is not None or not steps.alike or differentiated((steps.start, steps.given)):
            return last(points(listed))
        moved, _ = repeated(steps.advance, steps.start, steps.given, len(listed), algorithm.autodiff.repeating)
        return {**params, **moved}

    return Descent(points(inputs), end)


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
    losses: list[Tensor] | None
    """Where the loss before each step goes, if it is asked for."""

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
        gradient, value = gradient_and_value(self.loss_of)(own, held, batch)
        if self.losses is not None:
            self.losses.append(value)
        return self.after(gradient, own, state, batch, rate, step)

    def after(
        self, gradient: Params, own: Params, state: State, batch: B, rate: float | Params, step: int
    ) -> tuple[Params, State]:
        """What is moved, and the state, after the step, of the gradient."""
        direction, state = self.update(self.transform(gradient, batch) if self.transform else gradient, state, step)
        rates = rate if isinstance(rate, dict) else dict.fromkeys(own, rate)
        return {name: p - rates[name] * direction[name] for name, p in own.items()}, state


class Steps(Generic[B]):
    """All steps of an inner loop, each a function of a state, of what is given to all of them, and of its number."""

    def __init__(
        self,
        one: Step[B],
        own: Params,
        held: Params,
        inputs: Sequence[tuple[B, float | Params]],
        optimizer: InnerOptimizer,
        gradient_and_value: GradientAndValue,
    ) -> None:
        self.one, self.gradient_and_value = one, gradient_and_value
        batches, self._batch_of = _each_once([batch for batch, _ in inputs])
        rates, self._rate_of = _each_once([rate for _, rate in inputs])
        self.given = held, batches, rates
        # The first step is like all others where it has a velocity, too: of zero.
        self.start: tuple[Params, State] = own, {"velocity": zeros(own)} if optimizer == "momentum" else {}
        self.alike = len(batches) == len(rates) == 1 and optimizer in LINEAR

    def inputs(self, given: Tree, step: int) -> tuple[B, float | Params]:
        """The batch and the rate of a step."""
        return given[1][self._batch_of[step]], given[2][self._rate_of[step]]

    def advance(self, state: Tree, given: Tree, step: int) -> Tree:
        """What is moved, and the inner optimiser's state, after a step."""
        own, moments = state
        return self.one.advance(self.gradient_and_value, own, moments, given[0], *self.inputs(given, step), step)


def _few_kept(
    one: Step[B], own: Params, held: Params, inputs: list[tuple[B, float | Params]], algorithm: Descending
) -> Params:
    """What is moved, after all steps, which are gone back through with `kept_steps` of them kept at once."""
    constant = algorithm.autodiff.constant_gradient_and_value
    steps = Steps(one, own, held, inputs, algorithm.inner_optimizer, constant)

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
            found, _ = tree_flatten(one.after(gradient, own, moments, *steps.inputs(filled(chosen), step), step))
            return tuple(found)

        def loss(some: Params) -> Tensor:
            given = filled(some)
            return one.loss_of({name: some[name] for name in one.moved}, given[0], steps.inputs(given, step)[0])

        def back(gradient: Params) -> Any:
            after_and_pull: Any = torch.func.vjp(after, gradient, before, chosen)
            return after_and_pull[1](tuple(cotangent))

        if one.linear:  # what the gradient is does not matter to its own cotangent, and is known after that
            along, _, _ = back(zeros(state[0]))
            gradient, second = derivative_along(loss, state[0] | chosen, along)
            _, of_before, of_chosen = back({name: gradient[name] for name in one.moved})
        else:
            gradient, _ = constant(one.loss_of)(state[0], given[0], steps.inputs(given, step)[0])
            along, of_before, of_chosen = back(gradient)
            _, second = derivative_along(loss, state[0] | chosen, along)
        for i, name in enumerate(one.moved):  # they come first in the state
            of_before[i] = of_before[i] + second[name]
        of_numbers = {name: of_chosen[name] + second[name] for name in chosen}
        return [*of_before], [of_numbers.get(f"given {i}") for i in range(len(numbers))]

    end: tuple[Params, State] = end_of(
        *(steps.advance, pull_back, steps.start, steps.given, len(inputs), algorithm.kept_steps),
        algorithm.autodiff.repeating if steps.alike else None,
    )
    return end[0]


def _each_once(values: Sequence[T]) -> tuple[list[T], list[int]]:
    """The values without those that are the same object as an earlier one, and the place of each among them."""
    once = {id(value): value for value in values}
    places = {name: i for i, name in enumerate(once)}
    return list(once.values()), [places[id(value)] for value in values]
