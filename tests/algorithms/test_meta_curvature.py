from itertools import product

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.meta_curvature import mode_products
from metabench.algorithms.presets import most_specific
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.correctness.differences import definition_error
from metabench.correctness.gate import relative_error
from metabench.engines import loop, vmap
from metabench.models.base import MODELS
from metabench.models.module import model_of
from metabench.tensors import task_at
from problems import BOTH, CONV, SMOOTH, differences, image_episodes, images, mean_direction, perturbed, points

LR = 0.1


def build(name="meta-curvature", steps=2, autodiff=TAPE, learner=SMOOTH, **options):
    return ALGORITHMS.get(name)(learner, LR, steps, autodiff, **options)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 4), (3, 1, 1, 1)], ids=str)
def test_mode_products_are_a_kronecker_product_of_the_flattened_tensor(shape):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(shape, generator=generator).double()
    sizes = tensor.flatten(2).shape if len(shape) > 2 else shape
    matrices = [torch.randn(n, n, generator=generator).double() for n in sizes]
    whole = torch.ones(1, 1).double()
    for matrix in matrices:
        whole = torch.kron(whole, matrix)
    torch.testing.assert_close(mode_products(tensor, matrices), (whole @ tensor.flatten()).view(shape))


def test_a_worked_example():
    """Rows mix by Mo, columns by Mi: [[0, 1], [1, 0]] swaps rows, diag(1, 10) scales the second column."""
    swap, scale = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    gradient = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert mode_products(gradient, [swap, scale]).tolist() == [[3.0, 40.0], [1.0, 20.0]]
    # an asymmetric matrix is not transposed: the first output takes the second's gradient, not the other way round
    add = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert mode_products(gradient, [add, torch.eye(2)]).tolist() == [[4.0, 6.0], [3.0, 4.0]]
    # a vector is multiplied number by number
    assert mode_products(gradient[0], [torch.tensor([3.0, -1.0])]).tolist() == [3.0, -2.0]


def test_a_parameter_that_is_one_number_has_a_factor_of_its_own():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.head = torch.nn.Parameter(torch.tensor(1.5)), torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.head(torch.tanh(self.scale * x))

    algorithm = build(learner=Learner(model_of(Scaled, (1,), 1, "", "off"), "regression"))
    meta = {name: p.double() for name, p in algorithm.init(torch.Generator().manual_seed(0)).items()}
    assert meta["curvature.scale.each"].shape == ()
    task = points(inputs=1)
    direction, _ = loop.build(algorithm)(meta, task)
    generator = torch.Generator().manual_seed(1)
    assert definition_error(algorithm, meta, task, direction, generator) < 1e-6
    assert float(direction["curvature.scale.each"].abs()) > 0


def test_what_has_no_modes_is_refused():
    with pytest.raises(ValueError, match="no curvature"):
        mode_products(torch.tensor(1.0), [])


def test_the_inner_loop_takes_the_multiplied_gradient():
    algorithm = build()
    meta, task = perturbed(algorithm, 0.3), task_at(points(), 0)
    theta = {name: p for name, p in meta.items() if not name.startswith("curvature.")}
    for _ in range(2):
        gradient = differences(lambda p: SMOOTH.loss(p, task.support), theta)
        for name, g in gradient.items():
            step = torch.zeros_like(g)
            if g.dim() == 1:
                for o in range(g.shape[0]):
                    step[o] = meta[f"curvature.{name}.each"][o] * g[o]
            else:
                out, into = meta[f"curvature.{name}.out"], meta[f"curvature.{name}.in"]
                for o, i, p, j in product(*(range(n) for n in (*g.shape, *g.shape))):
                    step[o, i] += out[o, p] * into[i, j] * g[p, j]
            theta = theta | {name: theta[name] - LR * step}
    adapted = algorithm.adapt(meta, task.support)
    assert relative_error({name: adapted[name] for name in theta}, theta) < 1e-8


@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"inner_optimizer": "momentum"}], ids=str)
def test_the_direction_is_the_gradient_of_the_definition(autodiff, options):
    algorithm = build(autodiff=autodiff, **options)
    meta, episodes = perturbed(algorithm, 0.3), points()
    mean = mean_direction(algorithm, meta, episodes)
    assert definition_error(algorithm, meta, episodes, mean, torch.Generator().manual_seed(1)) < 1e-7
    assert min(mean[name].abs().max() for name in meta) > 1e-4  # every matrix is learned


@BOTH
def test_engines_agree(learner, episodes):
    algorithm = build(learner=learner)
    meta = perturbed(algorithm, 0.3)
    expected, _ = loop.build(algorithm)(meta, episodes)
    assert relative_error(vmap.build(algorithm)(meta, episodes)[0], expected) < 1e-11
    recomputed, _ = loop.build(build(learner=learner, checkpoint=True))(meta, episodes)
    assert relative_error(recomputed, expected) < 1e-13


@BOTH
def test_fresh_it_is_maml(learner, episodes):
    algorithm = build(learner=learner)
    meta = {name: p.double() for name, p in algorithm.init(torch.Generator().manual_seed(3)).items()}
    theta = {name: p.double() for name, p in learner.model.init(torch.Generator().manual_seed(3)).items()}
    assert all(torch.equal(meta[name], theta[name]) for name in theta)
    expected, _ = loop.build(build("maml", learner=learner))(theta, episodes)
    direction, _ = loop.build(algorithm)(meta, episodes)
    assert relative_error({name: direction[name] for name in theta}, expected) < 1e-12


def test_init_gives_identities_of_every_mode_and_ones_for_vectors():
    meta = build(learner=CONV).init(torch.Generator())
    matrices = {name: p for name, p in meta.items() if name.startswith("curvature.")}
    for name, p in matrices.items():
        assert torch.equal(p, torch.ones(p.shape) if name.endswith(".each") else torch.eye(p.shape[0])), name
    sizes = {name.removeprefix("curvature."): p.shape[0] for name, p in matrices.items()}
    expected = {"conv1.weight.out": 2, "conv1.weight.in": 1, "conv1.weight.filter": 9, "head.weight.out": 3}
    expected |= {"head.weight.in": 2, "head.bias.each": 3, "norm4.bias.each": 2}
    assert {name: sizes[name] for name in expected} == expected
    assert "head.weight.filter" not in sizes
    assert {"head.bias.out", "head.bias.in"}.isdisjoint(sizes)


def test_the_inner_loop_leaves_the_curvature():
    algorithm = build(learner=CONV)
    meta = perturbed(algorithm, 0.3)
    adapted = algorithm.adapt(meta, task_at(images(), 0).support)
    moved = {name for name in meta if not torch.equal(adapted[name], meta[name])}
    assert moved == algorithm.adapted_names(meta) == CONV.model.init(torch.Generator()).keys()


def test_a_curvature_of_zero_freezes_its_parameter():
    algorithm = build()
    meta = perturbed(algorithm, 0.3)
    meta["curvature.head.weight.in"] = torch.zeros(3, 3).double()
    adapted = algorithm.adapt(meta, task_at(points(), 0).support)
    assert torch.equal(adapted["head.weight"], meta["head.weight"])
    assert not torch.equal(adapted["head.bias"], meta["head.bias"])


def test_what_the_inner_loop_leaves_has_no_curvature():
    learner = Learner(MODELS.get("conv2-8-finn")((1, 28, 28), 3), "classification")
    algorithm = build(learner=learner)
    meta = perturbed(algorithm)
    assert not [name for name in meta if name.startswith("curvature.norm")]
    adapted = algorithm.adapt(meta, task_at(image_episodes(1, 3), 0).support)
    moved = {name for name in meta if not torch.equal(adapted[name], meta[name])}
    assert moved == algorithm.adapted_names(meta) == {"conv1.weight", "conv2.weight", "head.weight", "head.bias"}


@pytest.mark.parametrize(("ways", "rate"), [(5, 2.0), (20, 8.0)])
@pytest.mark.parametrize("shots", [1, 5])
def test_the_published_presets_are_those_of_the_authors_code(ways, rate, shots):
    preset = most_specific(ALGORITHMS.get("meta-curvature").presets, "published", "omniglot", ways, shots)
    assert (preset.inner_lr, preset.inner_steps, preset.meta_batch, preset.query) == (rate, 1, 32, shots)
    assert (preset.model, preset.iterations) == ("conv4-64-finn", 60_000)
