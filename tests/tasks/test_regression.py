"""Regression tasks from a function: any number of inputs and outputs, the contract, and refusals in a sentence."""

import hashlib

import pytest
import torch

from metabench.correctness.verification import comply_tasks
from metabench.errors import Unsupported, UserError
from metabench.sweep.spec import parse_sweep
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource, accepted
from metabench.tasks.regression import regression


@regression(inputs=2, outputs=3)
def surface(tasks, points, generator):
    slope = torch.randn(tasks, 2, 3, generator=generator)
    x = torch.rand(tasks, points, 2, generator=generator)
    return x, torch.sin(x @ slope)


@pytest.fixture
def named(monkeypatch):
    TASKS.names()
    monkeypatch.setitem(TASKS._entries, "surface", surface)
    return "surface"


def drawn(source, split="train", tasks=4, seed=0, **rest):
    return source.build(EpisodeShape(1, 5, 7), None).sample(split, tasks, torch.Generator().manual_seed(seed), **rest)


def test_points_are_those_of_the_function_split_into_support_and_query():
    x, y = torch.rand(0), torch.rand(0)
    generator = torch.Generator().manual_seed(3)
    slope = torch.randn(4, 2, 3, generator=generator)
    x = torch.rand(4, 12, 2, generator=generator)
    y = torch.sin(x @ slope)
    found = drawn(surface, seed=3)
    assert torch.equal(torch.cat((found.support.x, found.query.x), 1), x)
    assert torch.equal(torch.cat((found.support.y, found.query.y), 1), y)
    assert found.support.x.shape == (4, 5, 2) and found.query.y.shape == (4, 7, 3)
    assert torch.equal(found.classes, torch.zeros(4, 1, dtype=torch.int64))


def test_it_keeps_the_contract_of_task_distributions(named):
    (found,) = comply_tasks([named])
    assert found.word == "ok", [finding for finding in found.findings if finding.word == "incorrect"]
    kept = {finding.clause for finding in found.findings if finding.word == "ok"}
    assert {"shapes", "seeded", "share", "devices", "description"} <= kept


def test_it_is_described_by_its_text():
    tasks = surface.build(EpisodeShape(1, 5, 7), None)
    assert (tasks.kind, tasks.input_shape, tasks.outputs, tasks.training_classes) == ("regression", (2,), 3, 0)
    assert surface.input_shape == (2,)
    text = tasks.provenance.details["definition"]
    assert text.startswith("@regression(inputs=2, outputs=3)\ndef surface(") and text.endswith("torch.sin(x @ slope)")
    expected = hashlib.sha256(f"2 inputs, 3 outputs\n{text}".encode()).hexdigest()
    assert (tasks.provenance.name, tasks.provenance.content_hash) == ("surface", expected)
    assert regression(2, 3, name="hills")(tasks.function).build(EpisodeShape(1, 5, 7), None).provenance.name == "hills"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda x, y: x, "'<lambda>' gives an object of type Tensor, where two tensors x, y are due"),
        (lambda x, y: (x, y, y), "'<lambda>' gives a tuple of 3, where two tensors x, y are due"),
        (
            lambda x, y: (x, y[..., 0]),
            "y of '<lambda>' has shape (4, 12), where (tasks, points, outputs) = (4, 12, 3) is due",
        ),
        (
            lambda x, y: (x[..., :1], y),
            "x of '<lambda>' has shape (4, 12, 1), where (tasks, points, inputs) = (4, 12, 2) is due",
        ),
        (
            lambda x, y: (x.numpy(), y),
            "x of '<lambda>' is an object of type ndarray, "
            "where a tensor of shape (tasks, points, inputs) = (4, 12, 2) is due",
        ),
    ],
)
def test_what_a_function_must_give_is_said(given, sentence):
    source = regression(2, 3, name="<lambda>")(
        lambda tasks, points, generator: given(torch.rand(tasks, points, 2), torch.rand(tasks, points, 3))
    )
    with pytest.raises(UserError) as caught:
        drawn(source)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("counts", [(0, 1), (1, -1), (1.5, 1), (True, 1)])
def test_it_needs_an_input_and_an_output(counts):
    with pytest.raises(UserError, match="takes one input and one output or more"):
        regression(*counts)


def test_it_needs_a_function_and_its_text():
    with pytest.raises(UserError, match="makes tasks of a function"):
        regression()(3)
    scope = {}
    exec("def f(tasks, points, generator): return None", scope)
    with pytest.raises(UserError, match="define it in a file or in a cell of a notebook"):
        _ = regression()(scope["f"]).build(EpisodeShape(1, 5, 7), None).provenance


def test_it_has_one_way():
    with pytest.raises(Unsupported, match="surface is a regression task: ways must be 1, not 5"):
        surface.build(EpisodeShape(5, 1, 1), None)


def test_a_sweep_fills_in_what_sinusoids_take(named):
    sweep = parse_sweep("test", {"grid": [{"task": named, "algorithm": "maml"}]}, "", 2)
    (cell,) = sweep.cells
    assert (cell.model, cell.inner_lr, cell.meta_batch, cell.shots) == ("mlp-40x2", 0.01, 25, 10)
    assert "(surface, which takes those of sinusoid)" in sweep.filled_in[0]


class Plain:
    kind = "regression"
    input_shape = (2,)

    def __init__(self, shape):
        self.shape = shape


def of_two(shape, data_dir):
    return shape, data_dir


def keyword(shape, data_dir=None):
    return shape, data_dir


def test_what_a_name_by_path_may_stand_for():
    assert accepted(surface) is surface
    found = accepted(Plain)
    assert (found.kind, found.input_shape, found.build("shape", "data").shape) == ("regression", (2,), "shape")
    for function in (of_two, keyword):
        function.kind = "classification"
        made = accepted(function)
        assert (made.kind, made.input_shape, made.build("shape", "data")) == ("classification", (), ("shape", "data"))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (3, "'int' is no task distribution: it must be a class or function (shape, data_dir) with a kind, or what"),
        (lambda shape: shape, "'<lambda>' must say its kind of task: give it kind = \"classification\" or kind ="),
        (type("Odd", (), {"kind": "ranking"}), "'Odd' must say its kind of task"),
    ],
)
def test_what_it_may_not_stand_for(found, sentence):
    with pytest.raises(UserError) as caught:
        accepted(found)
    assert str(caught.value).startswith(sentence)


def test_a_task_source_is_found_in_the_registry(named):
    assert isinstance(TASKS.get(named), TaskSource)
