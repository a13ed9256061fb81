"""Every registered model keeps its contract, and every clause of it can be broken."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from metabench.correctness.case import ModelCase
from metabench.correctness.contract import MODEL_CLAUSES, check_model
from metabench.correctness.verification import comply_models, distinct_inputs
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape, Provenance, TaskSource
from metabench.tensors import Batch, Task
from problems import HalfTheStatistics, WithoutStatistics


@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_keeps_the_contract(name):
    images, points = comply_models([name], ["glyphs", "sinusoid"])
    assert (images.kind, images.name, images.setting, images.word) == ("model", name, "glyphs", "ok"), images
    assert points.word == "ok" or "needs images" in points.reason
    without = {f.clause for f in images.findings if f.word == "unsupported"}
    assert without == (set() if MODELS.get(name)((1, 28, 28), 5).batch_statistics else {"running statistics"})


IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


def points_of(kind):
    """A case of a network of dense layers, on points of two numbers."""
    return ModelCase(lambda shape, outputs: kind(shape[0], outputs, 5, 2), (2,), 3, POINTS)


def images_of(kind):
    """A case of a network of two convolutions with batch normalisation, on images of 8x8 pixels."""
    return ModelCase(partial(_images, kind), (1, 8, 8), 3, IMAGES)


def _images(kind, shape, outputs):
    return kind(shape, outputs, 4, False, True, blocks=2)


def faults_of(case):
    return {f.clause: f.reason for f in check_model(case) if f.word == "incorrect"}


def test_what_keeps_all_promises_has_no_faults():
    assert faults_of(points_of(MLP)) == faults_of(images_of(Conv4)) == {}
    assert {f.word for f in check_model(images_of(Conv4))} == {"ok"}
    figures = {f.clause: f.figure for f in check_model(images_of(Conv4))}
    assert figures["batch statistics"] > 1e-3
    assert 0 < figures["running statistics"] < 0.05
    assert 1e-9 < figures["precision"] < 1e-4
    assert figures["small images"] == 1


class Flat(MLP):
    def head(self, params, features):
        return super().head(params, features)[:, 0]


class OneOutputTooMany(MLP):
    def init(self, generator):
        return replace(self, outputs=4).start(generator)

    def start(self, generator):
        return super().init(generator)


class KeepsItsShape(MLP):
    def features(self, params, x):
        return super().features(params, x)[None]

    def head(self, params, features):
        return super().head(params, features[0])


class Overflows(MLP):
    def head(self, params, features):
        return super().head(params, features) / 0


class StartsUnseeded(MLP):
    def init(self, generator):
        return super().init(None)


class SeedsForAll(MLP):
    def init(self, generator):
        torch.manual_seed(0)
        return super().init(generator)


class IgnoresItsGenerator(MLP):
    def init(self, generator):
        return super().init(torch.Generator().manual_seed(0))


class StartsInDouble(MLP):
    def init(self, generator):
        return super().init(generator) | {"extra": torch.zeros(2, dtype=torch.float64)}


class NamesAnotherHead(MLP):
    head_names = frozenset({"head.weight", "head.bias", "tail"})


class AllIsTheHead(MLP):
    head_names = frozenset({"head.weight", "head.bias", "hidden2.bias"})


class HalfAHead(MLP):
    head_names = frozenset({"head.weight"})


class ModulatesAMatrix(MLP):
    modulated = ("hidden1.weight",)


class HoldsItsHead(MLP):
    held = frozenset({"head.bias"})


class HoldsNothingOfItsOwn(MLP):
    held = frozenset({"norm1.bias"})


class NormalisesItsHead(MLP):
    norm_names = frozenset({"head.bias"})


class NormalisesNothingOfItsOwn(MLP):
    norm_names = frozenset({"norm1.bias"})


class RoundsItsOutputs(MLP):
    def head(self, params, features):
        return super().head(params, features).float()


class FarInSinglePrecision(MLP):
    def head(self, params, features):
        return super().head(params, features) * (1.1 if features.dtype == torch.float32 else 1.0)


class Dropout(MLP):
    def features(self, params, x):
        return F.dropout(super().features(params, x), 0.5, True)


class RandomFromElsewhere(MLP):
    CALLS: ClassVar = iter(range(1000))

    def head(self, params, features):
        return super().head(params, features) + next(self.CALLS)


class Remembers(MLP):
    LAST: ClassVar = {}

    def head(self, params, features):
        outputs = super().head(params, features)
        before = self.LAST.get("outputs", outputs)
        self.LAST["outputs"] = outputs
        return outputs + (before.shape != outputs.shape)


class WritesToItsParameters(MLP):
    def features(self, params, x):
        params["hidden1.bias"].add_(0)
        params["seen"] = x
        return super().features(params, x)


class WritesToItsInputs(MLP):
    def statistics(self, params, x):
        x.mul_(2)
        return {}


class CannotBeDifferentiatedTwice(MLP):
    def features(self, params, x):
        return _Once.apply(super().features(params, x))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        return _Never.apply(slope)


class _Never(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        raise NotImplementedError("derivative is not implemented")


class SeesItsBatch(MLP):
    def features(self, params, x):
        return super().features(params, x - x.mean(0))


class SaysThatItSeesItsBatch(MLP):
    batch_statistics = True

    def statistics(self, params, x):
        return {"norm.mean": x.mean(0)}


class GivesStatisticsForNothing(MLP):
    def statistics(self, params, x):
        return {"norm.mean": x.mean(0)}


@pytest.mark.parametrize(
    ("broken", "clauses", "sentence"),
    [
        (Flat, {"shapes"}, "the model's outputs have shape (6,), where (examples, outputs) = (6, 3) is due"),
        (OneOutputTooMany, {"shapes"}, "the model's outputs have shape (6, 4), where (examples, outputs) = (6, 3)"),
        (KeepsItsShape, {"shapes"}, "features of 6 examples have shape (1, 6, 5)"),
        (StartsUnseeded, {"initial parameters"}, "init gives other parameters from equal generators"),
        (SeedsForAll, {"initial parameters"}, "init changes torch's global generator"),
        (IgnoresItsGenerator, {"initial parameters"}, "the same parameters from generators of different seeds"),
        (StartsInDouble, {"initial parameters"}, "init gives extra as torch.float64 on cpu"),
        (NamesAnotherHead, {"names"}, "head_names names tail, which is no parameter: there are hidden1.weight,"),
        (AllIsTheHead, {"names"}, "features depend on parameters in head_names"),
        (HalfAHead, {"names"}, "the head depends on parameters that head_names does not name"),
        (ModulatesAMatrix, {"names"}, "modulated names hidden1.weight of shape (5, 2), where (units,) is due"),
        (HoldsItsHead, {"names"}, "held names head.bias of the head: only the body can be held"),
        (HoldsNothingOfItsOwn, {"names"}, "held names norm1.bias, which is no parameter: there are hidden1.weight,"),
        (NormalisesItsHead, {"names"}, "norm_names has head.bias of the head: only the body is normalised"),
        (NormalisesNothingOfItsOwn, {"names"}, "norm_names names norm1.bias, which is no parameter: there are hidden1"),
        (RoundsItsOutputs, {"types"}, "outputs come out as torch.float32 where all that went in is torch.float64"),
        (FarInSinglePrecision, {"precision"}, "outputs in float32 differ from those in float64 by 1.0e-01"),
        (Dropout, {"repeatable"}, "two calls with the same arguments give different outputs: the model draws random"),
        (RandomFromElsewhere, {"repeatable"}, "the model keeps a state, or draws random numbers"),
        (Remembers, {"repeatable"}, "give different outputs: the model keeps a state between calls"),
        (WritesToItsInputs, {"pure"}, "the inputs are written to"),
        (CannotBeDifferentiatedTwice, {"differentiable"}, "it raises NotImplementedError: derivative is not"),
        (SeesItsBatch, {"batch statistics"}, "depend on the others of its batch, and batch_statistics is False"),
        (SaysThatItSeesItsBatch, {"batch statistics"}, "batch_statistics is True, and an example's features do not"),
        (
            GivesStatisticsForNothing,
            {"running statistics"},
            "batch_statistics is False, and statistics gives norm.mean",
        ),
    ],
)
def test_what_breaks_a_promise_fails_its_clause(broken, clauses, sentence):
    faults = faults_of(points_of(broken))
    assert clauses <= faults.keys(), faults
    assert sentence in faults[min(clauses, key=list(MODEL_CLAUSES).index)]
    if broken not in (Dropout, RandomFromElsewhere, Remembers, RoundsItsOutputs):  # these spoil other clauses
        assert faults.keys() == clauses, faults


def test_outputs_that_are_not_finite_are_named():
    assert "the model's outputs are not finite" in faults_of(points_of(Overflows))["shapes"]


def test_parameters_that_are_written_to_are_named():
    faults = faults_of(points_of(WritesToItsParameters))
    assert faults["pure"] == "seen is put among the parameters that are handed in"


class StatisticsOfNothing(Conv4):
    def statistics(self, params, x):
        return {name: torch.ones_like(p) for name, p in super().statistics(params, x).items()}


class OverwritesItsParameters(Conv4):
    def statistics(self, params, x):
        return super().statistics(params, x) | {"head.bias": params["head.bias"]}


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (WithoutStatistics, "batch_statistics is True, and statistics gives none: 'running' would be transductive"),
        (HalfTheStatistics, "an example still depends on the others: 'running' would be transductive in part"),
        (StatisticsOfNothing, "a batch with its own statistics among the parameters has other outputs than it has by"),
        (OverwritesItsParameters, "statistics gives head.bias, which is a parameter"),
    ],
)
def test_statistics_do_what_running_says(broken, sentence):
    faults = faults_of(images_of(broken))
    assert faults.keys() == {"running statistics"} and sentence in faults["running statistics"]


class KeepsABuffer(Conv4):
    """A buffer in single precision, as a stock module has it."""

    def features(self, params, x):
        return F.batch_norm(super().features(params, x)[:, :, None], torch.zeros(4), torch.ones(4))[:, :, 0]


def test_a_buffer_in_single_precision_is_named():
    reason = faults_of(images_of(KeepsABuffer))["types"]
    assert reason.startswith("with parameters and inputs in torch.float64, the model computes in another type too")
    assert "cast what it keeps beside its parameters" in reason


def test_images_that_are_too_small_are_refused_when_the_model_is_built():
    pooled = partial(Conv4, width=4, max_pool=True, normalise=False, blocks=2)
    case = ModelCase(lambda shape, outputs: pooled(shape, outputs), (1, 8, 8), 3, IMAGES)
    assert faults_of(case)["small images"].startswith("it is built for images of 2x2 pixels and raises RuntimeError")

    def build(shape, outputs):
        if shape[1] < 4:
            raise Unsupported("too small")
        return pooled(shape, outputs)

    figures = {f.clause: f.figure for f in check_model(replace(case, build=build))}
    assert figures["small images"] == 4


@dataclass(frozen=True)
class Embedding:
    """Takes tokens, as int64 (examples, length)."""

    input_shape: tuple[int, ...]
    outputs: int

    head_names = frozenset({"head.weight"})
    modulated = ("shift",)
    batch_statistics = False

    def init(self, generator):
        return {
            "embedding": torch.randn(8, 4, generator=generator),
            "shift": torch.zeros(4),
            "head.weight": torch.randn(self.outputs, 4, generator=generator),
        }

    def features(self, params, x):
        return torch.tanh(F.embedding(x, params["embedding"]).mean(1) + params["shift"])

    def head(self, params, features):
        return F.linear(features, params["head.weight"])

    def statistics(self, params, x):
        return {}


@dataclass(frozen=True)
class Tokens:
    shape: EpisodeShape

    kind = "classification"
    input_shape = (6,)
    training_classes = 0
    provenance = Provenance("tokens", "0" * 64)

    @property
    def outputs(self):
        return self.shape.ways

    def sample(self, split, tasks, generator):
        ways, shots, query = self.shape.ways, self.shape.shots, self.shape.query
        x = torch.randint(8, (tasks, ways * (shots + query), 6), generator=generator)
        y = torch.arange(ways).repeat(tasks, shots + query)
        (x, more), (y, labels) = ((t[:, : ways * shots], t[:, ways * shots :]) for t in (x, y))
        return Task(Batch(x, y), Batch(more, labels), torch.zeros(tasks, ways, dtype=torch.int64))


@pytest.fixture
def registered(monkeypatch):
    """Registers a model or a task distribution for one test."""

    def register(registry, name, entry):
        registry.names()
        monkeypatch.setitem(registry._entries, name, entry)
        return name

    return register


def test_a_model_need_not_take_the_inputs_of_all_tasks(registered):
    tokens = registered(TASKS, "tokens", TaskSource("classification", lambda shape, data_dir: Tokens(shape)))
    model = registered(MODELS, "embedding", Embedding)
    points, own = comply_models([model], ["sinusoid", tokens])
    assert (points.word, points.findings) == ("unsupported", ()) and "it raises RuntimeError" in points.reason
    assert own.word == "ok", own
    (alone,) = comply_models([model], ["sinusoid"])
    assert alone.word == "incorrect" and "it raises RuntimeError" in alone.findings[0].reason


def test_of_tasks_whose_inputs_look_alike_the_first_counts(registered):
    again = registered(TASKS, "again", TASKS.get("sinusoid"))
    broken = registered(TASKS, "broken", TaskSource("regression", lambda shape, data_dir: 1 / 0))
    assert list(distinct_inputs(["sinusoid", again, broken])) == ["sinusoid"]
    assert list(distinct_inputs([again, "sinusoid"])) == ["again"]
