from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import TAPE
from metabench.correctness.fault import refuse
from metabench.correctness.gate import NUDGE, gate, nudge, relative_error
from metabench.engines.base import ENGINES
from metabench.errors import Diverged, Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch, Task

CPU = torch.device("cpu")


class Noise:
    """Images of noise: what the gate needs of a task distribution, without any data."""

    kind = "classification"
    input_shape = (1, 28, 28)
    outputs = 5
    training_classes = 5

    def sample(self, split, tasks, generator):
        x, y = torch.rand(tasks, 15, 1, 28, 28, generator=generator), torch.arange(5).repeat(tasks, 3)
        return Task(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]), torch.arange(5).repeat(tasks, 1))


SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)


def maml(distribution, model):
    built = model if not isinstance(model, str) else MODELS.get(model)(distribution.input_shape, distribution.outputs)
    lr = 0.4 if distribution.kind == "classification" else 0.01
    return ALGORITHMS.get("maml")(Learner(built, distribution.kind), lr, 2)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize(
    ("distribution", "model"), [(SINUSOID, "mlp-40x2"), (Noise(), "conv4-16"), (Noise(), "conv4-16-maxpool")]
)
def test_right_implementations_pass(engine, distribution, model):
    algorithm = maml(distribution, model)
    result = gate(algorithm, ENGINES.get(engine).build(algorithm), distribution, CPU)
    assert result.passed, result.reason
    assert result.engine_error < 1e-12
    assert result.definition_error < 1e-7


def test_an_engine_that_drops_the_second_order_fails():
    algorithm = maml(SINUSOID, "mlp-40x2")
    first_order = ALGORITHMS.get("fomaml")(algorithm.learner, algorithm.inner_lr, algorithm.inner_steps)
    result = gate(algorithm, ENGINES.get("loop").build(first_order), SINUSOID, CPU)
    assert not result.passed
    assert result.engine_error > 1e-3
    assert result.definition_error < 1e-7
    assert "differs from loop" in result.reason
    assert "it is that of first order" in result.reason


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (lambda direction, metrics: direction, "the step does not return two dictionaries: (direction, metrics)"),
        (lambda direction, metrics: (direction, {"mse": metrics["loss"]}), "the metrics that the step returns have no"),
        (lambda direction, metrics: ({}, metrics), "the engine's direction has no hidden1.weight, hidden1.bias"),
        (
            lambda direction, metrics: ({name: d.flatten() for name, d in direction.items()}, metrics),
            "the engine's direction has the shape (40,) in hidden1.weight, not (40, 1)",
        ),
        (
            lambda direction, metrics: (direction, {"loss": 2 * metrics["loss"]}),
            "the engine's direction is right, and the loss that it reports differs from loop by 1.0e+00",
        ),
    ],
)
def test_what_a_step_returns_is_named_where_it_is_no_direction(spoilt, says):
    algorithm = maml(SINUSOID, "mlp-40x2")
    right = ENGINES.get("loop").build(algorithm)
    result = gate(algorithm, lambda meta, episodes: spoilt(*right(meta, episodes)), SINUSOID, CPU)
    assert result.fault.status == "incorrect" and result.reason.startswith(says)


def test_metrics_of_an_engines_own_are_no_concern_of_the_gate():
    algorithm = maml(SINUSOID, "mlp-40x2")

    def step(meta, episodes):
        direction, metrics = ENGINES.get("loop").build(algorithm)(meta, episodes)
        return direction, metrics | {"norm": torch.tensor(1.0)}

    assert gate(algorithm, step, SINUSOID, CPU).passed


def test_an_algorithm_that_forgets_to_record_the_inner_gradient_fails():
    """Its loop and its vmap agree with each other, and both are wrong."""

    class Forgetful(ALGORITHMS.get("maml")):
        def trajectory(self, meta, support):
            adapted = meta
            for _ in range(self.inner_steps):
                constant = {name: p.detach() for name, p in adapted.items()}
                gradient, _ = TAPE.gradient_and_value(self.learner.loss)(constant, support)
                adapted = {name: p - self.inner_lr * gradient[name] for name, p in adapted.items()}
                yield adapted

    right = maml(SINUSOID, "mlp-40x2")
    algorithm = Forgetful(right.learner, right.inner_lr, right.inner_steps)
    result = gate(algorithm, ENGINES.get("loop").build(algorithm), SINUSOID, CPU)
    assert result.engine_error == 0
    assert result.definition_error > 1e-3
    assert not result.passed
    assert "finite differences" in result.reason


def test_a_stock_affine_batch_norm_fails_under_vmap_and_passes_in_the_loop():
    class Stock(Conv4):
        def features(self, params, x):
            for i in range(1, 5):
                x = F.conv2d(x, params[f"conv{i}.weight"], stride=2, padding=1)
                weight, bias = params[f"norm{i}.weight"], params[f"norm{i}.bias"]
                x = F.relu(F.batch_norm(x, None, None, weight, bias, training=True))
            return x.mean((2, 3))

    algorithm = maml(Noise(), Stock((1, 28, 28), 5, 8, False, True))
    assert gate(algorithm, ENGINES.get("loop").build(algorithm), Noise(), CPU).passed
    result = gate(algorithm, ENGINES.get("vmap").build(algorithm), Noise(), CPU)
    assert not result.passed
    assert result.engine_error > 1e-4


def test_not_a_number_does_not_pass():
    algorithm = maml(SINUSOID, "mlp-40x2")

    def step(meta, episodes):
        direction, metrics = ENGINES.get("loop").build(algorithm)(meta, episodes)
        return {name: d / 0 * 0 for name, d in direction.items()}, metrics

    assert not gate(algorithm, step, SINUSOID, CPU).passed


def test_a_wrong_loss_is_told_apart_from_a_wrong_direction():
    algorithm = maml(SINUSOID, "mlp-40x2")

    def step(meta, episodes):
        direction, metrics = ENGINES.get("loop").build(algorithm)(meta, episodes)
        return direction, {"loss": metrics["loss"] * 1.001}

    result = gate(algorithm, step, SINUSOID, CPU)
    assert not result.passed
    assert result.engine_error == 0
    assert "the engine's direction is right, and the loss that it reports differs from loop by 1.0e-03" in result.reason


def test_a_loss_in_float32_is_no_fault():
    algorithm = maml(SINUSOID, "mlp-40x2")

    def step(meta, episodes):
        direction, metrics = ENGINES.get("loop").build(algorithm)(meta, episodes)
        return direction, {"loss": metrics["loss"].float().double()}

    assert gate(algorithm, step, SINUSOID, CPU).passed


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_an_inner_loop_that_is_not_finite_diverged_and_is_not_incorrect(engine):
    right = maml(SINUSOID, "mlp-40x2")
    algorithm = replace(right, inner_lr=1e200)
    result = gate(algorithm, ENGINES.get(engine).build(algorithm), SINUSOID, CPU)
    assert result.fault.status == "diverged"
    assert "does not stay finite in float64 over 2 inner steps at inner_lr = 1e+200" in result.reason
    with pytest.raises(Diverged):
        refuse(result.fault)


def test_a_derivative_that_is_not_finite_of_an_objective_that_is_stays_incorrect():
    class Root(MLP):
        def features(self, params, x):
            zero = (params["hidden1.bias"] - params["hidden1.bias"]).sum()
            return super().features(params, x) + zero.abs().sqrt()

    algorithm = ALGORITHMS.get("anil")(Learner(Root(1, 1, 8, 2), "regression"), 0.01, 2)
    result = gate(algorithm, ENGINES.get("loop").build(algorithm), SINUSOID, CPU)
    assert result.fault.status == "incorrect"


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_model_that_draws_random_numbers_is_named_as_one(engine):
    class Dropout(MLP):
        def head(self, params, features):
            return F.dropout(super().head(params, features), 0.5)

    algorithm = maml(SINUSOID, Dropout(1, 1, 8, 2))
    result = gate(algorithm, ENGINES.get(engine).build(algorithm), SINUSOID, CPU)
    assert result.fault.status == "unsupported"
    assert "two equal calls of loop give different directions" in result.reason
    with pytest.raises(Unsupported):
        refuse(result.fault)


def test_the_nudge_heeds_scale_and_sign():
    meta = {
        "rate": torch.full((50,), 1e-3),
        "slope": torch.full((50,), -2.0),
        "bias": torch.zeros(50),
        "small": 1e-4 * torch.randn(50, generator=torch.Generator().manual_seed(1)),
    }
    found = nudge(meta, torch.Generator().manual_seed(0))
    assert bool((found["rate"] > 0).all()) and bool((found["slope"] < 0).all())
    for name, size in (("rate", 1e-3), ("slope", 2.0), ("bias", 1.0)):
        assert float((found[name] - meta[name].double()).std()) == pytest.approx(NUDGE * size, rel=0.3)
    assert 0 < float((found["small"] - meta["small"].double()).abs().max()) < 1e-4


def test_relative_error():
    truth = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}
    assert relative_error({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.5])}, truth) == pytest.approx(0.1)
    assert relative_error({"a": truth["a"]}, truth) == float("inf")
    zero = {"a": torch.zeros(2)}
    assert relative_error({"a": torch.tensor([0.0, 0.5])}, zero) == 0.5
