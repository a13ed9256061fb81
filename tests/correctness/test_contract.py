"""Every registered algorithm keeps the contract, and every clause of it can be broken."""

import random
from dataclasses import dataclass, replace
from itertools import islice, repeat

import pytest
import torch

from metabench.algorithms.anil import ANIL
from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.maml import MAML
from metabench.autodiff import FUNCTIONAL
from metabench.correctness.contract import ALGORITHM_CLAUSES, check_algorithm
from metabench.correctness.settings import CONTRACT_SETTINGS, case_of
from metabench.correctness.verification import comply
from metabench.errors import Unsupported

POINTS, IMAGES = CONTRACT_SETTINGS


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_algorithm_keeps_the_contract(name):
    held = list(comply([name]))
    assert [f for c in held for f in c.findings if f.word == "incorrect"] == []
    kinds = {"regression": POINTS, "classification": IMAGES}
    for kind, setting in kinds.items():
        (compliance,) = [c for c in held if c.setting == f"{setting.task}, {setting.model}"]
        assert bool(compliance.findings) == (kind in ALGORITHMS.get(name).kinds), compliance.reason
        assert bool(compliance.findings) != bool(compliance.reason)


def test_all_clauses_apply_to_maml():
    assert {finding.word for finding in check_algorithm(case_of(MAML, IMAGES))} == {"ok"}


def on(algorithm, points):
    """MAML's inner loop, by another algorithm."""
    return descend(algorithm, algorithm.learner.loss, points[0], repeat(points[1], algorithm.inner_steps))


@dataclass(frozen=True)
class Scaled(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return {name: 1.001 * d for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class ScaledAtFirst(MAML):
    start: bool = False

    def at(self, progress):
        return replace(self, start=progress < 0.5)

    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return {name: 1.001 * d if self.start else d for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class WrongInFirstOrder(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return {name: 1.001 * d if self.first_order else d for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class ForgetsSecondOrder(MAML):
    def task_direction(self, meta, task):
        return super(ForgetsSecondOrder, replace(self, first_order=True)).task_direction(meta, task)


@dataclass(frozen=True)
class NotANumber(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return {name: d * float("nan") for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class OtherWhenCheckpointed(MAML):
    def trajectory(self, meta, support):
        return on(replace(self, inner_lr=self.inner_lr * 0.99) if self.checkpoint else self, (meta, support))


@dataclass(frozen=True)
class IgnoresFirstOrder(MAML):
    def trajectory(self, meta, support):
        return on(replace(self, first_order=False), (meta, support))


@dataclass(frozen=True)
class IgnoresInnerOptimizer(MAML):
    def trajectory(self, meta, support):
        return on(replace(self, inner_optimizer="sgd"), (meta, support))


@dataclass(frozen=True)
class Ascends(MAML):
    def trajectory(self, meta, support):
        return on(replace(self, inner_lr=-self.inner_lr), (meta, support))


@dataclass(frozen=True)
class MovesWhatItFreezes(MAML):
    def adapted_names(self, meta):
        return self.learner.model.head_names


@dataclass(frozen=True)
class FreezesWhatItNames(ANIL):
    def adapted_names(self, meta):
        return frozenset(meta)


@dataclass(frozen=True)
class NamesNothing(MAML):
    def adapted_names(self, meta):
        return frozenset(meta) | {"tail.weight"}


CALLS = []


@dataclass(frozen=True)
class CountsItsCalls(MAML):
    def task_direction(self, meta, task):
        CALLS.append(None)
        direction, metrics = super().task_direction(meta, task)
        return {name: d * (1 + len(CALLS) % 2) for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class OtherUnderVmap(MAML):
    def objective(self, meta, anchor, task):
        return super().objective(meta, anchor, task) * (1.0 + 1e-6 * (self.autodiff is FUNCTIONAL))


@dataclass(frozen=True)
class FavoursTheFirst(MAML):
    def objective(self, meta, anchor, task):
        x, y = task.query
        favoured = self.learner.loss_of(self.predict(self.adapt(meta, task.support), x)[:1], y[:1])
        return super().objective(meta, anchor, task) + 0.01 * favoured


@dataclass(frozen=True)
class RoundsItsLoss(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return direction, {"loss": metrics["loss"].float()}


@dataclass(frozen=True)
class HasADoubleInside(MAML):
    def objective(self, meta, anchor, task):
        return super().objective(meta, anchor, task) * torch.ones((), dtype=torch.float64)


@dataclass(frozen=True)
class FarInSinglePrecision(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        off = 1.1 if task.support.x.dtype == torch.float32 else 1.0
        return {name: off * d for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class DrawsFromNowhere(MAML):
    def init(self, generator):
        return super().init(generator) | {"extra": torch.rand(2)}


@dataclass(frozen=True)
class Jitters(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return {name: d * (1 + 1e-15 * random.randrange(1, 1000)) for name, d in direction.items()}, metrics


@dataclass(frozen=True)
class DrawsFirst(MAML):
    def init(self, generator):
        extra = torch.rand(2, generator=generator)
        return super().init(generator) | {"extra": extra}


@dataclass(frozen=True)
class StartsInDouble(MAML):
    def init(self, generator):
        return super().init(generator) | {"extra": torch.zeros(2, dtype=torch.float64)}


@dataclass(frozen=True)
class WritesToMeta(MAML):
    def adapt(self, meta, support):
        adapted = super().adapt(meta, support)
        if not torch.is_grad_enabled() or not any(p.requires_grad for p in meta.values()):
            meta["head.bias"].mul_(1 + 1e-14)
        return adapted


@dataclass(frozen=True)
class WritesToTasks(MAML):
    def task_direction(self, meta, task):
        found = super().task_direction(meta, task)
        task.query.y.mul_(1 + 1e-15)
        return found


@dataclass(frozen=True)
class KeepsAGraph(MAML):
    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        return direction, {"loss": metrics["loss"] * torch.ones_like(metrics["loss"], requires_grad=True)}


@dataclass(frozen=True)
class StopsAtThree(MAML):
    def trajectory(self, meta, support):
        return islice(super().trajectory(meta, support), 4)


@dataclass(frozen=True)
class BlowsUpBeyondFive(MAML):
    def predict(self, adapted, x):
        return super().predict(adapted, x) / (self.inner_steps != 5)


@dataclass(frozen=True)
class DropsStatistics(MAML):
    def effective(self, adapted):
        return {name: p for name, p in adapted.items() if "mean" not in name and "variance" not in name}


@pytest.mark.parametrize(
    ("broken", "clauses", "sentence"),
    [
        (Scaled, {"gradient"}, "the direction after 1 inner steps differs from finite differences"),
        (ScaledAtFirst, {"gradient"}, "at the start of a training, the direction"),
        (WrongInFirstOrder, {"gradient"}, "with first_order, the direction"),
        (ForgetsSecondOrder, {"gradient", "first order"}, "differs from finite differences"),
        (OtherWhenCheckpointed, {"checkpoint"}, "checkpoint on loop changes the direction"),
        (IgnoresFirstOrder, {"first order"}, "first_order changes nothing"),
        (IgnoresInnerOptimizer, {"inner optimizer"}, "adapts as sgd does"),
        (Ascends, {"adapts"}, "take the support loss from"),
        (MovesWhatItFreezes, {"frozen"}, "moves hidden1.bias, which adapted_names does not name"),
        (FreezesWhatItNames, {"frozen"}, "leaves hidden1.bias where it was"),
        (NamesNothing, {"frozen"}, "names tail.weight, which is not in both"),
        (OtherUnderVmap, {"one task"}, "on vmap, a meta-batch of one task"),
        (FavoursTheFirst, {"order of examples"}, "order of the examples changes"),
        (RoundsItsLoss, {"precision"}, "loss comes out as torch.float32"),
        (HasADoubleInside, {"precision"}, "loss comes out as torch.float64"),
        (FarInSinglePrecision, {"precision"}, "in float32 differs from that in float64"),
        (DrawsFromNowhere, {"repeatable"}, "from the same generator"),
        (DrawsFirst, {"matched"}, "another hidden1.weight than the model's"),
        (StartsInDouble, {"matched"}, "gives extra as torch.float64"),
        pytest.param(
            *(KeepsAGraph, {"pure"}, "loss of the direction keeps a graph"),
            marks=pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True"),
        ),
        (StopsAtThree, {"trajectory"}, "has 4 points, not 6"),
        (BlowsUpBeyondFive, {"trajectory"}, "not finite"),
    ],
)
def test_what_breaks_one_promise_fails_its_clause_and_no_other(broken, clauses, sentence):
    faults = {f.clause: f.reason for f in check_algorithm(case_of(broken, POINTS)) if f.word == "incorrect"}
    assert faults.keys() == clauses, faults
    assert sentence in faults[min(clauses, key=list(ALGORITHM_CLAUSES).index)]


@dataclass(frozen=True)
class Raises(MAML):
    def task_direction(self, meta, task):
        raise ValueError("one line\nand another")


@dataclass(frozen=True)
class NeedsManySteps(MAML):
    def __post_init__(self):
        super().__post_init__()
        if self.inner_steps < 2:
            raise Unsupported("one step is too few")


@pytest.mark.parametrize(
    ("broken", "clause", "sentence"),
    [
        (NotANumber, "gradient", "by nan"),
        (CountsItsCalls, "order of tasks", "the order of the tasks changes the direction by"),
        (Jitters, "repeatable", "on loop, the same step gives another direction"),
        (WritesToMeta, "pure", "the meta-parameter head.bias is written to"),
        (WritesToTasks, "pure", "the tasks are written to"),
        (Raises, "gradient", "it raises ValueError: one line"),
    ],
)
def test_what_breaks_several_promises_fails_that_clause_too(broken, clause, sentence):
    CALLS.clear()
    findings = {f.clause: f for f in check_algorithm(case_of(broken, POINTS))}
    assert findings.keys() == ALGORITHM_CLAUSES.keys()
    assert findings[clause].word == "incorrect"
    assert sentence in findings[clause].reason
    assert "\n" not in findings[clause].reason


@pytest.mark.parametrize(
    ("broken", "clause"),
    [(DropsStatistics, "running statistics"), (FavoursTheFirst, "order of examples"), (MovesWhatItFreezes, "frozen")],
)
def test_promises_about_images(broken, clause):
    findings = {f.clause: f for f in check_algorithm(case_of(broken, IMAGES))}
    assert {name for name, f in findings.items() if f.word == "incorrect"} == {clause}


def test_a_promise_that_is_not_made_is_unsupported_with_its_reason():
    findings = {f.clause: f for f in check_algorithm(case_of(ALGORITHMS.get("fomaml"), POINTS))}
    assert findings["first order"].word == "unsupported"
    assert "FOMAML" in findings["first order"].reason
    assert findings["running statistics"].reason == "the model has no statistics of the batch"
    asymmetric = type("Asymmetric", (MAML,), {"symmetric": False})
    findings = {f.clause: f for f in check_algorithm(case_of(asymmetric, POINTS))}
    assert findings["order of examples"].word == "unsupported"
    findings = {f.clause: f for f in check_algorithm(case_of(NeedsManySteps, POINTS))}
    assert findings["gradient"].reason == "one step is too few"
    assert {name for name, f in findings.items() if f.word == "unsupported"} == {"gradient", "running statistics"}


def test_a_case_that_an_algorithm_is_not_for_is_no_case():
    images_only = type("ImagesOnly", (MAML,), {"kinds": ("classification",)})
    with pytest.raises(Unsupported, match="for classification tasks, not for regression"):
        list(check_algorithm(case_of(images_only, POINTS)))


def test_figures_say_how_well_a_promise_is_kept():
    figures = {f.clause: f.figure for f in check_algorithm(case_of(MAML, POINTS))}
    assert 0 < figures["gradient"] < 1e-7
    assert figures["one task"] < 1e-13
    assert figures["first order"] > 1e-3
    assert figures["inner optimizer"] > 1e-3
    assert 0.5 < figures["adapts"] < 1
    assert 1e-9 < figures["precision"] < 1e-4
