"""First order, checkpointing, and forward over reverse: what they change, what they must not, and what they save."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.overrides import TorchFunctionMode

from metabench.algorithms.base import ALGORITHMS, Learner, parameter_count
from metabench.algorithms.reversal import end_of, most_computations
from metabench.autodiff import TAPE
from metabench.correctness.gate import gate, relative_error
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported, UserError
from metabench.measure.memory import tracked_peak
from metabench.models.base import MODELS
from metabench.models.module import from_module
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


CONVOLUTIONAL = Learner(MODELS.get("conv4-16")((1, 28, 28), 5), "classification")
PARAMETER_BYTES = 4 * parameter_count(CONVOLUTIONAL.model.init(torch.Generator().manual_seed(0)))


def peak_of(engine, steps, **options):
    """The peak memory of a direction of MAML on a convolutional network, one task."""
    generator = torch.Generator().manual_seed(0)
    meta = CONVOLUTIONAL.model.init(generator)
    x, y = torch.rand(2, 1, 5, 1, 28, 28, generator=generator), torch.arange(5).expand(1, 5)
    episodes = Task(Batch(x[0], y), Batch(x[1], y), y)
    step = ENGINES.get(engine).build(ALGORITHMS.get("maml")(CONVOLUTIONAL, 0.1, steps, **options))
    step(meta, episodes)
    return tracked_peak(lambda: step(meta, episodes))[0]


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
        ("reptile", {"second_order": "forward-over-reverse"}, "second_order has no say"),
        ("maml", {"second_order": "forward-over-reverse", "checkpoint": True}, "checkpoint has nothing to save"),
        ("maml", {"kept_steps": 2}, "kept_steps is for second_order = forward-over-reverse"),
        ("maml++", {"second_order": "forward-over-reverse", "kept_steps": 2}, "needs all of them: no kept_steps"),
    ],
)
def test_techniques_that_an_algorithm_has_no_use_for(name, options, sentence):
    with pytest.raises(Unsupported, match=sentence):
        algorithm(name, **options)


@pytest.mark.parametrize("second_order", ["reverse", "forward-over-reverse"])
def test_fewer_kept_steps_than_none_are_refused(second_order):
    """The search for the number of computations would never end."""
    with pytest.raises(UserError, match=r"kept_steps takes a number of steps, or 0 for all of them, not -1"):
        algorithm(second_order=second_order, kept_steps=-1)


@pytest.mark.parametrize("kept_steps", [0, 1, 2])
@pytest.mark.parametrize("inner_optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("name", SECOND_ORDER)
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_forward_over_reverse_changes_no_number(engine, name, inner_optimizer, kept_steps):
    if name == "maml++" and kept_steps:
        pytest.skip("it needs every inner step")
    plain = algorithm(name, steps=5, inner_optimizer=inner_optimizer)
    meta = {key: p.double() for key, p in plain.init(torch.Generator().manual_seed(0)).items()}
    _, episodes = point()
    options = {"second_order": "forward-over-reverse", "kept_steps": kept_steps}
    for made in (plain, replace(plain, first_order=True)):
        found, _ = ENGINES.get(engine).build(replace(made, **options))(meta, episodes)
        assert relative_error(found, ENGINES.get("loop").build(made)(meta, episodes)[0]) < 1e-11


def test_a_mode_of_torch_sees_both_ways_of_forward_over_reverse():
    """What casts or replaces operations reaches those of each node, on the way there and back."""

    class Seen(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.names = Counter()

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.names[getattr(function, "__name__", "")] += 1
            return function(*args, **(kwargs or {}))

    calls = []
    for kept_steps in (None, 0, 3):
        options = {} if kept_steps is None else {"second_order": "forward-over-reverse", "kept_steps": kept_steps}
        with Seen() as seen:
            direction(algorithm(**options))
        calls.append(seen.names["linear"])
    reverse, all_kept, few_kept = calls
    assert reverse > 0 and reverse % 4 == 0  # three inner steps, and the queries
    assert all_kept == reverse // 4 * 7  # each step there, and back
    assert few_kept == reverse // 4 * 9  # two of them on the way back once more


def test_no_inner_step_is_the_start_also_where_few_are_kept():
    made = algorithm(steps=0, second_order="forward-over-reverse", kept_steps=2)
    assert relative_error(direction(made), direction(algorithm(steps=0))) == 0


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_forward_over_reverse_goes_through_every_normalisation(engine, norm):
    """Affine ones of torch: forward mode through their backward passes, under vmap too."""
    layers = {
        "batch": partial(torch.nn.BatchNorm2d, 4),
        "layer": partial(torch.nn.LayerNorm, [4, 6, 6]),
        "group": partial(torch.nn.GroupNorm, 2, 4),
        "instance": partial(torch.nn.InstanceNorm2d, 4, affine=True),
    }

    def network(outputs):
        body = torch.nn.Conv2d(1, 4, 3), layers[norm](), torch.nn.Tanh(), torch.nn.Flatten()
        return torch.nn.Sequential(*body, torch.nn.Linear(144, outputs))

    learner = Learner(from_module(network)((1, 8, 8), 3), "classification")
    made = ALGORITHMS.get("maml")(learner, 0.1, 4)
    meta = {name: p.double() for name, p in made.init(torch.Generator().manual_seed(0)).items()}
    x = torch.rand(2, 2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(6).remainder(3).expand(2, 6)
    episodes = Task(Batch(x[0], y), Batch(x[1], y), y)
    expected, _ = ENGINES.get("loop").build(made)(meta, episodes)
    for kept_steps in (0, 2):
        other = replace(made, second_order="forward-over-reverse", kept_steps=kept_steps)
        assert relative_error(ENGINES.get(engine).build(other)(meta, episodes)[0], expected) < 1e-10


@pytest.mark.parametrize("engine", ["compile", "jax", "higher", "learn2learn", "torchopt"])
def test_engines_that_cannot_go_forward_over_reverse_say_so(engine):
    made = algorithm(second_order="forward-over-reverse")
    with pytest.raises(Unsupported, match="forward-over-reverse|graphs"):
        ENGINES.get(engine).build(made)(*point())


@pytest.mark.parametrize("kept_steps", [0, 1])
def test_native_goes_forward_over_reverse(kept_steps):
    made = algorithm(second_order="forward-over-reverse", kept_steps=kept_steps)
    assert relative_error(direction(made, "native"), direction(algorithm())) < 1e-11


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_memory_does_not_grow_with_inner_steps_of_which_few_are_kept(engine):
    peak = partial(peak_of, engine, second_order="forward-over-reverse")
    assert (peak(10) - peak(5)) / 5 == pytest.approx(PARAMETER_BYTES, rel=0.05)
    assert peak(20, kept_steps=3) == peak(10, kept_steps=3) < peak_of(engine, 10) / 3


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 100])
@pytest.mark.parametrize("kept", [1, 2, 3, 5, 10])
def test_no_step_is_computed_more_often_than_the_best_schedule_allows(steps, kept):
    """States are numbers, and each one is its step: counted on the way back."""
    computed = Counter()

    def advance(state, given, step):
        assert int(state) == step
        computed[step] += 1
        return state + 1.0

    def pull_back(state, given, step, cotangent, wanted):
        assert int(state) == step == left.pop()
        return [cotangent[0] * given[0]], [cotangent[0] * (state + 1) if wanted[0] else None]

    left = list(range(steps))
    factor, start = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.0, 0.0))
    end_of(advance, pull_back, start, [factor], steps, kept).backward()
    assert not left
    assert float(start.grad) == 2.0**steps
    forward = 1  # each step was computed once on the way there
    assert max(computed.values()) - forward <= most_computations(steps, kept)
    if kept >= steps:
        assert sum(computed.values()) == steps + steps - 1


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_checkpointing_keeps_the_adapted_parameters_of_each_step_alone(engine):
    """Without it, all that the second derivative needs of each step is kept."""
    peak = partial(peak_of, engine)
    kept, recomputed = peak(20), peak(20, checkpoint=True)
    assert recomputed < kept / 2
    per_step = (recomputed - peak(10, checkpoint=True)) / 10
    assert per_step == pytest.approx(PARAMETER_BYTES, rel=0.05)
