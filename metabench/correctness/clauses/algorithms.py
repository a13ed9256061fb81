"""The clauses of the contract of algorithms: one function for each promise that an algorithm makes.

A clause tries a promise on a small `Case` and gives what it measured and, if the promise is broken, one sentence. It
raises `Unsupported`, with the reason, where the promise is not made.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metabench.algorithms.inner_optimizers import INNER_OPTIMIZERS
from metabench.autodiff import TAPE
from metabench.correctness.case import STEPS, Case, distance, initial, nudged, steps_of
from metabench.correctness.differences import DEFINITION_TOLERANCE
from metabench.correctness.gate import ENGINE_TOLERANCE, relative_error
from metabench.correctness.outcome import (
    KEPT,
    PRECISION_TOLERANCE,
    SAME,
    SYMMETRY_TOLERANCE,
    Outcome,
    broken,
    equal,
    within,
    worst,
)
from metabench.engines import loop
from metabench.errors import Unsupported
from metabench.evaluation import begun_from
from metabench.tensors import Batch, Params, Task, cast, task_at, tensors_of

GRADIENT_STEPS = (1, 5)


def gradient(case: Case) -> Outcome:
    """The direction is the derivative of `objective`, at both ends of a training and first-order, too."""
    figures = []
    for steps in GRADIENT_STEPS:
        full = case.algorithm(inner_steps=steps)
        variants = {"the direction": full}
        if full.at(0.0) != full:
            variants["at the start of a training, the direction"] = full.at(0.0)
        if full.order == "second":
            variants["with first_order, the direction"] = replace(full, first_order=True)
        for words, algorithm in variants.items():
            fault = f"{words} after {steps} inner steps differs from finite differences of the objective"
            figures.append(within(case.definition_error(algorithm), DEFINITION_TOLERANCE, fault))
    return worst(figures)


def checkpoint(case: Case) -> Outcome:
    """`checkpoint` changes what is kept, and not the direction."""
    why = "changes the direction: hand what the inner loss closes over to `descend` in its batches"
    return worst(
        within(distance(step(case.meta, case.episodes), case.found[engine]), SAME, f"checkpoint on {engine} {why}")
        for engine, step in steps_of(case.algorithm(checkpoint=True))
    )


def second_order(case: Case) -> Outcome:
    """`second_order` and `kept_steps` change how the direction is found and what is kept, and not the direction."""
    tangents: dict[str, Any] = {"second_order": "forward-over-reverse"}
    case.algorithm(**tangents)
    figures = []
    for options in (tangents, {**tangents, "kept_steps": 1}):
        words = " and ".join(f"{name} = {value}" for name, value in options.items())
        why = "changes the direction: hand what the inner loss closes over to `descend` in its batches"
        try:
            algorithm = case.algorithm(**options)
        except Unsupported:  # what needs every inner step keeps them all
            continue
        figures += [
            within(distance(step(case.meta, case.episodes), case.found[engine]), SAME, f"{words} on {engine} {why}")
            for engine, step in steps_of(algorithm)
        ]
    return worst(figures)


def first_order(case: Case) -> Outcome:
    """`first_order` makes a difference; the figure is how large."""
    found = loop.build(case.algorithm(first_order=True))(case.meta, case.episodes)
    difference = relative_error(found[0], case.found["loop"][0])
    return Outcome(difference, "" if difference > SAME else "first_order changes nothing: it is ignored")


def inner_optimizer(case: Case) -> Outcome:
    """Every inner optimiser gives a direction of its own; the figure is the least difference to plain descent."""
    _need_inner_loop(case)
    plain = case.algorithm().adapt(case.meta, case.task.support)
    differences = {
        name: relative_error(case.algorithm(inner_optimizer=name).adapt(case.meta, case.task.support), plain)
        for name in INNER_OPTIMIZERS
        if name != "sgd"
    }
    least = min(differences, key=differences.__getitem__)
    fault = f"the inner optimiser {least} adapts as sgd does: it is ignored"
    return Outcome(differences[least], "" if differences[least] > SAME else fault)


def adapts(case: Case) -> Outcome:
    """Small inner steps lower the loss on the support set; the figure is what share of it is left."""
    _need_inner_loop(case)
    algorithm = case.algorithm(inner_lr=case.inner_lr / 4)
    left = 0.0
    for meta in (initial(algorithm), nudged(algorithm, models_own=True)):
        x, y = support = case.task.support
        points = algorithm.trajectory(meta, support)
        first, *_, end = [float(case.learner.loss_of(algorithm.predict(point, x), y)) for point in points]
        if not end < first:
            return Outcome(
                end / first, f"{STEPS} small inner steps take the support loss from {first:.4g} to {end:.4g}"
            )
        left = max(left, end / first)
    return Outcome(left)


def frozen(case: Case) -> Outcome:
    """The inner loop moves the meta-parameters in `adapted_names`, and no others: those keep their values, or are given
    those of another meta-parameter (weights of their own for each step)."""
    algorithm, meta, (x, y) = case.algorithm(), case.meta, case.task.support
    names = algorithm.adapted_names(meta)
    points = list(algorithm.trajectory(meta, Batch(x, y)))
    start, adapted = points[0], points[-1]
    for name in sorted(names):
        if name not in meta or name not in adapted:
            return broken(f"adapted_names names {name}, which is not in both meta and adapted")
    for name in sorted(meta.keys() & adapted.keys() - names):
        if not any(torch.equal(adapted[name], p) for p in meta.values()):
            return broken(f"the inner loop moves {name}, which adapted_names does not name")

    def loss(moving: Params) -> Tensor:
        return case.learner.loss_of(algorithm.predict(start | moving, x), y)

    pull, _ = TAPE.gradient_and_value(loss)({name: start[name] for name in sorted(names)}) if names else ({}, None)
    for name, slope in pull.items():
        if torch.equal(adapted[name], meta[name]) and float(slope.abs().max()) > SAME:
            return broken(f"the inner loop leaves {name} where it was, which adapted_names names")
    return KEPT


def order_of_tasks(case: Case) -> Outcome:
    """The order of the tasks in the meta-batch makes no difference."""
    swapped = task_at(case.episodes, [1, 0])
    return worst(
        within(
            distance(step(case.meta, swapped), case.found[engine]),
            SAME,
            f"on {engine}, the order of the tasks changes the direction",
        )
        for engine, step in steps_of(case.algorithm())
    )


def one_task(case: Case) -> Outcome:
    """A meta-batch of one task gives that task's own direction."""
    own = case.algorithm().task_direction(case.meta, case.task)
    return worst(
        within(
            distance(step(case.meta, task_at(case.episodes, [0])), own),
            ENGINE_TOLERANCE,
            f"on {engine}, a meta-batch of one task has not that task's direction",
        )
        for engine, step in steps_of(case.algorithm())
    )


def order_of_examples(case: Case) -> Outcome:
    """The order of points, or of classes, makes no difference.

    Points of a regression task change places within the support and within the query set. Classes change names, so that
    examples stay shot-major, as a `Batch` promises, and those that come together in a minibatch still do. A network's
    head tells classes apart, so its weights are first made equal; then every tensor of the direction stays as it is, or
    its axes over classes are renamed alike.
    """
    algorithm = case.algorithm()
    if not algorithm.symmetric:
        raise Unsupported("the algorithm says that order matters to it")
    task = case.task
    if case.learner.kind == "classification":
        ways = len(task.classes)
        order = _shuffled(ways)
        renamed = Task(_renamed(task.support, order), _renamed(task.query, order), task.classes[order])
        meta = nudged(algorithm, models_own=True)
        head = {name: meta[name] for name in case.learner.model.head_names & meta.keys()}
        meta |= {name: p.mean(0, keepdim=True).expand(p.shape) for name, p in head.items()}
    else:
        ways, order, meta = 0, torch.empty(0), case.meta
        renamed = Task(_reordered(task.support), _reordered(task.query), task.classes)
    before, before_metrics = algorithm.task_direction(meta, task)
    after, metrics = algorithm.task_direction(meta, renamed)
    alike = {}
    for name, tensor in before.items():
        moved = tensor
        for axis in (axis for axis, size in enumerate(tensor.shape) if size == ways):
            moved = moved.index_select(axis, order)
        alike[name] = min(tensor, moved, key=lambda same: float((after[name] - same).norm()))
    error = distance((after, metrics), (alike, before_metrics))
    return within(error, SYMMETRY_TOLERANCE, "the order of the examples changes the direction")


def precision(case: Case) -> Outcome:
    """Inputs in float64 or float32 give outputs in that type, and the two directions are close."""
    figures = []
    for engine, step in steps_of(case.algorithm()):
        single = {name: p.float() for name, p in case.meta.items()}
        found = step(single, cast(case.episodes, torch.zeros((), dtype=torch.float32)))
        for dtype, (direction, metrics) in ((torch.float64, case.found[engine]), (torch.float32, found)):
            for name, tensor in (direction | metrics).items():
                if tensor.dtype != dtype:
                    return broken(f"on {engine}, {name} comes out as {tensor.dtype} where all that went in is {dtype}")
        error = relative_error({name: p.double() for name, p in found[0].items()}, case.found[engine][0])
        fault = f"on {engine}, the direction in float32 differs from that in float64"
        figures.append(within(error, PRECISION_TOLERANCE, fault))
    return worst(figures)


def repeatable(case: Case) -> Outcome:
    """Equal generators give equal meta-parameters, and equal tasks give equal directions, bit for bit."""
    if not equal(initial(case.algorithm()), initial(case.algorithm())):
        return broken("init gives other meta-parameters from the same generator")
    for engine, step in steps_of(case.algorithm()):
        found = step(case.meta, case.episodes)
        if not all(equal(again, once) for again, once in zip(found, case.found[engine], strict=True)):
            return Outcome(distance(found, case.found[engine]), f"on {engine}, the same step gives another direction")
    return KEPT


def matched(case: Case) -> Outcome:
    """`init` starts with the model's, so that all algorithms start from the same weights; float32, on the CPU."""
    meta = case.algorithm().init(torch.Generator().manual_seed(0))
    for name, own in case.learner.model.init(torch.Generator().manual_seed(0)).items():
        if name in meta and not torch.equal(meta[name], own):
            return broken(f"init gives another {name} than the model's from the same generator")
    for name, p in meta.items():
        if p.dtype != torch.float32 or p.device.type != "cpu" or p.requires_grad:
            return broken(f"init gives {name} as {p.dtype} on {p.device}, where plain float32 on the CPU is due")
    return KEPT


def pure(case: Case) -> Outcome:
    """Nothing that is handed in is written to, and what comes out keeps no graph."""
    for engine, step in steps_of(case.algorithm()):
        meta, episodes = case.meta, case.episodes
        direction, metrics = step(meta, episodes)
        case.algorithm().adapt(meta, case.task.support)
        for name, tensor in (direction | metrics).items():
            if tensor.requires_grad:
                return broken(f"on {engine}, {name} of the direction keeps a graph")
        for name, own in case.meta.items():
            if not torch.equal(meta[name], own) or meta[name].requires_grad:
                return broken(f"on {engine}, the meta-parameter {name} is written to")
        for tensor, own in zip(tensors_of(episodes), tensors_of(case.episodes), strict=True):
            if not torch.equal(tensor, own):
                return broken(f"on {engine}, the tasks are written to")
    return KEPT


def trajectory(case: Case) -> Outcome:
    """A point before the inner loop and one after each step, beyond the trained number of steps, too; all finite."""
    for steps in (STEPS, STEPS + 2):
        algorithm = replace(case.algorithm(), inner_steps=steps)
        support, query, _ = case.task
        with torch.no_grad():
            outputs = [algorithm.predict(point, query.x) for point in algorithm.trajectory(case.meta, support)]
        due = 1 if algorithm.order == "none" else steps + 1
        if len(outputs) != due:
            return broken(f"evaluated with {steps} inner steps, the trajectory has {len(outputs)} points, not {due}")
        for i, output in enumerate(outputs):
            if output.shape != (len(query.x), case.learner.model.outputs) or not output.isfinite().all():
                return broken(f"at point {i} of {steps} inner steps, predictions are not finite or not of their shape")
    return KEPT


def running_statistics(case: Case) -> Outcome:
    """Queries do not see each other once evaluation has put the statistics of a population among `adapted`."""
    algorithm, (support, (x, _), _) = case.algorithm(), case.task
    algorithm.check_batch_norm("running")
    if not case.learner.model.batch_statistics:
        raise Unsupported("the model has no statistics of the batch")
    with torch.no_grad():
        seen = algorithm.effective(algorithm.adapt(case.meta, support))
        population = case.learner.model.statistics(seen, x)
        adapted = algorithm.adapt(begun_from(algorithm, case.meta, population), support) | population
        alone = torch.cat([algorithm.predict(adapted, one[None]) for one in x])
        error = relative_error({"outputs": alone}, {"outputs": algorithm.predict(adapted, x)})
    return within(error, SYMMETRY_TOLERANCE, "with running statistics, what is predicted of a query depends on others")


def _need_inner_loop(case: Case) -> None:
    if case.algorithm().order == "none":
        raise Unsupported("the algorithm has no inner loop")


def _shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(2))


def _reordered(batch: Batch) -> Batch:
    order = _shuffled(len(batch.x))
    return Batch(batch.x[order], batch.y[order])


def _renamed(batch: Batch, order: Tensor) -> Batch:
    """Shot-major examples with the classes in another order within every shot."""
    x = batch.x.view(-1, len(order), *batch.x.shape[1:])[:, order].flatten(0, 1)
    return Batch(x, batch.y)
