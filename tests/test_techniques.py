"""First order and checkpointing: what they change, what they must not, and what they save."""

from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner, parameter_count
from metabench.autodiff import TAPE
from metabench.correctness.gate import gate, relative_error
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.measure.memory import tracked_peak
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch, Task, cast, task_at

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)
CPU = torch.device("cpu")


def algorithm(name="maml", steps=3, lr=0.01, **options):
    learner = Learner(MODELS.get("mlp-40x2")((1,), 1), "regression")
    return ALGORITHMS.get(name)(learner, lr, steps, **options)


def point(tasks=3):
    """Meta-parameters off their initial values, and episodes, in float64."""
    generator = torch.Generator().manual_seed(0)
    meta = {
        name: p.double() + 0.05 * torch.randn(p.shape, generator=generator).double()
        for name, p in algorithm().init(generator).items()
    }
    return meta, cast(SINUSOID.sample("train", tasks, generator), torch.zeros((), dtype=torch.float64))


def direction(made, engine="loop"):
    return ENGINES.get(engine).build(made)(*point())[0]


@pytest.mark.parametrize("inner_optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_maml_of_first_order_is_fomaml(engine, inner_optimizer):
    maml = algorithm(inner_optimizer=inner_optimizer, first_order=True)
    fomaml = direction(algorithm("fomaml", inner_optimizer=inner_optimizer), engine)
    assert relative_error(direction(maml, engine), fomaml) < 1e-12
    assert relative_error(direction(replace(maml, first_order=False), engine), fomaml) > 1e-2


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_anil_of_first_order_is_the_gradient_at_the_adapted_parameters(engine):
    anil = algorithm("anil", autodiff=TAPE)
    meta, episodes = point()
    expected = []
    for task in (task_at(episodes, i) for i in range(3)):
        adapted = {name: p.detach().requires_grad_() for name, p in anil.adapt(meta, task.support).items()}
        gradients = torch.autograd.grad(anil.learner.loss(adapted, task.query), list(adapted.values()))
        expected.append(dict(zip(adapted, gradients, strict=True)))
    mean = {name: torch.stack([one[name] for one in expected]).mean(0) for name in meta}
    assert relative_error(direction(replace(anil, first_order=True), engine), mean) < 1e-12
    assert relative_error(direction(anil, engine), mean) > 1e-3


@pytest.mark.parametrize("name", ["maml", "anil"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_the_gate_holds_first_order_to_its_own_definition(name, engine):
    made = algorithm(name, first_order=True)
    build = ENGINES.get(engine).build
    result = gate(made, build(made), SINUSOID, CPU)
    assert result.passed, result.reason
    assert result.definition_error < 1e-7
    wrong = gate(made, build(replace(made, first_order=False)), SINUSOID, CPU)
    assert not wrong.passed
    assert wrong.engine_error > 1e-4
    # and the other way round: an engine that drops what is asked for
    assert not gate(replace(made, first_order=False), build(made), SINUSOID, CPU).passed


def test_a_loop_of_the_wrong_order_differs_from_the_definition(monkeypatch):
    """Also where `loop` itself is what forgets: finite differences find it in both directions."""
    made = algorithm(first_order=True)
    build = ENGINES.get("loop").build
    for asked in (True, False):
        other = build(replace(made, first_order=not asked))
        with monkeypatch.context() as patch:
            patch.setattr("metabench.correctness.gate.loop.build", lambda _, other=other: other)
            result = gate(replace(made, first_order=asked), other, SINUSOID, CPU)
        assert result.engine_error == 0
        assert result.definition_error > 1e-2


SECOND_ORDER = sorted(name for name, kind in ALGORITHMS if kind.order == "second")


@pytest.mark.parametrize("inner_optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", SECOND_ORDER)
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_checkpointing_changes_no_number(engine, name, inner_optimizer):
    made = algorithm(name, inner_optimizer=inner_optimizer)
    for plain in (made, replace(made, first_order=True)):
        meta = {key: p.double() for key, p in plain.init(torch.Generator().manual_seed(0)).items()}
        _, episodes = point()
        found, _ = ENGINES.get(engine).build(replace(plain, checkpoint=True))(meta, episodes)
        assert relative_error(found, ENGINES.get("loop").build(plain)(meta, episodes)[0]) < 1e-12


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("fomaml", {"first_order": True}, "first_order has nothing to drop"),
        ("reptile", {"checkpoint": True}, "checkpoint has nothing to save"),
    ],
)
def test_techniques_that_an_algorithm_has_no_use_for(name, options, sentence):
    with pytest.raises(Unsupported, match=sentence):
        algorithm(name, **options)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_checkpointing_keeps_the_adapted_parameters_of_each_step_alone(engine):
    """Of a convolutional network; without it, all that the second derivative needs of each step is kept."""
    generator = torch.Generator().manual_seed(0)
    learner = Learner(MODELS.get("conv4-16")((1, 28, 28), 5), "classification")
    meta = learner.model.init(generator)
    x, y = torch.rand(2, 1, 5, 1, 28, 28, generator=generator), torch.arange(5).expand(1, 5)
    episodes = Task(Batch(x[0], y), Batch(x[1], y), y)

    def peak(steps, **options):
        step = ENGINES.get(engine).build(ALGORITHMS.get("maml")(learner, 0.1, steps, **options))
        step(meta, episodes)
        return tracked_peak(lambda: step(meta, episodes))[0]

    kept, recomputed = peak(20), peak(20, checkpoint=True)
    assert recomputed < kept / 2
    per_step = (recomputed - peak(10, checkpoint=True)) / 10
    assert per_step == pytest.approx(4 * parameter_count(meta), rel=0.05)
