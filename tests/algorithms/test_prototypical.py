import math
from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, task_at
from problems import Linear, convolutional, differences, image_episodes, perturbed

NAMES = ["prototypical", "prototypical-cosine"]


def linear(name, ways, autodiff=TAPE):
    return ALGORITHMS.get(name)(Learner(Linear(2, ways, 2, 1), "classification"), 0.0, 0, autodiff)


# Embedded by the identity: class 0 has the mean (1, 0), class 1 the mean (0, 3), class 2 the mean (-2, -2).
SUPPORT = Batch(
    torch.tensor([[0.0, 4.0], [-1.0, -3.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0], [-3.0, -1.0]]).double(),
    torch.tensor([1, 2, 0, 1, 0, 2]),
)
PROTOTYPES = [[1.0, 0.0], [0.0, 3.0], [-2.0, -2.0]]
QUERY = Batch(torch.tensor([[1.0, 1.0], [3.0, -4.0]]).double(), torch.tensor([1, 0]))
IDENTITY = {"hidden1.weight": torch.eye(2).double(), "hidden1.bias": torch.zeros(2).double()}


def test_outputs_are_minus_the_squared_distances_to_the_class_means():
    algorithm = linear("prototypical", 3)
    (adapted,) = algorithm.trajectory(IDENTITY, SUPPORT)
    assert adapted["prototypes"].tolist() == PROTOTYPES
    assert algorithm.predict(adapted, QUERY.x).tolist() == [[-1.0, -5.0, -18.0], [-20.0, -58.0, -29.0]]


def test_loss_is_the_cross_entropy_of_the_distances():
    loss = linear("prototypical", 3).objective(IDENTITY, IDENTITY, Task(SUPPORT, QUERY, torch.zeros(3)))
    first = 5 + math.log(math.exp(-1) + math.exp(-5) + math.exp(-18))
    second = 20 + math.log(math.exp(-20) + math.exp(-58) + math.exp(-29))
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-12)


def test_cosines_are_scaled():
    algorithm = linear("prototypical-cosine", 3)
    adapted = algorithm.adapt(IDENTITY | {"scale": torch.tensor(7.0).double()}, SUPPORT)
    half = math.sqrt(0.5)
    expected = [[7 * half, 7 * half, -7.0], [7 * 0.6, 7 * -0.8, 7 * half * 0.2]]
    assert algorithm.predict(adapted, QUERY.x).tolist() == [pytest.approx(row, abs=1e-12) for row in expected]


def test_the_scale_starts_at_ten_and_is_learned():
    algorithm = convolutional("prototypical-cosine", 5)
    meta = algorithm.init(torch.Generator().manual_seed(0))
    assert float(meta["scale"]) == 10
    meta = {n: p.double() for n, p in meta.items()}
    direction, _ = algorithm.task_direction(meta, task_at(image_episodes(1, 5), 0))
    assert float(direction["scale"].abs()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def test_direction_is_the_gradient_through_support_and_query(name, autodiff):
    algorithm = linear(name, 3, autodiff)
    meta = perturbed(algorithm)
    task = Task(SUPPORT, QUERY, torch.zeros(3))

    def loss(weight):
        prototypes = [
            weight @ torch.stack([x for x, y in zip(*SUPPORT, strict=True) if y == k]).mean(0) for k in range(3)
        ]
        total = 0.0
        for x, y in zip(*QUERY, strict=True):
            f = weight @ x
            if name == "prototypical":
                outputs = [-float((f - c) @ (f - c)) for c in prototypes]
            else:
                outputs = [float(meta["scale"] * (f @ c) / (f.norm() * c.norm())) for c in prototypes]
            total += math.log(sum(math.exp(o) for o in outputs)) - outputs[int(y)]
        return total / 2

    direction, metrics = algorithm.task_direction(meta, task)
    assert float(metrics["loss"]) == pytest.approx(loss(meta["hidden1.weight"]), rel=1e-10)
    numeric = differences(lambda p: loss(p["hidden1.weight"]), {"hidden1.weight": meta["hidden1.weight"]})
    torch.testing.assert_close(direction["hidden1.weight"], numeric["hidden1.weight"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_classes_follow_their_labels(name):
    algorithm = convolutional(name, 5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5), 0)
    before = algorithm.predict(algorithm.adapt(meta, task.support), task.query.x)
    exchange = torch.tensor([0, 1, 2, 4, 3])
    swapped = algorithm.adapt(meta, Batch(task.support.x, exchange[task.support.y]))
    torch.testing.assert_close(algorithm.predict(swapped, task.query.x), before[:, exchange], rtol=1e-12, atol=1e-12)
    order = torch.tensor([7, 0, 9, 2, 4, 1, 8, 3, 6, 5])
    shuffled = algorithm.adapt(meta, Batch(task.support.x[order], task.support.y[order]))
    torch.testing.assert_close(algorithm.predict(shuffled, task.query.x), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_does_not_depend_on_the_number_of_ways(name):
    five, twenty = convolutional(name, 5), convolutional(name, 20)
    meta = twenty.init(torch.Generator().manual_seed(0))
    same = five.init(torch.Generator().manual_seed(0))
    assert not meta.keys() & five.learner.model.head_names
    assert meta.keys() == same.keys() and all(torch.equal(meta[n], same[n]) for n in meta)
    meta = {n: p.double() for n, p in meta.items()}
    for algorithm, ways in ((five, 5), (twenty, 20)):
        task = task_at(image_episodes(1, ways, query=1), 0)
        assert algorithm.predict(algorithm.adapt(meta, task.support), task.query.x).shape == (ways, ways)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_the_loop(name):
    algorithm = convolutional(name, 5)
    meta, tasks = perturbed(algorithm), image_episodes(3, 5)
    loop, vmap = (ENGINES.get(engine).build(algorithm)(meta, tasks) for engine in ("loop", "vmap"))
    for n in meta:
        torch.testing.assert_close(vmap[0][n], loop[0][n], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(vmap[1]["loss"], loop[1]["loss"])


@pytest.mark.parametrize("name", NAMES)
def test_running_statistics_reach_the_query(name):
    algorithm = convolutional(name, 5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5), 0)
    adapted = algorithm.adapt(meta, task.support)
    running = adapted | algorithm.learner.model.statistics(adapted, task.query.x)
    alone, together = (algorithm.predict(running, x)[:1] for x in (task.query.x[:1], task.query.x))
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_meaning_is_refused(name):
    algorithm = convolutional(name, 5)
    with pytest.raises(Unsupported, match="classification"):
        ALGORITHMS.get(name)(Learner(MLP(1, 1, 4, 2), "regression"), 0.0, 0)
    with pytest.raises(Unsupported, match="no inner loop"):
        replace(algorithm, inner_optimizer="adam")
    assert algorithm.adapted_names(perturbed(algorithm)) == frozenset()
