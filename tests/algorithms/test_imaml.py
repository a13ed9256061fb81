from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.autograd.functional import hessian
from torch.autograd.graph import saved_tensors_hooks

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.conjugate_gradient import conjugate_gradient
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, flat, task_at
from problems import SMOOTH, Smooth, differences, points, random_params

LAMBDA = 2.0


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


@pytest.fixture(scope="module")
def meta():
    return random_params(SMOOTH.model, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def task():
    return task_at(points(1), 0)


CLASSES = Learner(Smooth(inputs=2, outputs=3, width=3, layers=1), "classification")


@pytest.fixture(scope="module")
def weights():
    """Of the network for classes."""
    return random_params(CLASSES.model, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def classes(task):
    """The points of the task, in three classes."""
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    return task._replace(support=Batch(task.support.x, y), query=Batch(task.query.x, y.flip(0)))


def build(autodiff, steps=5, lr=0.1, **fields):
    return ALGORITHMS.get("imaml")(SMOOTH, lr, steps, autodiff, **fields)


def as_coded(autodiff, **fields):
    return ALGORITHMS.get("imaml-as-coded")(CLASSES, 0.1, 3, autodiff, **fields)


def named(vector, like):
    parts = torch.split(vector, [p.numel() for p in like.values()])
    return {name: part.view_as(p) for (name, p), part in zip(like.items(), parts, strict=True)}


def loss_of(vector, like, batch, learner=SMOOTH):
    return learner.loss(named(vector, like), batch)


def gradient(function, point):
    point = point.detach().requires_grad_()
    return torch.autograd.grad(function(point), point)[0]


def minimum(theta, like, support):
    """The solution of the inner problem by Newton's method, which shares nothing with the inner loop."""

    def inner(phi):
        return loss_of(phi, like, support) + LAMBDA / 2 * (phi - theta).square().sum()

    phi = theta
    for _ in range(7):
        phi = phi - torch.linalg.solve(hessian(inner, phi), gradient(inner, phi))
    return phi


@pytest.fixture(scope="module")
def implicit_gradient(meta, task):
    """Central differences of the query loss at the inner minimum."""

    def query_loss(point):
        return loss_of(minimum(flat(point), meta, task.support), meta, task.query)

    return flat(differences(query_loss, meta, eps=1e-5))


def test_a_converged_direction_is_the_derivative_of_the_query_loss_at_the_inner_minimum(
    autodiff, meta, task, implicit_gradient
):
    algorithm = build(autodiff, steps=70, lr=0.2, cg_steps=20, damping=0.0)
    adapted = algorithm.adapt(meta, task.support)
    torch.testing.assert_close(flat(adapted), minimum(flat(meta), meta, task.support), rtol=1e-9, atol=1e-9)
    direction, metrics = algorithm.task_direction(meta, task)
    torch.testing.assert_close(flat(direction), implicit_gradient, rtol=1e-7, atol=1e-8)
    assert float(metrics["loss"]) == pytest.approx(float(SMOOTH.loss(adapted, task.query)))
    first_order = gradient(lambda phi: loss_of(phi, meta, task.query), flat(adapted))
    assert (first_order - implicit_gradient).norm() > 1e-2 * implicit_gradient.norm()


def test_the_inner_loop_descends_the_support_loss_with_its_proximal_term(autodiff, meta, task):
    theta = phi = flat(meta)
    for point in build(autodiff, steps=3).trajectory(meta, task.support):
        torch.testing.assert_close(flat(point), phi)
        phi = phi - 0.1 * (gradient(lambda p: loss_of(p, meta, task.support), phi) + LAMBDA * (phi - theta))


def few_steps(matrix, target):
    """What three steps of conjugate gradient come to: the best point of a Krylov space."""
    basis, _ = torch.linalg.qr(torch.stack([target, matrix @ target, matrix @ matrix @ target], dim=1))
    return basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ target)


def system(adapted, meta, task, identity, weight, learner=SMOOTH):
    """Matrix and right-hand side of the linear system at the adapted parameters."""
    curvature = hessian(lambda phi: loss_of(phi, meta, task.support, learner), adapted)
    matrix = identity * torch.eye(len(adapted), dtype=adapted.dtype) + curvature / weight
    return matrix, gradient(lambda phi: loss_of(phi, meta, task.query, learner), adapted)


@pytest.mark.parametrize("damping", [0.0, 10.0])
def test_few_steps_of_conjugate_gradient_minimise_the_quadratic_over_the_krylov_space(autodiff, damping, meta, task):
    algorithm = build(autodiff, cg_steps=3, damping=damping)
    adapted = flat(algorithm.adapt(meta, task.support))
    direction, _ = algorithm.task_direction(meta, task)
    expected = few_steps(*system(adapted, meta, task, 1, LAMBDA + damping))
    torch.testing.assert_close(flat(direction), expected, rtol=1e-8, atol=1e-9)


def test_as_coded_the_inner_loop_descends_the_support_loss_alone(autodiff, weights, classes):
    phi = flat(weights)
    for point in as_coded(autodiff).trajectory(weights, classes.support):
        torch.testing.assert_close(flat(point), phi)
        phi = phi - 0.1 * gradient(lambda p: loss_of(p, weights, classes.support, CLASSES), phi)


def test_as_coded_one_step_to_the_meta_parameters_follows_and_the_identity_counts_twice(autodiff, weights, classes):
    algorithm = as_coded(autodiff, cg_steps=3)
    adapted = flat(algorithm.adapt(weights, classes.support))
    pulled = adapted - 0.1 * LAMBDA * (adapted - flat(weights))
    direction, metrics = algorithm.task_direction(weights, classes)
    expected = few_steps(*system(pulled, weights, classes, 2, LAMBDA + 10, CLASSES))
    torch.testing.assert_close(flat(direction), expected, rtol=1e-8, atol=1e-9)
    assert float(metrics["loss"]) == pytest.approx(float(loss_of(pulled, weights, classes.query, CLASSES)))


def test_the_definition_is_linear_with_the_direction_as_its_slope(autodiff, meta, task):
    algorithm = build(autodiff)
    direction, _ = algorithm.task_direction(meta, task)
    for i in range(0, flat(meta).numel(), 4):
        axis = named(torch.eye(flat(meta).numel(), dtype=torch.float64)[i], meta)
        slope = algorithm.objective(axis, meta, task)
        assert float(slope) == pytest.approx(float(flat(direction)[i]), rel=1e-7, abs=1e-9)


def test_the_definition_is_not_spoilt_by_a_relu_near_its_kink(autodiff, meta, task):
    rectified = Learner(MLP(inputs=2, outputs=1, width=3, layers=1), "regression")
    algorithm = replace(build(autodiff, steps=0), learner=rectified)
    weight, x = meta["hidden1.weight"], task.support.x[0]
    meta = meta | {"hidden1.bias": 1e-6 - weight @ x}
    direction, _ = algorithm.task_direction(meta, task)
    value = float(algorithm.objective(meta, meta, task))
    assert value == pytest.approx(float(flat(direction) @ flat(meta)), rel=1e-6)


def test_an_infinitely_strong_proximal_term_leaves_the_gradient_of_the_query_loss(autodiff, meta, task):
    direction, _ = build(autodiff, steps=0, proximal=1e9).task_direction(meta, task)
    expected = gradient(lambda phi: loss_of(phi, meta, task.query), flat(meta))
    torch.testing.assert_close(flat(direction), expected, rtol=1e-7, atol=1e-7)


def test_conjugate_gradient_stays_where_it_has_converged():
    target = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor(4.0)}
    doubled = conjugate_gradient(lambda v, two: {name: two * p for name, p in v.items()}, target, 5, 2.0)
    torch.testing.assert_close(doubled, {"a": torch.tensor([1.5, 0.0]), "b": torch.tensor(2.0)})
    nothing = conjugate_gradient(lambda v, _: v, {"a": torch.zeros(2)}, 5, None)
    assert torch.equal(nothing["a"], torch.zeros(2))


class Live:
    count = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Live.count += 1
        Live.most = max(Live.most, Live.count)

    def __del__(self):
        Live.count -= 1


def most_saved(name, steps, meta, task):
    """The largest number of tensors that the tape holds at one time for backward passes to come."""
    Live.count = Live.most = 0
    with saved_tensors_hooks(Live, lambda live: live.tensor):
        ALGORITHMS.get(name)(SMOOTH, 0.1, steps, TAPE).task_direction(meta, task)
    return Live.most


def test_nothing_of_the_inner_loop_is_kept(meta, task):
    assert most_saved("imaml", 2, meta, task) == most_saved("imaml", 12, meta, task)
    assert most_saved("maml", 2, meta, task) < most_saved("maml", 12, meta, task)


def test_adapted_parameters_have_no_graph_even_where_the_meta_parameters_ask_for_one(autodiff, meta, task):
    meta = {name: p.clone().requires_grad_() for name, p in meta.items()}
    for point in islice(build(autodiff).trajectory(meta, task.support), 1, None):
        assert all(p.grad_fn is None and not p.requires_grad for p in point.values())


def test_both_ways_of_differentiating_agree(meta, task):
    one, other = (flat(build(kind).task_direction(meta, task)[0]) for kind in (TAPE, FUNCTIONAL))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("technique", ["first_order", "checkpoint"])
def test_techniques_of_an_unrolled_inner_loop_are_refused(technique):
    with pytest.raises(Unsupported):
        build(TAPE, **{technique: True})
