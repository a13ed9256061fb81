import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.presets import most_specific
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, task_at
from problems import image_episodes, perturbed

# the stride-2, the max-pooled and the half-pooled network: maps of 2x2, 1x1 and 7x7 pixels
FORMS = {"strided": (False, True), "maxpool": (True, True), "halfpool": (True, True, 2)}


def build(ways=5, form="strided", size=28, autodiff=TAPE):
    learner = Learner(Conv4((1, size, size), ways, 4, *FORMS[form]), "classification")
    return ALGORITHMS.get("relation")(learner, 0.0, 0, autodiff)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


def by_hand(algorithm, meta, task):
    """Scores of every pair, its two maps put side by side, as the paper draws it."""
    model = algorithm.learner.model
    support, query = model.feature_map(meta, task.support.x), model.feature_map(meta, task.query.x)
    pairs = []
    for one in query:
        for way in range(model.outputs):
            of_class = sum(m for m, y in zip(support, task.support.y, strict=True) if y == way)
            pairs.append(torch.cat([of_class, one]))
    h = torch.stack(pairs)
    for i in (1, 2):
        h = F.conv2d(h, meta[f"relation.conv{i}.weight"], padding=1)
        weight, bias = (meta[f"relation.norm{i}.{word}"] for word in ("weight", "bias"))
        h = F.relu(F.batch_norm(h, None, None, weight, bias, training=True))
        if h.shape[-1] > 1:
            h = F.max_pool2d(h, 2)
    assert h.shape[2:] == (1, 1)
    h = F.relu(h.flatten(1) @ meta["relation.hidden.weight"].T + meta["relation.hidden.bias"])
    return torch.sigmoid(h @ meta["relation.score.weight"].T + meta["relation.score.bias"]).view(-1, model.outputs)


@pytest.mark.parametrize("form", FORMS)
def test_scores_and_loss_by_hand(form):
    algorithm = build(3, form)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 3), 0)
    (adapted,) = algorithm.trajectory(meta, task.support)
    scores, expected = algorithm.predict(adapted, task.query.x), by_hand(algorithm, meta, task)
    assert_close(scores, expected)
    assert float(scores.std()) > 1e-3
    wrong = [(float(expected[q, way]) - (way == int(y))) ** 2 for q, y in enumerate(task.query.y) for way in range(3)]
    assert float(algorithm.objective(meta, meta, task)) == pytest.approx(sum(wrong) / len(wrong), rel=1e-10)


@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def test_direction_is_the_gradient_of_the_squared_error_by_hand(autodiff):
    algorithm = build(3, autodiff=autodiff)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 3), 0)
    leaves = {n: p.clone().requires_grad_() for n, p in meta.items()}
    error = (by_hand(algorithm, leaves, task) - torch.eye(3).double()[task.query.y]).square().mean()
    direction, metrics = algorithm.task_direction(meta, task)
    assert_close(metrics["loss"], error.detach())
    for n, gradient in zip(leaves, torch.autograd.grad(error, list(leaves.values())), strict=True):
        assert_close(direction[n], gradient)
        assert gradient.abs().sum() > 0


def test_maps_are_summed_over_the_shots():
    algorithm = build(5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5, shots=1), 0)
    one = algorithm.adapt(meta, task.support)["class.maps"]
    thrice = algorithm.adapt(meta, Batch(task.support.x.repeat(3, 1, 1, 1), task.support.y.repeat(3)))["class.maps"]
    assert_close(thrice, 3 * one)


def test_classes_follow_their_labels():
    algorithm = build(5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5), 0)
    before = algorithm.predict(algorithm.adapt(meta, task.support), task.query.x)
    exchange = torch.tensor([0, 1, 2, 4, 3])
    swapped = algorithm.adapt(meta, Batch(task.support.x, exchange[task.support.y]))
    assert_close(algorithm.predict(swapped, task.query.x), before[:, exchange])
    order = torch.tensor([7, 0, 9, 2, 4, 1, 8, 3, 6, 5])
    shuffled = algorithm.adapt(meta, Batch(task.support.x[order], task.support.y[order]))
    assert_close(algorithm.predict(shuffled, task.query.x), before)


def test_what_is_learned_depends_neither_on_the_ways_nor_on_the_size_of_the_maps():
    meta = perturbed(build(20))
    assert not meta.keys() & build().learner.model.head_names
    for ways, form, size in ((5, "strided", 28), (20, "strided", 28), (5, "halfpool", 28), (2, "halfpool", 84)):
        algorithm, task = build(ways, form, size), task_at(image_episodes(1, ways, query=1, size=size), 0)
        assert {n: p.shape for n, p in perturbed(algorithm).items()} == {n: p.shape for n, p in meta.items()}
        scores = algorithm.predict(algorithm.adapt(meta, task.support), task.query.x)
        assert scores.shape == (ways, ways)
        assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize("form", FORMS)
def test_vmap_is_the_loop(form):
    algorithm = build(form=form)
    meta, tasks = perturbed(algorithm), image_episodes(3, 5)
    loop, vmap = (ENGINES.get(engine).build(algorithm)(meta, tasks)[0] for engine in ("loop", "vmap"))
    for n in meta:
        assert_close(vmap[n], loop[n])


def test_no_hidden_unit_starts_dead():
    """With a bias of zero several of the eight would be negative for every pair, and stay so."""
    algorithm = build()
    meta = algorithm.init(torch.Generator().manual_seed(0))
    task = task_at(image_episodes(1, 5), 0)
    direction, _ = algorithm.task_direction({n: p.double() for n, p in meta.items()}, task)
    assert (direction["relation.hidden.bias"].abs() > 0).all()


def test_the_relation_module_starts_as_in_the_authors_code():
    """Standard deviations within six of their own errors; biases are one."""
    algorithm = ALGORITHMS.get("relation")(Learner(Conv4((1, 28, 28), 5, 64, True, True, 2), "classification"), 0.0, 0)
    meta = algorithm.init(torch.Generator().manual_seed(0))
    due = {"relation.conv1": (2 / 576) ** 0.5, "relation.conv2": (2 / 576) ** 0.5, "relation.hidden": 0.01}
    for layer, sd in due.items():
        weight = meta[f"{layer}.weight"]
        assert float(weight.std()) == pytest.approx(sd, rel=6 / (2 * weight.numel()) ** 0.5)
        assert abs(float(weight.mean())) < 6 * sd / weight.numel() ** 0.5
    assert meta["relation.score.weight"].abs().max() < 0.06
    for layer in ("hidden", "score"):
        assert (meta[f"relation.{layer}.bias"] == 1).all()


def test_what_has_no_maps_and_regression_are_refused():
    with pytest.raises(Unsupported, match="feature maps"):
        ALGORITHMS.get("relation")(Learner(MLP(784, 5, 4, 2), "classification"), 0.0, 0)
    with pytest.raises(Unsupported, match="classification"):
        ALGORITHMS.get("relation")(Learner(MLP(1, 1, 4, 2), "regression"), 0.0, 0)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_it_runs_in_mixed_precision(engine):
    algorithm = build(form="halfpool")
    meta = algorithm.init(torch.Generator().manual_seed(0))
    (sx, sy), (qx, qy), classes = image_episodes(2, 5)
    tasks = Task(Batch(sx.float(), sy), Batch(qx.float(), qy), classes)
    step = ENGINES.get(engine).build(algorithm)
    exact = step(meta, tasks)[1]["loss"]
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        direction, metrics = step(meta, tasks)
    assert float(metrics["loss"]) == pytest.approx(float(exact), rel=0.02)
    assert all(p.isfinite().all() for p in direction.values())


@pytest.mark.parametrize("ways", [5, 20])
@pytest.mark.parametrize("shots", [1, 5])
def test_quick_trainings_have_the_shots_of_the_test(ways, shots):
    """The feature maps of a class are added up: a module that was trained on one map does not know sums of five."""
    preset = most_specific(ALGORITHMS.get("relation").presets, "quick", "omniglot", ways, shots)
    assert preset.train_shots == shots
