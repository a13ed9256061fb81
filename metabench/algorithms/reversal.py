"""Back through many inner steps of which few are kept: the others are computed again, by the best schedule there is."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import comb
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from metabench.autodiff import Repeat, Repeating, Tensors, as_one_node, differentiated

Tree: TypeAlias = Any
"""Tensors and numbers in dictionaries, tuples and lists."""
Leaves: TypeAlias = list[Tensor | None]
"""Cotangents of the leaves of a tree; None stands for zero."""
Advance: TypeAlias = Callable[[Tree, Tree, int], Tree]
"""The state after a step, of the state before it, of what is given to all steps, and of the step's number."""
PullBack: TypeAlias = Callable[[Tree, Tree, int, Leaves, Sequence[bool]], tuple[Leaves, Leaves]]
"""Cotangents of the state before a step and of what is given; of those two, the step, the cotangent of the state after
it, and which leaves of what is given have to have one."""


class Given:
    """A state, and what is given to all steps, by their tensors: a state's come first."""

    def __init__(self, start: Tree, given: Tree) -> None:
        start_leaves, self.of_start = tree_flatten(start)
        given_leaves, self.of_given = tree_flatten(given)
        self.leaves = [*start_leaves, *given_leaves]
        self.first = len(start_leaves)
        self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor)]
        self.tensors: Tensors = tuple(self.leaves[i] for i in self.places)
        self.own = sum(i < self.first for i in self.places)

    def trees(self, tensors: Sequence[Tensor]) -> tuple[Tree, Tree]:
        """A state, and what is given, of tensors in the places of these."""
        filled = dict(zip(self.places, tensors, strict=True))
        found = [filled.get(i, leaf) for i, leaf in enumerate(self.leaves)]
        return tree_unflatten(found[: self.first], self.of_start), tree_unflatten(found[self.first :], self.of_given)

    def step(self, advance: Advance) -> Callable[..., Tensors]:
        """One of many steps that are all alike, as a function of such tensors."""
        return lambda *tensors: tuple(tree_flatten(advance(*self.trees(tensors), 0))[0])


def repeated(advance: Advance, start: Tree, given: Tree, steps: int, repeating: Repeating | None) -> Tree:
    """The state after steps that are all alike. `repeating` may carry them out where no gradient is taken in them."""
    if repeating is None or steps == 0 or differentiated((start, given)):
        state = [start]
        del start  # each step has the only reference to the state before it
        for _ in range(steps):
            state.append(advance(state.pop(), given, 0))
        return state.pop()
    known = Given(start, given)
    repeat = Repeat(known.step(advance), steps, kept=0)
    found = repeating(repeat, known.tensors[: known.own], known.tensors[known.own :], (), ())
    return tree_unflatten(found, known.of_start)


def end_of(
    advance: Advance,
    pull_back: PullBack,
    start: Tree,
    given: Tree,
    steps: int,
    kept: int,
    repeating: Repeating | None = None,
) -> Tree:
    """The state after all steps. Its graph is one node, which goes back with `kept` states at once, `start` among them.

    Griewank and Walther 2000, ACM Transactions on Mathematical Software 26, p. 19: with s states kept beside the start
    and each step computed r times at most, C(s + r, r) steps can be gone back through, and more by no schedule.

    Where all steps are alike, and the state is as many tensors before them as after them, `repeating` may carry them
    out.
    """
    known = Given(start, given)
    places, own = known.places, known.own
    given_places = range(known.first, len(known.leaves))
    one_step = known.step(advance)
    of_end: Any = None

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        nonlocal of_end
        if repeating:
            of_end = known.of_start
            return repeating(Repeat(one_step, steps, kept), tensors[:own], tensors[own:], (), ())
        state, given = known.trees(tensors)
        for step in range(steps):
            state = advance(state, given, step)
        found, of_end = tree_flatten(state)
        return tuple(found)

    def backward(tensors: Tensors, needed: Sequence[bool], cotangents: Tensors) -> tuple[Tensor | None, ...]:
        start, given = known.trees(tensors)
        asked = dict(zip(places, needed, strict=True))
        wanted = [asked.get(i, False) for i in given_places]
        if repeating:
            return back_alike(repeating, tensors, asked, wanted, cotangents)
        total: Leaves = [None] * len(given_places)
        cotangent: Leaves = list(cotangents)

        def back(state: Tree, steps: range, kept: int) -> None:
            nonlocal total, cotangent  # no call keeps one of its own
            while len(steps) > max(kept, 1):
                again = computed_again(len(steps), kept)
                middle = state
                for step in steps[:again]:
                    middle = advance(middle, given, step)
                back(middle, steps[again:], kept - 1)
                steps = steps[:again]
                del middle
            states = [state]
            for step in steps[:-1]:
                states.append(advance(states[-1], given, step))
            for step in reversed(steps):
                cotangent, more = pull_back(states.pop(), given, step, cotangent, wanted)
                total = [_sum(a, b) for a, b in zip(total, more, strict=True)]

        back(start, range(steps), kept)
        found = [*cotangent, *total]
        return tuple(found[i] if asked[i] else None for i in places)

    def back_alike(
        repeating: Repeating, tensors: Tensors, asked: Mapping[int, bool], wanted: Sequence[bool], cotangents: Tensors
    ) -> tuple[Tensor | None, ...]:
        chosen = [i for i in places[own:] if asked[i]]

        def one_back(*tensors: Tensor) -> tuple[Tensor, ...]:
            last = tensors[len(places) :]
            before, of_given = pull_back(*known.trees(tensors[: len(places)]), 0, list(last), wanted)
            return tuple(each for each in (*before, *of_given) if each is not None)

        numbers = [places.index(i) - own for i in chosen]
        repeat = Repeat(one_step, steps, kept, one_back)
        found = repeating(repeat, tensors[:own], tensors[own:], cotangents, numbers)
        cotangent_of = dict(zip([*places[:own], *chosen], found, strict=True))
        return tuple(cotangent_of[i] if asked[i] else None for i in places)

    end: Tree = tree_unflatten(as_one_node(forward, backward, known.tensors), of_end)
    return end


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def computed_again(steps: int, kept: int) -> int:
    """How many of `steps` are computed again, where `kept` states are kept at once, that before the first among them.

    Those that follow have one less to keep, and need not be computed more often.
    """
    if kept == 1:
        return steps - 1
    times = most_computations(steps, kept)
    return steps - min(steps - 1, comb(kept - 2 + times, times))


def most_computations(steps: int, kept: int) -> int:
    """How often a step is computed at most on the way to its derivative, where `kept` states are kept at once."""
    return steps if kept == 1 else next(r for r in count(1) if comb(kept - 1 + r, r) >= steps)
