"""What is checked of a cell's own tasks and model before anything is timed."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import Learner
from metabench.correctness.problem import check_problem
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import ALL, TASKS, EpisodeShape, Provenance
from metabench.tensors import Batch, Task
from problems import HalfTheStatistics, WithoutStatistics

CPU = torch.device("cpu")
POINTS, IMAGES = EpisodeShape(1, 10, 5), EpisodeShape(5, 1, 2)
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Planes:
    """Regression; `flat` leaves the targets' last dimension out."""

    shape: EpisodeShape = POINTS
    flat: bool = False

    kind = "regression"
    input_shape = (2,)
    outputs = 1
    training_classes = 0
    provenance = Provenance("planes", "0" * 64)

    def sample(self, split, tasks, generator, share=ALL):
        slopes = torch.randn(tasks, 2, 1, generator=generator)
        x = torch.randn(tasks, self.shape.shots + self.shape.query, 2, generator=generator)
        y = x @ slopes
        y = y[..., 0] if self.flat else y
        k = self.shape.shots
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), torch.zeros(tasks, 1, dtype=torch.int64))


@dataclass(frozen=True)
class Prototypes:
    """Classification of noise around prototypes, which are those of all splits."""

    shape: EpisodeShape = IMAGES
    input_shape: tuple[int, ...] = (1, 8, 8)
    seeded: bool = True
    dtype: torch.dtype = torch.float32

    kind = "classification"
    training_classes = 64
    provenance = Provenance("prototypes", "0" * 64)

    @property
    def outputs(self):
        return self.shape.ways

    def sample(self, split, tasks, generator, share=ALL):
        ways, shots, each = self.shape.ways, self.shape.shots, self.shape.shots + self.shape.query
        generator = generator if self.seeded else None
        prototypes = torch.randn(64, *self.input_shape, generator=torch.Generator().manual_seed(0))
        classes = torch.stack([torch.randperm(64, generator=generator)[:ways] for _ in range(tasks)])
        noise = torch.randn(tasks, each * ways, *self.input_shape, generator=generator)
        order = torch.arange(ways).repeat(each)
        x = ((prototypes[classes][:, order] + noise).clamp(-2, 1.9) * 8 + 16).to(self.dtype)
        y = order.expand(tasks, -1)
        k = shots * ways
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), classes)


class Dropout(MLP):
    def features(self, params, x):
        return F.dropout(super().features(params, x), 0.5, True)


class Tokens(MLP):
    """An embedding, whose inputs are indices."""

    def init(self, generator):
        return super().init(generator) | {"embedding": torch.randn(32, generator=generator)}

    def features(self, params, x):
        return super().features(params, params["embedding"][x])


class Raises(MLP):
    def features(self, params, x):
        raise ValueError("kernel size is greater than the image\nas torch says")


class OutOfMemory(MLP):
    def features(self, params, x):
        raise MemoryError


def check(model, distribution, **asked):
    """What is wrong, as one sentence; empty if nothing is."""
    learner = Learner(model, distribution.kind, distribution.training_classes)
    try:
        check_problem(learner, distribution, asked.pop("shape", distribution.shape), CPU, **asked)
    except Unsupported as error:
        return str(error)
    return ""


def dense(kind=MLP, inputs=64, outputs=5):
    return kind(inputs, outputs, 8, 2)


def convolutional(kind=Conv4):
    return kind((1, 8, 8), 5, 4, False, True, blocks=2)


@pytest.mark.parametrize("batch_norm", ["transductive", "one-query", "running"])
def test_what_keeps_its_promises_has_no_fault(batch_norm):
    before = torch.get_rng_state()
    for model, distribution in (
        (dense(inputs=2, outputs=1), Planes()),
        (dense(), Prototypes()),
        (convolutional(), Prototypes()),
        (dense(inputs=1, outputs=1), TASKS.get("sinusoid").build(POINTS, None)),
        (MODELS.get("conv4-16")((1, 28, 28), 5), TASKS.get("glyphs").build(IMAGES, None)),
    ):
        assert check(model, distribution, splits=SPLITS, batch_norm=batch_norm) == ""
    assert torch.equal(before, torch.get_rng_state())


def test_targets_that_would_broadcast_are_refused_with_both_shapes():
    for splits, first in ((("train",), "train"), (("validation", "test"), "validation")):
        assert check(dense(inputs=2, outputs=1), Planes(flat=True), splits=splits) == (
            f"y of the support set of '{first}' has shape (2, 10), and a model's outputs have shape (2, 10, 1): "
            "targets of another shape would broadcast"
        )


def test_tasks_that_ignore_their_generator_are_refused():
    assert check(dense(), Prototypes(seeded=False)) == (
        "two samples with equal generators differ: the task distribution ignores its generator and draws from torch's "
        "global one"
    )


def test_images_in_bytes_are_refused_with_the_type_that_is_asked_for():
    fault = check(dense(), Prototypes(dtype=torch.uint8))
    assert fault.startswith("x of the support set of 'train' is torch.uint8, where torch.float32 is due")


def test_tokens_are_inputs_like_any_other():
    assert check(dense(Tokens, inputs=12), Prototypes(input_shape=(12,), dtype=torch.int64)) == ""


def test_tasks_of_another_size_than_was_asked_for_are_refused():
    fault = check(dense(), Prototypes(), shape=EpisodeShape(5, 2, 2))
    assert fault.startswith("x of the support set of 'train' has shape (2, 5, 1, 8, 8), where")
    assert "(2, 10, 1, 8, 8)" in fault


def test_a_model_that_draws_random_numbers_is_refused_with_the_cause():
    fault = "two calls with the same arguments give different outputs: the model draws random numbers"
    assert check(dense(Dropout), Prototypes()) == fault


def test_a_model_of_other_outputs_is_refused():
    fault = check(dense(outputs=4), Prototypes())
    assert fault.startswith("the model's outputs have shape (6, 4)") and "(6, 5)" in fault


def test_running_needs_statistics_and_nothing_else_does():
    for batch_norm in ("transductive", "one-query"):
        assert check(convolutional(WithoutStatistics), Prototypes(), batch_norm=batch_norm) == ""
    fault = check(convolutional(WithoutStatistics), Prototypes(), batch_norm="running")
    assert fault == "batch_statistics is True, and statistics gives none: 'running' would be transductive"
    fault = check(convolutional(HalfTheStatistics), Prototypes(), batch_norm="running")
    assert "an example still depends on the others: 'running' would be transductive in part" in fault


def test_a_model_that_hides_its_batch_statistics_is_refused():
    hiding = type("Hiding", (Conv4,), {"batch_statistics": False})
    assert "and batch_statistics is False" in check(convolutional(hiding), Prototypes())


def test_what_a_model_raises_is_said_with_its_inputs():
    with pytest.raises(RuntimeError, match=r"^the model raises ValueError on inputs of shape \(1, 8, 8\) in torch.flo"):
        check(dense(Raises), Prototypes())
    with pytest.raises(MemoryError):
        check(dense(OutOfMemory), Prototypes())


def test_too_few_classes_are_named():
    distribution = TASKS.get("glyphs").build(IMAGES, None)
    asked = replace(distribution, shape=EpisodeShape(150, 1, 1))
    fault = check(MODELS.get("conv2-8")((1, 28, 28), 150), asked, splits=("validation",))
    assert "characters for 'validation': too few for 150 ways" in fault
