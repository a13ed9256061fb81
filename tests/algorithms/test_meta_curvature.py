import pytest
import torch

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.meta_curvature import mode_products
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.correctness.gate import definition_error, relative_error
from metabench.engines import loop, vmap
from metabench.tensors import task_at
from problems import BOTH, CONV, SMOOTH, differences, images, mean_direction, perturbed, points

LR = 0.1


def build(name="meta-curvature", steps=2, autodiff=TAPE, learner=SMOOTH, **options):
    return ALGORITHMS.get(name)(learner, LR, steps, autodiff, **options)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2, 4), (3, 1, 1, 1)], ids=str)
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
    assert mode_products(gradient[0], [swap]).tolist() == [2.0, 1.0]
    # an asymmetric matrix is not transposed: the first output takes the second's gradient, not the other way round
    assert mode_products(gradient[0], [torch.tensor([[1.0, 1.0], [0.0, 1.0]])]).tolist() == [3.0, 2.0]


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
            out = meta[f"curvature.{name}.out"]
            into = meta[f"curvature.{name}.in"] if g.dim() == 2 else torch.ones(1, 1).double()
            step = torch.zeros_like(g)
            for o in range(g.shape[0]):
                for i in range(into.shape[0]):
                    for p in range(g.shape[0]):
                        for j in range(into.shape[0]):
                            step.view(g.shape[0], -1)[o, i] += out[o, p] * into[i, j] * g.view(g.shape[0], -1)[p, j]
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


def test_init_gives_identities_of_every_mode():
    meta = build(learner=CONV).init(torch.Generator())
    matrices = {name: p for name, p in meta.items() if name.startswith("curvature.")}
    assert all(torch.equal(p, torch.eye(p.shape[0])) for p in matrices.values())
    sizes = {name.removeprefix("curvature."): p.shape[0] for name, p in matrices.items()}
    expected = {"conv1.weight.out": 2, "conv1.weight.in": 1, "conv1.weight.filter": 9, "head.weight.out": 3}
    expected |= {"head.weight.in": 2, "head.bias.out": 3, "norm4.bias.out": 2}
    assert {name: sizes[name] for name in expected} == expected
    assert "head.weight.filter" not in sizes
    assert "head.bias.in" not in sizes


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


def test_the_published_preset_is_that_of_the_paper():
    preset = ALGORITHMS.get("meta-curvature").presets["published/omniglot-5way"]
    assert (preset.inner_lr, preset.inner_steps, preset.meta_batch) == (2.0, 1, 32)
