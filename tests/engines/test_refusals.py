"""What torch cannot do on an engine ends a cell in a sentence of ours; an unknown error keeps torch's words."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.engines.base import ENGINES
from metabench.engines.refusals import refusal
from metabench.sweep.worker import outcome
from metabench.tensors import Batch, Task

LSTM = nn.LSTM(4, 6, batch_first=True).double()
NORM, NARROW_NORM = nn.BatchNorm1d(6).double(), nn.BatchNorm1d(6)
RULES = "has no batching rule for|cannot write the numbers of each task to a tensor that all tasks share"


def attend(h, x):
    q = x[:, None, None, :] * h.sum()
    q = q.expand(-1, 1, 3, -1)
    return h + F.scaled_dot_product_attention(q, q, q).sum()


def write(h, x):
    into = torch.zeros(h.shape, dtype=h.dtype)
    into.add_(h)
    return into


CANNOT: dict[str, tuple[Callable, str, str]] = {
    "dropout": (lambda h, x: F.dropout(h), "vmap draws no random numbers", "leave out dropout and noise"),
    "noise": (lambda h, x: h + torch.randn_like(h), "vmap draws no random numbers", "leave out dropout and noise"),
    "lstm": (lambda h, x: h + LSTM(x[:, None])[0][:, -1], f"vmap ({RULES}).*lstm", "use loop"),
    "statistics": (lambda h, x: NORM(h), "running statistics", "track_running_stats=False"),
    "item": (lambda h, x: h * h.sum().item(), "cannot follow what depends on a tensor's numbers", "torch.where"),
    "branch": (lambda h, x: h if h.sum() > 0 else -h, "cannot follow what depends on", "torch.where, or use loop"),
    "mask": (lambda h, x: h + h[h > 0].sum(), "whose shape depends on numbers", "torch.where"),
    "in place": (write, "a tensor that all tasks share .*add_", "write it without in-place operations"),
    "numpy": (lambda h, x: h + torch.from_numpy(h.detach().numpy()), "cannot hand a tensor", "use loop"),
    "checkpoint": (lambda h, x: checkpoint(torch.tanh, h, use_reentrant=False), "torch.utils.checkpoint", "use loop"),
    "attention": (attend, "torch has no second derivative of .*scaled_dot_product", "SDPBackend.MATH"),
    "loss": (lambda h, x: h + F.multi_margin_loss(h, h[:, 0].long() * 0), "no derivative of .*margin", "first order"),
}
"""What a network does, the sentence that it ends in, and the remedy."""


@dataclass(frozen=True)
class Net:
    change: Callable
    outputs: int = 3
    head_names = frozenset({"head.weight", "head.bias"})
    batch_statistics = False

    def init(self, generator):
        shapes = {"a": (6, 4), "head.weight": (3, 6), "head.bias": (3,)}
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def features(self, params, x):
        return self.change(torch.tanh(F.linear(x, params["a"])), x)

    def head(self, params, features):
        return F.linear(features, params["head.weight"], params["head.bias"])


def raised(change, engine, algorithm="maml"):
    """What the gate of an engine would raise."""
    made = ALGORITHMS.get(algorithm)(Learner(Net(change), "classification"), 0.1, 1)
    meta = {name: p.double() for name, p in made.init(torch.Generator().manual_seed(1)).items()}
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batch = Batch(x, torch.arange(3).expand(2, 3))
    with pytest.raises(Exception) as caught:
        ENGINES.get(engine).build(made)(meta, Task(batch, batch, torch.zeros(2, 3, dtype=torch.int64)))
    return caught.value


@pytest.mark.parametrize("name", CANNOT)
def test_what_vmap_cannot_carry_is_unsupported_with_a_remedy(name):
    change, words, remedy = CANNOT[name]
    found = outcome(raised(change, "vmap"), "vmap")
    assert found["status"] == "unsupported"
    assert re.search(words, found["reason"])
    assert remedy in found["reason"] and "\n" not in found["reason"]
    assert "Traceback" in found["traceback"]


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_derivative_that_torch_lacks_is_named_on_every_engine(engine):
    found = outcome(raised(attend, engine), engine)
    assert found["status"] == "unsupported"
    assert "scaled_dot_product" in found["reason"] and "SDPBackend.MATH" in found["reason"]


def test_a_buffer_of_another_precision_is_named():
    reason = outcome(raised(lambda h, x: NARROW_NORM(h), "loop"), "loop")["reason"]
    assert "stays in one precision" in reason and "give buffers and constants the dtype of the input" in reason


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Batching rule not implemented for aten::lstm.input. We could not generate a fallback.",
            "aten::lstm.input: use",
        ),
        (
            "the derivative for '_cudnn_rnn_backward' is not implemented. Double backwards is not supported for CuDNN",
            "no derivative of _cudnn_rnn_backward",
        ),
        (
            "vmap: aten::add_(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args",
            "all tasks share (aten::add_)",
        ),
        ("expected scalar type Double but found Float", "stays in one precision"),
        ("mat1 and mat2 must have the same dtype, but got Double and Float", "stays in one precision"),
        ("One of the differentiated Tensors appears to not have been used in the graph.", "no part in the inner loss"),
    ],
)
def test_messages_of_other_versions_of_torch_are_known(message, words):
    assert words in refusal(RuntimeError(message), "vmap")


@pytest.mark.parametrize(
    "change",
    [
        lambda h, x: h @ torch.ones(5, 6, dtype=h.dtype),
        lambda h, x: h.no_such_thing,
        lambda h, x: 1 // 0,
        lambda h, x: torch.zeros(3, dtype=h.dtype).add_(torch.ones(2, 3, dtype=h.dtype)),
    ],
)
def test_a_mistake_of_a_network_is_a_crash_with_its_words(change):
    error = raised(change, "loop")
    found = outcome(error, "loop")
    assert found["status"] == "crashed"
    assert found["reason"].startswith(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    assert "Traceback" in found["traceback"]


def test_what_a_plug_in_says_is_not_interpreted():
    assert refusal(ValueError("vmap: called random operation"), "vmap") is None


def test_the_cause_is_looked_at():
    error = ValueError("wrapped")
    error.__cause__ = RuntimeError("Batching rule not implemented for aten::lstm.input")
    assert "aten::lstm.input" in refusal(error, "compile")
