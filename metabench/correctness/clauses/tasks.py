"""The clauses of the contract of task distributions: one function for each promise.

A clause tries a promise on a `TaskCase` and gives what it measured and, if the promise is broken, one sentence. It
raises `Unsupported`, with the reason, where the promise is not made.
"""

import inspect
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from metabench.correctness.case import TaskCase
from metabench.correctness.outcome import KEPT, Outcome, broken, watched
from metabench.errors import Unsupported
from metabench.tasks.base import ClassSplits, DeviceTasks, Drawable, Split, TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Task, task_at, tensors_of

ROUNDING = 1e-5
"""Largest difference of a number in float32 that is computed in another way, relative to the largest of its tensor."""
INPUT_TYPES = (torch.float32, torch.int64)
SEARCHED = 20
"""Tasks of each split whose examples are looked for in the other splits."""
ALIKE = 0.01
"""Share of examples that two splits may have in common by chance, such as empty images."""


def description(case: TaskCase) -> Outcome:
    """Kind, input shape, outputs, classes and provenance are right, and all is the same when it is built again."""
    first = case.distribution
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        second = case.build()
    if first.kind != case.kind:
        return broken(f"it is registered as {case.kind}, and its kind is {first.kind}")
    if not first.input_shape or any(not isinstance(size, int) or size < 1 for size in first.input_shape):
        return broken(f"input_shape is {first.input_shape}, where a tuple of positive numbers is due")
    if first.kind == "classification" and first.outputs != case.shape.ways:
        return broken(f"outputs is {first.outputs} for {case.shape.ways} ways: it is the number of classes of a task")
    if first.kind == "regression" and first.training_classes != 0:
        return broken(f"training_classes is {first.training_classes}, where tasks of regression have none: 0 is due")
    if not first.provenance.name or not first.provenance.content_hash:
        return broken("provenance lacks a name or a content_hash: no figure would say what it was measured on")
    if first.provenance != second.provenance:
        return broken("built twice, it has two provenances: is the order or the content of its data by chance?")
    if not _alike(_sampled(first, case), _sampled(second, case), 0.0):
        return broken("built twice, it gives other tasks to equal generators: is part of it drawn when it is built?")
    return KEPT


def shapes(case: TaskCase) -> Outcome:
    """Inputs and targets have the shapes that are promised, so that nothing broadcasts against a model's outputs."""
    distribution, shape = case.distribution, case.shape
    each = shape.ways if distribution.kind == "classification" else 1
    for split, batch in case.batches.items():
        tasks = len(batch.classes)
        for where, (x, y), examples in _sets(batch, shape.shots * each, shape.query * each):
            due = (tasks, examples, *distribution.input_shape)
            if tuple(x.shape) != due:
                words = f"where (tasks, examples, *input_shape) = {due} is due"
                return broken(f"x of the {where} of '{split}' has shape {tuple(x.shape)}, {words}")
            if distribution.kind == "classification":
                if tuple(y.shape) != due[:2]:
                    words = f"where class indices (tasks, examples) = {due[:2]} are due"
                    return broken(f"y of the {where} of '{split}' has shape {tuple(y.shape)}, {words}")
            elif tuple(y.shape) != (*due[:2], distribution.outputs):
                its = (*due[:2], distribution.outputs)
                words = f"and a model's outputs have shape {its}: targets of another shape would broadcast"
                return broken(f"y of the {where} of '{split}' has shape {tuple(y.shape)}, {words}")
        if tuple(batch.classes.shape) != (tasks, each):
            words = f"where (tasks, ways) = {(tasks, each)} is due"
            return broken(f"classes of '{split}' has shape {tuple(batch.classes.shape)}, {words}")
    return KEPT


def types(case: TaskCase) -> Outcome:
    """Inputs are float32, or int64 if they are indices; labels and classes are int64, values float32."""
    target = torch.int64 if case.distribution.kind == "classification" else torch.float32
    for split, batch in case.batches.items():
        for where, (x, y), _ in _sets(batch):
            if x.dtype not in INPUT_TYPES:
                words = "where torch.float32 is due (of images in bytes: x.float() / 255), or torch.int64 for indices"
                return broken(f"x of the {where} of '{split}' is {x.dtype}, {words}")
            if y.dtype != target:
                return broken(f"y of the {where} of '{split}' is {y.dtype}, where {target} is due")
        if batch.classes.dtype != torch.int64:
            return broken(f"classes of '{split}' is {batch.classes.dtype}, where torch.int64 is due")
    return KEPT


def finite(case: TaskCase) -> Outcome:
    """No input and no target is infinite or not a number."""
    for split, batch in case.batches.items():
        for where, (x, y), _ in _sets(batch):
            for name, tensor in (("x", x), ("y", y)):
                if not bool(tensor.isfinite().all()):
                    return broken(f"{name} of the {where} of '{split}' has numbers that are not finite")
    return KEPT


def labels(case: TaskCase) -> Outcome:
    """Labels are in [0, ways), each class has its shots, and examples are shot-major, as a `Batch` promises."""
    _need_classes(case)
    ways = case.shape.ways
    for split, batch in case.batches.items():
        for where, (_, y), each in _sets(batch, case.shape.shots, case.shape.query):
            low, high = int(y.min()), int(y.max())
            if low < 0 or high >= ways:
                return broken(
                    f"labels of the {where} of '{split}' go from {low} to {high}: they must be in [0, {ways})"
                )
            counts = torch.stack([(y == way).sum(-1) for way in range(ways)], -1)
            if bool((counts != each).any()):
                words = f"where each has {each}"
                return broken(f"in the {where} of '{split}' a class has {int(counts.min())} examples, {words}")
            if bool((y != torch.arange(ways, device=y.device).repeat(each)).any()):
                words = "example shot * ways + way must be of class way"
                return broken(f"labels of the {where} of '{split}' are not shot-major: {words}")
    return KEPT


def classes(case: TaskCase) -> Outcome:
    """The ways of a training task are different classes in [0, training_classes), or zeros where that is 0."""
    count = case.distribution.training_classes
    if "train" not in case.batches:
        raise Unsupported("only training tasks say of which classes they are")
    found = case.batches["train"].classes
    low, high = int(found.min()), int(found.max())
    if count == 0:
        fault = f"classes go from {low} to {high} where training_classes is 0: zeros are due"
        return broken(fault) if low or high else KEPT
    if low < 0 or high >= count:
        return broken(
            f"classes of training tasks go from {low} to {high}: they must be in [0, {count}), training_classes"
        )
    for of_task in found:
        if len(of_task.unique()) < len(of_task):
            return broken("two ways of one training task are of the same class")
    return KEPT


def seeded(case: TaskCase) -> Outcome:
    """Equal generators give equal tasks, bit for bit, others give others, and torch's global one is left alone."""
    split = case.splits[0]
    with watched() as drawn_from:
        generator = torch.Generator().manual_seed(0)
        first, second = case.drawn(split, generator), case.drawn(split, generator)
        again = case.drawn(split, torch.Generator().manual_seed(0))
        other = case.drawn(split, torch.Generator().manual_seed(1))
        draws = drawn_from()
    if not _alike(first, again, 0.0 if case.device.type == "cpu" else ROUNDING):
        whence = "torch's global one" if draws else "elsewhere"
        fault = "two samples with equal generators differ: the task distribution ignores its generator"
        return broken(f"{fault} and draws from {whence}")
    if draws:
        return broken("sampling changes torch's global generator: draw tasks from the generator that is handed in")
    if _alike(first, other, 0.0):
        return broken("generators of different seeds give the same tasks: the task distribution ignores its generator")
    if _alike(first, second, 0.0):
        return broken(
            "two samples in a row are the same tasks: the task distribution leaves its generator where it was"
        )
    return KEPT


def share(case: TaskCase) -> Outcome:
    """A share of a meta-batch is those tasks of the whole, and leaves the generator as the whole does."""
    distribution, split, part = case.distribution, case.splits[0], slice(1, 3)
    accepted = inspect.signature(distribution.sample).parameters.values()
    if not any(each.name == "share" or each.kind == each.VAR_KEYWORD for each in accepted):
        raise Unsupported("sample takes no share, so that processes cannot share its meta-batches")
    whole, of_part = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    expected = task_at(distribution.sample(split, 4, whole), part)
    if not _alike(distribution.sample(split, 4, of_part, share=part), expected, ROUNDING):
        return broken("a share of a meta-batch has other tasks than the whole has there")
    if not torch.equal(whole.get_state(), of_part.get_state()):
        return broken("a share of a meta-batch leaves the generator elsewhere than the whole does")
    return KEPT


def devices(case: TaskCase) -> Outcome:
    """Tasks that are made on the device are the same in float64, and on a GPU where there is one."""
    distribution, split = case.distribution, case.splits[0]
    if not isinstance(distribution, DeviceTasks):
        raise Unsupported("its tasks are made on the CPU")
    draws = [distribution.draw(split, 2, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    if len({(drawn.shape, drawn.dtype, drawn.device.type) for drawn in draws}) > 1 or draws[0].device.type != "cpu":
        return broken("draw gives tensors of other shapes or types from other seeds, or not on the CPU")
    likes = [torch.zeros((), dtype=torch.float64)]
    likes += [torch.zeros((), device="cuda")] if torch.cuda.is_available() else []
    plain = distribution.sample(split, 2, torch.Generator().manual_seed(0))
    for like in likes:
        made = sampled(distribution, split, 2, torch.Generator().manual_seed(0), like)
        where = f"{like.dtype} on {like.device.type}"
        for name, tensor, own in zip(_NAMES, tensors_of(made), tensors_of(plain), strict=True):
            due = like.dtype if own.is_floating_point() else own.dtype
            if tensor.dtype != due or tensor.device.type != like.device.type:
                return broken(f"asked for {where}, make gives {name} as {tensor.dtype} on {tensor.device.type}")
        if not _alike(made, plain, ROUNDING):
            return broken(f"in {where} it gives other tasks than in torch.float32 on cpu")
    return KEPT


def splits(case: TaskCase) -> Outcome:
    """Training, validation and test share no class; the figure is the largest share of examples in common."""
    _need_classes(case)
    if isinstance(case.distribution, ClassSplits) and isinstance(known := case.distribution.classes, Mapping):
        own = {split: set(known[split].tolist()) for split in case.splits}
        for some, others in _pairs(case.splits):
            if both := own[some] & own[others]:
                return broken(f"'{some}' and '{others}' have {len(both)} classes in common")
    worst = 0.0
    examples = {split: _examples(case, split) for split in case.splits}
    for some, others in _pairs(case.splits):
        shared = len(examples[some] & examples[others]) / min(len(examples[some]), len(examples[others]))
        if shared > ALIKE:
            words = "it ignores the split" if shared == 1 else "splits must share no class"
            return broken(f"'{some}' and '{others}' have {shared:.0%} of their examples in common: {words}")
        worst = max(worst, shared)
    return Outcome(worst)


def curves(case: TaskCase) -> Outcome:
    """The functions beside the tasks: those of the same tasks, at rising x over the domain."""
    distribution, split, points = case.distribution, case.splits[-1], 11
    if not isinstance(distribution, Drawable):
        raise Unsupported("it offers no curves")
    batch, x, y = distribution.curves(split, 2, points, torch.Generator().manual_seed(0))
    if not _alike(batch, distribution.sample(split, 2, torch.Generator().manual_seed(0)), ROUNDING):
        return broken("curves gives other tasks than sample does to an equal generator")
    if tuple(x.shape) != (points, 1) or tuple(y.shape) != (2, points, 1):
        words = f"where ({points}, 1) and (2, {points}, 1) are due"
        return broken(f"curves gives x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}, {words}")
    if not bool((x.diff(dim=0) > 0).all()) or not bool(y.isfinite().all()):
        return broken("curves gives x that does not rise, or y that is not finite")
    return KEPT


_NAMES = ("x of the support set", "y of the support set", "x of the query set", "y of the query set", "classes")


def _need_classes(case: TaskCase) -> None:
    if case.distribution.kind != "classification":
        raise Unsupported("tasks of regression have no classes")


def _sets(batch: Task, support: int = 0, query: int = 0) -> Iterator[tuple[str, tuple[Tensor, Tensor], int]]:
    """The two sets by their names, each with the number of its own."""
    yield "support set", (batch.support.x, batch.support.y), support
    yield "query set", (batch.query.x, batch.query.y), query


def _pairs(names: tuple[Split, ...]) -> Iterator[tuple[Split, Split]]:
    return ((some, others) for i, some in enumerate(names) for others in names[i + 1 :])


def _sampled(distribution: TaskDistribution, case: TaskCase) -> Task:
    return distribution.sample(case.splits[0], 2, torch.Generator().manual_seed(0))


def _alike(some: Task, others: Task, tolerance: float) -> bool:
    """Whether two batches are the same tasks, on whatever device and in whatever floating type."""
    for mine, its in zip(tensors_of(some), tensors_of(others), strict=True):
        if mine.shape != its.shape:
            return False
        mine, its = mine.nan_to_num().cpu(), its.nan_to_num().cpu()
        if tolerance and mine.is_floating_point():
            off = (mine.double() - its.double()).abs().max()
            if not float(off) <= tolerance * float(its.abs().max()):
                return False
        elif not torch.equal(mine, its):
            return False
    return True


def _examples(case: TaskCase, split: Split) -> set[bytes]:
    """All different inputs of some tasks of a split, drawn from equal generators for all splits."""
    batch = case.drawn(split, torch.Generator().manual_seed(0), SEARCHED)
    x = torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)]).flatten(1).cpu().contiguous()
    return {row.tobytes() for row in x.numpy()}
