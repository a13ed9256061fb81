"""Every registered task distribution keeps its contract, and every clause of it can be broken."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from metabench.correctness.case import TaskCase
from metabench.correctness.contract import TASK_CLAUSES, check_tasks
from metabench.correctness.verification import comply_tasks
from metabench.errors import Unsupported
from metabench.tasks import omniglot
from metabench.tasks.base import ALL, TASKS, DeviceTasks, EpisodeShape, Provenance, TaskSource
from metabench.tasks.sinusoid import Sinusoid
from metabench.tensors import Batch, Task

POINTS, CLASSES = EpisodeShape(1, 10, 5), EpisodeShape(3, 2, 1)
CLASSES_OF_A_SPLIT = {"train": 0, "validation": 20, "test": 40}


# Those that read a folder are held to it on folders, in tests/tasks.
@pytest.mark.parametrize("name", [name for name, source in TASKS if "path" not in source.axes])
def test_every_task_distribution_keeps_the_contract(name):
    if name == omniglot.NAME and not omniglot.available(download=False):
        pytest.skip("the real Omniglot is not at hand: set METABENCH_DATA to its folder")
    (compliance,) = comply_tasks([name])
    assert (compliance.kind, compliance.name, compliance.word) == ("task", name, "ok"), compliance
    without = {f.clause for f in compliance.findings if f.word == "unsupported"}
    assert without == ({"labels", "splits"} if compliance.setting == "regression" else {"curves"})


@dataclass(frozen=True)
class Planes:
    """Regression on two inputs, made on the CPU."""

    shape: EpisodeShape = POINTS

    kind = "regression"
    input_shape = (2,)
    outputs = 1
    training_classes = 0
    provenance = Provenance("planes", "0" * 64)

    def sample(self, split, tasks, generator, share=ALL):
        slopes = torch.randn(tasks, 2, 1, generator=generator)[share]
        x = torch.randn(tasks, self.shape.shots + self.shape.query, 2, generator=generator)[share]
        support, query = (Batch(x, x @ slopes) for x in x.tensor_split([self.shape.shots], dim=1))
        return Task(support, query, torch.zeros(len(x), 1, dtype=torch.int64))


@dataclass(frozen=True)
class Clouds:
    """Classification of points around centres, twenty of them in each split."""

    shape: EpisodeShape = CLASSES

    kind = "classification"
    input_shape = (4,)
    training_classes = 20
    provenance = Provenance("clouds", "0" * 64)

    @property
    def outputs(self):
        return self.shape.ways

    def sample(self, split, tasks, generator, share=ALL):
        ways, shots, query = self.shape.ways, self.shape.shots, self.shape.query
        centres = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        classes = torch.rand(tasks, 20, generator=generator).argsort(dim=1)[share, :ways]
        noise = 0.1 * torch.randn(tasks, shots + query, ways, 4, generator=generator)[share]
        x = (centres[classes + CLASSES_OF_A_SPLIT[split]][:, None] + noise).flatten(1, 2)
        y = torch.arange(ways).repeat(len(x), shots + query)
        support, query = (Batch(x[:, part], y[:, part]) for part in (slice(ways * shots), slice(ways * shots, None)))
        return Task(support, query, classes)


def case_of(distribution):
    return TaskCase(lambda: distribution, distribution.shape, distribution.kind)


def faults_of(case):
    return {f.clause: f.reason for f in check_tasks(case) if f.word == "incorrect"}


@pytest.mark.parametrize("good", [Planes(), Clouds(), Sinusoid(POINTS)])
def test_what_keeps_all_promises_has_no_faults(good):
    assert faults_of(case_of(good)) == {}


def changed(base, change):
    """A distribution whose batches are changed: `change(support, query, classes)` gives the parts of another task."""

    class Changed(type(base)):
        def sample(self, split, tasks, generator, share=ALL):
            found = change(*super().sample(split, tasks, generator, share))
            return found if isinstance(found, Task) else Task(*found)

    return Changed(base.shape)


def both(change):
    """A change of the support set and the query set alike."""
    return lambda support, query, classes: (change(*support), change(*query), classes)


def not_a_number(support, query, classes):
    query.x[:, 0] = float("nan")
    return support, query, classes


def unbalanced(support, query, classes):
    support.y[:, 0] = 1
    return support, query, classes


def way_major(support, query, classes):
    order = torch.tensor([0, 3, 1, 4, 2, 5])
    return Batch(support.x[:, order], support.y[:, order]), query, classes


@pytest.mark.parametrize(
    ("broken", "clauses", "sentence"),
    [
        (
            changed(Planes(), both(lambda x, y: Batch(x, y[..., 0]))),
            {"shapes"},
            "y of the support set of 'train' has shape (2, 10), and a model's outputs have shape (2, 10, 1)",
        ),
        (
            changed(Planes(), lambda support, query, classes: (Batch(*(t[:, :9] for t in support)), query, classes)),
            {"shapes"},
            "x of the support set of 'train' has shape (2, 9, 2), where (tasks, examples, *input_shape) = (2, 10, 2)",
        ),
        (
            changed(Clouds(), lambda support, query, classes: (support, Batch(query.x, query.y[..., None]), classes)),
            {"shapes", "labels"},
            "y of the query set of 'train' has shape (2, 3, 1), where class indices (tasks, examples) = (2, 3)",
        ),
        (
            changed(Planes(), lambda support, query, classes: (support, query, classes[:, 0])),
            {"shapes"},
            "classes of 'train' has shape (2,), where (tasks, ways) = (2, 1) is due",
        ),
        (
            changed(Clouds(), both(lambda x, y: Batch((x * 9).byte(), y))),
            {"types"},
            "x of the support set of 'train' is torch.uint8, where torch.float32 is due (of images in bytes: x.float()",
        ),
        (
            changed(Planes(), both(lambda x, y: Batch(x, y.double()))),
            {"types"},
            "y of the support set of 'train' is torch.float64, where torch.float32 is due",
        ),
        (
            changed(Clouds(), both(lambda x, y: Batch(x, y.int()))),
            {"types"},
            "y of the support set of 'train' is torch.int32, where torch.int64 is due",
        ),
        (
            changed(Planes(), lambda support, query, classes: (support, query, classes.float())),
            {"types"},
            "classes of 'train' is torch.float32",
        ),
        (changed(Clouds(), not_a_number), {"finite"}, "x of the query set of 'train' has numbers that are not finite"),
        (
            changed(Clouds(), both(lambda x, y: Batch(x, y + 1))),
            {"labels"},
            "labels of the support set of 'train' go from 1 to 3: they must be in [0, 3)",
        ),
        (
            changed(Clouds(), unbalanced),
            {"labels"},
            "in the support set of 'train' a class has 1 examples, where each has 2",
        ),
        (changed(Clouds(), way_major), {"labels"}, "labels of the support set of 'train' are not shot-major"),
        (
            changed(Clouds(), lambda support, query, classes: (support, query, classes + 20)),
            {"classes"},
            "they must be in [0, 20), training_classes",
        ),
        (
            changed(Clouds(), lambda support, query, classes: (support, query, classes[:, :1].expand(-1, 3))),
            {"classes"},
            "two ways of one training task are of the same class",
        ),
        (
            changed(Planes(), lambda support, query, classes: (support, query, classes + 4)),
            {"classes"},
            "classes go from 4 to 4 where training_classes is 0",
        ),
    ],
)
def test_what_breaks_one_promise_fails_its_clause_and_no_other(broken, clauses, sentence):
    faults = faults_of(case_of(broken))
    assert faults.keys() == clauses, faults
    assert sentence in faults[min(clauses, key=list(TASK_CLAUSES).index)]


class FromTheGlobalGenerator(Planes):
    def sample(self, split, tasks, generator, share=ALL):
        return super().sample(split, tasks, None, share)


class PartlyFromTheGlobalGenerator(Planes):
    def sample(self, split, tasks, generator, share=ALL):
        torch.manual_seed(generator.initial_seed())
        return super().sample(split, tasks, generator, share)


class FromElsewhere(Planes):
    CALLS: ClassVar = []

    def sample(self, split, tasks, generator, share=ALL):
        self.CALLS.append(None)
        return super().sample(split, tasks, torch.Generator().manual_seed(len(self.CALLS)), share)


class WithItsOwnSeed(Planes):
    def sample(self, split, tasks, generator, share=ALL):
        return super().sample(split, tasks, torch.Generator().manual_seed(0), share)


class FromTheSeedAlone(Planes):
    """What a plug-in does that draws by numpy: it takes the seed of the generator, and leaves that where it was."""

    def sample(self, split, tasks, generator, share=ALL):
        return super().sample(split, tasks, torch.Generator().manual_seed(generator.initial_seed()), share)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (FromTheGlobalGenerator, "ignores its generator and draws from torch's global one"),
        (PartlyFromTheGlobalGenerator, "sampling changes torch's global generator"),
        (FromElsewhere, "two samples with equal generators differ: the task distribution ignores its generator"),
        (WithItsOwnSeed, "different seeds give the same tasks: the task distribution ignores its generator"),
        (FromTheSeedAlone, "two samples in a row are the same tasks"),
    ],
)
def test_what_is_not_drawn_from_the_generator_is_named(broken, sentence):
    faults = faults_of(case_of(broken()))
    assert sentence in faults["seeded"]
    assert faults.keys() <= {"seeded", "share", "description"}


class IgnoresTheSplit(Clouds):
    def sample(self, split, tasks, generator, share=ALL):
        return super().sample("train", tasks, generator, share)


class SharesExamples(Clouds):
    """Its test tasks are those of training under other noise, but for one image that both know."""

    def sample(self, split, tasks, generator, share=ALL):
        found = super().sample(split, tasks, generator, share)
        found.query.x[:, 0] = torch.arange(4) + torch.arange(tasks)[share, None]
        return found


class SharesClasses(Clouds):
    classes: ClassVar = {"train": torch.arange(20), "validation": torch.arange(20, 41), "test": torch.arange(40, 60)}


class NamesItsClasses(Clouds):
    classes = ("a", "b", "c")
    """No splits: another thing of the same name."""


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (IgnoresTheSplit, "'train' and 'validation' have 100% of their examples in common: it ignores the split"),
        (SharesExamples, "'train' and 'validation' have 11% of their examples in common: splits must share no class"),
        (SharesClasses, "'validation' and 'test' have 1 classes in common"),
    ],
)
def test_splits_that_share_classes_are_named(broken, sentence):
    faults = faults_of(case_of(broken()))
    assert faults.keys() == {"splits"} and sentence in faults["splits"]
    assert faults_of(case_of(NamesItsClasses())) == {}


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"input_shape": (0,)}, "input_shape is (0,)"),
        ({"training_classes": 7}, "training_classes is 7, where tasks of regression have none"),
        ({"provenance": Provenance("planes", "")}, "provenance lacks a name or a content_hash"),
    ],
)
def test_a_wrong_description_is_named(attributes, sentence):
    faults = faults_of(case_of(type("Described", (Planes,), attributes)()))
    assert sentence in faults["description"]


def test_the_kind_and_the_outputs_are_those_that_were_asked_for():
    assert (
        "registered as classification, and its kind is regression"
        in (faults_of(replace(case_of(Planes()), kind="classification"))["description"])
    )
    other = type("Other", (Clouds,), {"outputs": 64})()
    assert faults_of(case_of(other)) == {
        "description": "outputs is 64 for 3 ways: it is the number of classes of a task"
    }


@dataclass(frozen=True)
class DrawnWhenBuilt(Planes):
    offset: float = 0.0

    def sample(self, split, tasks, generator, share=ALL):
        support, query, classes = super().sample(split, tasks, generator, share)
        return Task(Batch(support.x, support.y + self.offset), query, classes)


def test_what_is_drawn_when_it_is_built_is_named():
    case = TaskCase(lambda: DrawnWhenBuilt(POINTS, float(torch.rand(()))), POINTS, "regression")
    assert "built twice, it gives other tasks" in faults_of(case)["description"]
    names = iter("abcdefgh")

    def build():
        return type("Named", (Planes,), {"provenance": Provenance("planes", next(names))})()

    assert "two provenances" in faults_of(TaskCase(build, POINTS, "regression"))["description"]


class OtherShare(Planes):
    def sample(self, split, tasks, generator, share=ALL):
        return super().sample(split, len(range(tasks)[share]), generator)


class LeavesTheGenerator(Planes):
    def sample(self, split, tasks, generator, share=ALL):
        found = super().sample(split, tasks, generator, share)
        if share != ALL:
            torch.rand(1, generator=generator)
        return found


class TakesNoShare(Planes):
    def sample(self, split, tasks, generator):
        return super().sample(split, tasks, generator)


def test_a_share_is_of_the_whole():
    assert "has other tasks than the whole" in faults_of(case_of(OtherShare()))["share"]
    assert "leaves the generator elsewhere" in faults_of(case_of(LeavesTheGenerator()))["share"]
    findings = {f.clause: f for f in check_tasks(case_of(TakesNoShare()))}
    assert findings["share"].word == "unsupported" and "sample takes no share" in findings["share"].reason


class Single(Sinusoid):
    def make(self, drawn, like):
        return super().make(drawn, torch.zeros(()))


class OtherInDouble(Sinusoid):
    def make(self, drawn, like):
        return super().make(drawn + (like.dtype == torch.float64), like)


class DrawsWhatItLikes(Sinusoid):
    def draw(self, split, tasks, generator, share=ALL):
        drawn = super().draw(split, tasks, generator, share)
        return drawn.double() if generator.initial_seed() == 1 else drawn


def test_what_is_made_on_the_device_is_the_same_everywhere():
    assert isinstance(Single(POINTS), DeviceTasks)
    assert "asked for torch.float64 on cpu, make gives x" in faults_of(case_of(Single(POINTS)))["devices"]
    assert "in torch.float64 on cpu it gives other tasks" in faults_of(case_of(OtherInDouble(POINTS)))["devices"]
    assert "other shapes or types from other seeds" in faults_of(case_of(DrawsWhatItLikes(POINTS)))["devices"]


class OtherCurves(Sinusoid):
    def curves(self, split, tasks, points, generator):
        return super().curves(split, tasks, points, torch.Generator().manual_seed(7))


class FallingCurves(Sinusoid):
    def curves(self, split, tasks, points, generator):
        task, x, y = super().curves(split, tasks, points, generator)
        return task, x.flip(0), y


class FlatCurves(Sinusoid):
    def curves(self, split, tasks, points, generator):
        task, x, y = super().curves(split, tasks, points, generator)
        return task, x, y[..., 0]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (OtherCurves, "curves gives other tasks than sample"),
        (FallingCurves, "curves gives x that does not rise"),
        (FlatCurves, "y of shape (2, 11), where (11, 1) and (2, 11, 1) are due"),
    ],
)
def test_curves_are_those_of_the_tasks(broken, sentence):
    faults = faults_of(case_of(broken(POINTS)))
    assert faults.keys() == {"curves"} and sentence in faults["curves"]


@pytest.fixture
def registered(monkeypatch):
    """Registers task distributions for one test."""
    TASKS.names()
    entries = dict(TASKS._entries)
    monkeypatch.setattr(TASKS, "_entries", entries)

    def register(name, kind, build):
        entries[name] = TaskSource(kind, build)
        return name

    return register


def test_a_distribution_of_few_classes_is_tried_on_fewer_ways(registered):
    def build(shape, data_dir):
        if shape.ways > 2:
            raise Unsupported("there are two classes")
        return Clouds(shape)

    (compliance,) = comply_tasks([registered("few", "classification", build)])
    assert compliance.word == "ok"


def test_what_cannot_be_built_says_why(registered):
    def refuse(shape, data_dir):
        raise Unsupported("not today")

    def fail(shape, data_dir):
        raise ValueError("one line\nand another")

    refused, failed = comply_tasks([registered("a", "regression", refuse), registered("b", "regression", fail)])
    assert (refused.word, refused.summary) == ("unsupported", "unsupported: not today")
    assert failed.word == "incorrect"
    assert [f.reason for f in failed.findings] == ["it raises ValueError: one line"]
