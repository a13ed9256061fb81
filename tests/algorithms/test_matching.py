import math

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import FUNCTIONAL
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, task_at
from problems import Linear, convolutional, image_episodes, mean_direction, perturbed

NAMES = ["matching", "matching-scaled", "matching-fce"]
SCALED = ["matching-scaled", "matching-fce"]
UNITS = 3


def linear(name, ways, **options):
    return ALGORITHMS.get(name)(Learner(Linear(2, ways, UNITS, 1), "classification"), 0.0, 0, **options)


def points(ways, shots, query=4, seed=1):
    x = torch.randn(ways * shots + query, 2, generator=torch.Generator().manual_seed(seed)).double()
    return Batch(x[:-query], torch.arange(ways).repeat(shots)), x[-query:]


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "scale"), [("matching", 1), ("matching-scaled", 4)])
def test_attention_by_hand(name, scale):
    """Labels out of order, two examples a class: each probability is a sum of two attention weights."""
    algorithm = linear(name, 3)
    meta = perturbed(algorithm)
    assert ("scale" in meta) == (name == "matching-scaled")
    meta |= {"scale": torch.tensor(float(scale)).double()} if scale > 1 else {}
    (x, _), query = points(3, 2)
    labels = [2, 0, 0, 1, 2, 1]
    (adapted,) = algorithm.trajectory(meta, Batch(x, torch.tensor(labels)))
    outputs = algorithm.predict(adapted, query)
    assert outputs.shape == (4, 3)
    for q, row in zip(query, outputs, strict=True):
        f = meta["hidden1.weight"] @ q
        keys = [meta["hidden1.weight"] @ one for one in x]
        weights = [math.exp(scale * float(f @ g / (f.norm() * g.norm()))) for g in keys]
        for way in range(3):
            share = sum(w for w, y in zip(weights, labels, strict=True) if y == way) / sum(weights)
            assert float(row[way]) == pytest.approx(math.log(share), rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_logarithms_of_probabilities(name):
    algorithm = linear(name, 5)
    support, query = points(5, 3)
    outputs = algorithm.predict(algorithm.adapt(perturbed(algorithm), support), query)
    assert_close(outputs.exp().sum(-1), torch.ones(4).double())
    assert (outputs < 0).all()


def test_with_a_scale_and_one_shot_it_is_the_cosine_variant_of_prototypical_networks():
    matching, prototypical = (ALGORITHMS.get(n) for n in ("matching-scaled", "prototypical-cosine"))
    learner = convolutional("matching-scaled", 5).learner
    one, other = matching(learner, 0.0, 0), prototypical(learner, 0.0, 0)
    meta, task = perturbed(one), task_at(image_episodes(1, 5, shots=1, query=2), 0)
    assert meta.keys() == other.init(torch.Generator()).keys()
    mine, theirs = (algorithm.task_direction(meta, task)[0] for algorithm in (one, other))
    for n in meta:
        assert_close(mine[n], theirs[n])


@pytest.mark.parametrize("name", SCALED)
def test_a_large_scale_leaves_loss_and_direction_finite(name):
    algorithm = linear(name, 5)
    meta = {n: p.float() for n, p in perturbed(algorithm).items()} | {"scale": torch.tensor(1e3)}
    (x, y), query = points(5, 2, query=5)
    task = Task(Batch(x.float(), y), Batch(query.float(), torch.arange(5)), torch.zeros(5))
    direction, metrics = algorithm.task_direction(meta, task)
    assert float(metrics["loss"]) > 100
    assert all(p.isfinite().all() for p in direction.values())
    assert direction["hidden1.weight"].abs().sum() > 0


def test_full_context_without_lstm_weights_is_matching_with_a_scale():
    plain, full = linear("matching-scaled", 5), linear("matching-fce", 5)
    support, query = points(5, 2)
    meta = perturbed(full)
    zero = {n: torch.zeros_like(p) for n, p in meta.items() if n.split(".")[0] in ("forward", "backward", "query")}
    assert len(zero) == 9
    expected = plain.predict(plain.adapt(meta, support), query)
    assert_close(full.predict(full.adapt(meta | zero, support), query), expected)
    assert not torch.allclose(full.predict(full.adapt(meta, support), query), expected, rtol=1e-3)


def torch_cell(meta, name, inputs):
    """Ours as a cell of torch, whose own recurrent weights are left out: inputs and states are one vector."""
    cell = torch.nn.LSTMCell(inputs, UNITS).double()
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([meta[f"{name}.input"], meta[f"{name}.recurrent"]], 1))
        cell.weight_hh.zero_()
        cell.bias_ih.copy_(meta[f"{name}.bias"])
        cell.bias_hh.zero_()
    return cell


def test_support_is_read_in_both_directions():
    algorithm = linear("matching-fce", 3)
    meta, (support, _) = perturbed(algorithm), points(3, 2)
    features = support.x @ meta["hidden1.weight"].T
    expected = features.clone()
    for name, order in (("forward", range(6)), ("backward", range(5, -1, -1))):
        cell = torch_cell(meta, name, 2 * UNITS)
        state = memory = torch.zeros(UNITS).double()
        for i in order:
            state, memory = cell(torch.cat([features[i], state]), (torch.zeros(UNITS).double(), memory))
            expected[i] += state.detach()
    assert_close(algorithm.adapt(meta, support)["support.embeddings"], expected)


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_a_query_reads_the_support_set(reads):
    algorithm = linear("matching-fce", 3, reads=reads)
    meta, (support, query) = perturbed(algorithm), points(3, 2)
    adapted = algorithm.adapt(meta, support)
    keys = adapted["support.embeddings"]
    cell = torch_cell(meta, "query", 3 * UNITS)
    for q, row in zip(query, algorithm.predict(adapted, query), strict=True):
        f = meta["hidden1.weight"] @ q
        h, memory = f, torch.zeros(UNITS).double()
        for _ in range(reads):
            read_out = sum(w * g for w, g in zip(torch.softmax(keys @ h, 0), keys, strict=True))
            output, memory = cell(torch.cat([f, h, read_out]), (torch.zeros(UNITS).double(), memory))
            h = output + f
        attention = torch.softmax(meta["scale"] * F.cosine_similarity(h[None], keys), 0)
        assert_close(row, (attention.view(2, 3).sum(0)).log().detach())


@pytest.mark.parametrize("name", NAMES)
def test_classes_follow_their_labels(name):
    algorithm = convolutional(name, 5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5, query=2), 0)
    before = algorithm.predict(algorithm.adapt(meta, task.support), task.query.x)
    exchange = torch.tensor([0, 1, 2, 4, 3])
    swapped = algorithm.adapt(meta, Batch(task.support.x, exchange[task.support.y]))
    assert_close(algorithm.predict(swapped, task.query.x), before[:, exchange])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_support_set_matters_to_full_context_alone(name):
    algorithm = convolutional(name, 5)
    meta, task = perturbed(algorithm), task_at(image_episodes(1, 5, query=2), 0)
    order = torch.tensor([7, 0, 9, 2, 4, 1, 8, 3, 6, 5])
    before, after = (
        algorithm.predict(algorithm.adapt(meta, support), task.query.x)
        for support in (task.support, Batch(task.support.x[order], task.support.y[order]))
    )
    assert algorithm.symmetric == (name != "matching-fce")
    assert torch.allclose(before, after, rtol=1e-8) == algorithm.symmetric


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_does_not_depend_on_the_number_of_ways(name):
    five, twenty = convolutional(name, 5), convolutional(name, 20)
    meta = perturbed(twenty)
    assert {n: p.shape for n, p in meta.items()} == {n: p.shape for n, p in perturbed(five).items()}
    assert not meta.keys() & five.learner.model.head_names
    for algorithm, ways in ((five, 5), (twenty, 20)):
        task = task_at(image_episodes(1, ways, query=1), 0)
        assert algorithm.predict(algorithm.adapt(meta, task.support), task.query.x).shape == (ways, ways)


@pytest.mark.parametrize("name", NAMES)
def test_engines_and_autodiffs_agree(name):
    algorithm, functional = convolutional(name, 5), convolutional(name, 5, FUNCTIONAL)
    meta, tasks = perturbed(algorithm), image_episodes(3, 5, query=2)
    loop, vmap = (ENGINES.get(engine).build(algorithm)(meta, tasks)[0] for engine in ("loop", "vmap"))
    mean = mean_direction(functional, meta, tasks)
    for n in meta:
        assert_close(vmap[n], loop[n])
        assert_close(mean[n], loop[n])
        assert loop[n].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_regression_is_refused(name):
    with pytest.raises(Unsupported, match="classification"):
        ALGORITHMS.get(name)(Learner(MLP(1, 1, 4, 2), "regression"), 0.0, 0)
