"""Back through many inner steps of which few are kept: the others are computed again, by the best schedule there is."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import comb
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from metabench.autodiff import Repeat, Repeating, Tensors, as_one_node

Tree: TypeAlias = Any
"""Tensors and numbers in dictionaries, tuples and lists."""
Leaves: TypeAlias = list[Tensor | None]
"""Cotangents of the leaves of a tree; None stands for zero."""
Advance: TypeAlias = Callable[[Tree, Tree, int], Tree]
"""The state after a step, of the state before it, of what is given to all steps, and of the step's number."""
PullBack: TypeAlias = Callable[[Tree, Tree, int, Leaves, Sequence[bool]], tuple[Leaves, Leaves]]
"""Cotangents of the state before a step and of what is given; of those two, the step, the cotangent of the state after
it, and which leaves of what is given have to have one."""


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
    start_leaves, of_start = tree_flatten(start)
    given_leaves, of_given = tree_flatten(given)
    leaves = [*start_leaves, *given_leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    own = sum(i < len(start_leaves) for i in places)
    of_end: Any = None

    def arguments(tensors: Sequence[Tensor]) -> tuple[Tree, Tree]:
        filled = dict(zip(places, tensors, strict=True))
        found = [filled.get(i, leaf) for i, leaf in enumerate(leaves)]
        first = len(start_leaves)
        return tree_unflatten(found[:first], of_start), tree_unflatten(found[first:], of_given)

    def one_step(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tree_flatten(advance(*arguments(tensors), 0))[0])

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        nonlocal of_end
        if repeating:
            of_end = of_start
            return repeating(Repeat(one_step, steps, kept), tensors[:own], tensors[own:], (), ())
        state, given = arguments(tensors)
        for step in range(steps):
            state = advance(state, given, step)
        found, of_end = tree_flatten(state)
        return tuple(found)

    def backward(tensors: Tensors, needed: Sequence[bool], cotangents: Tensors) -> tuple[Tensor | None, ...]:
        start, given = arguments(tensors)
        asked = dict(zip(places, needed, strict=True))
        wanted = [asked.get(i, False) for i in range(len(start_leaves), len(leaves))]
        if repeating:
            return back_alike(repeating, tensors, asked, wanted, cotangents)
        total: Leaves = [None] * len(given_leaves)
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
            before, of_given = pull_back(*arguments(tensors[: len(places)]), 0, list(last), wanted)
            return tuple(each for each in (*before, *of_given) if each is not None)

        numbers = [places.index(i) - own for i in chosen]
        repeat = Repeat(one_step, steps, kept, one_back)
        found = repeating(repeat, tensors[:own], tensors[own:], cotangents, numbers)
        cotangent_of = dict(zip([*places[:own], *chosen], found, strict=True))
        return tuple(cotangent_of[i] if asked[i] else None for i in places)

    end: Tree = tree_unflatten(as_one_node(forward, backward, [leaves[i] for i in places]), of_end)
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
