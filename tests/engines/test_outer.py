import math

import pytest
import torch

from metabench.engines.outer import MetaOptimizer, Outer


def test_descent_goes_against_the_direction():
    meta = {"a": torch.tensor([1.0, 2.0])}
    MetaOptimizer(meta, Outer("sgd", 0.5, "none", 10)).update({"a": torch.tensor([1.0, -1.0])})
    assert meta["a"].tolist() == [0.5, 2.5]


@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
def test_adam_is_adam(epsilon):
    meta = {"a": torch.tensor([1.0])}
    optimizer = MetaOptimizer(meta, Outer("adam", 0.1, "none", 10, epsilon=epsilon))
    expected, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate([0.5, -0.2, 0.7], start=1):
        optimizer.update({"a": torch.tensor([g])})
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + epsilon)
    assert float(meta["a"]) == pytest.approx(expected, rel=1e-5)


def test_linear_decay_reaches_zero_at_the_last_iteration():
    meta = {"a": torch.tensor([0.0])}
    optimizer = MetaOptimizer(meta, Outer("sgd", 1.0, "linear", 4))
    steps = []
    for _ in range(5):
        before = float(meta["a"])
        optimizer.update({"a": torch.tensor([-1.0])})
        steps.append(float(meta["a"]) - before)
    assert steps == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


@pytest.mark.parametrize(
    ("decay", "iterations", "factors"),
    [
        ("none", 4, {0: 1.0, 3: 1.0, 9: 1.0}),
        ("linear", 4, {0: 1.0, 1: 0.75, 3: 0.25, 4: 0.0, 9: 0.0}),
        ("cosine", 6, {0: 1.0, 2: 0.01 + 0.99 * 0.75, 3: 0.505, 4: 0.01 + 0.99 * 0.25, 6: 0.01, 9: 0.01}),
        ("halving", 9000, {0: 1.0, 1999: 1.0, 2000: 0.5, 3999: 0.5, 4000: 0.25, 8000: 0.0625}),
    ],
)
def test_the_outer_rate_falls_as_said(decay, iterations, factors):
    outer = Outer("sgd", 1.0, decay, iterations)
    assert {i: outer.factor(i) for i in factors} == pytest.approx(factors, abs=1e-12)


def test_a_warm_up_multiplies_the_decay():
    outer = Outer("sgd", 1.0, "none", 100, warmup=3)
    assert [outer.factor(i) for i in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    outer = Outer("sgd", 1.0, "linear", 10, warmup=3)
    assert [outer.factor(i) for i in range(5)] == pytest.approx([0.25, 0.9 * 0.5, 0.8 * 0.75, 0.7, 0.6])


def test_each_update_takes_the_rate_of_its_iteration():
    meta = {"a": torch.tensor([0.0])}
    outer = Outer("sgd", 2.0, "cosine", 5, warmup=2)
    optimizer = MetaOptimizer(meta, outer)
    for i in range(7):
        before = float(meta["a"])
        optimizer.update({"a": torch.tensor([-1.0])})
        assert float(meta["a"]) - before == pytest.approx(2.0 * outer.factor(i), rel=1e-4)


@pytest.mark.parametrize(("clip", "norm"), [(0.0, 13.0), (1.3, 1.3), (12.9, 12.9), (13.1, 13.0)])
def test_a_direction_is_clipped_to_its_norm_over_all_meta_parameters(clip, norm):
    meta = {"a": torch.zeros(2), "b": torch.zeros(1, 1)}
    MetaOptimizer(meta, Outer("sgd", 0.5, "none", 1, clip=clip)).update(
        {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[12.0]])}
    )
    scale = -0.5 * norm / 13.0
    assert meta["a"].tolist() == pytest.approx([3 * scale, 4 * scale], rel=1e-5)
    assert meta["b"].tolist() == [pytest.approx([12 * scale], rel=1e-5)]
