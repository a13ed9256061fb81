"""Without a GPU: streams, captures and replays are stood in for, by a graph that does again what it saw being done."""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.gate import relative_error
from metabench.engines import capture, loop
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from problems import BOTH, SMOOTH, perturbed, points

ALLOCATED, CAPTURED = 1000, 700
"""Bytes: before a capture, and at its peak above that."""
WHICH = ["maml", "fomaml", "reptile", "anil", "meta-sgd"]


class Recorder(TorchDispatchMode):
    """What a capture is: operations on tensors that stay where they are, none of which has happened afterwards."""

    def __init__(self):
        super().__init__()
        self.operations, self.made, self.before = [], set(), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        for tensor in given:
            if id(tensor) not in self.made:
                self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        result = function(*args, **kwargs)
        places = {tensor.untyped_storage().data_ptr() for tensor in given}
        new = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.made |= {id(tensor) for tensor in new if all(tensor is not one for one in given)}
        fresh = all(tensor.untyped_storage().data_ptr() not in places for tensor in new)
        self.operations.append((function, args, kwargs, new, fresh))
        return result

    def undo(self):
        for tensor, value in self.before.values():
            tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, made, fresh in self.operations:
            again = [t for t in tree_leaves(function(*args, **kwargs)) if isinstance(t, torch.Tensor)]
            if fresh:  # what shares its memory with an argument has changed with it
                for tensor, value in zip(made, again, strict=True):
                    tensor.copy_(value)


@pytest.fixture
def log(monkeypatch):
    """The calls that were made of CUDA's streams and graphs, in order."""
    seen = []

    class Stream:
        def wait_stream(self, other):
            seen.append("wait for the other stream")

    class Graph:
        def replay(self):
            seen.append("replay")
            self.recorder.replay()

    @contextmanager
    def stream(which):
        seen.append("warm-up")
        yield

    @contextmanager
    def graph(which, stream):
        assert isinstance(stream, Stream)
        seen.append("capture")
        which.recorder = Recorder()
        with which.recorder:
            yield
        which.recorder.undo()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: ALLOCATED)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: ALLOCATED + CAPTURED)
    monkeypatch.setattr(capture, "need_cuda", lambda device: None)
    return seen


def half(episodes):
    """Other tasks of the same shapes."""
    (sx, sy), (qx, qy), classes = episodes
    return type(episodes)(type(episodes.support)(sx / 2, sy), type(episodes.query)(qx / 2, qy), classes)


@pytest.mark.parametrize("name", WHICH)
@BOTH
def test_replayed_directions_are_those_of_loop(log, name, learner, episodes):
    made = ALGORITHMS.get(name)(learner, 0.05, 2)
    meta = perturbed(made)
    before = {key: p.clone() for key, p in meta.items()}
    step = ENGINES.get("cudagraph").build(made)
    for scale, tasks in ((1.0, episodes), (0.5, half(episodes))):  # other weights and tasks through the same graph
        point = {key: scale * p for key, p in meta.items()}
        direction, metrics = step(point, tasks)
        truth, truth_metrics = loop.build(made)(point, tasks)
        assert relative_error(direction, truth) < 1e-10
        assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-10)
    assert all(torch.equal(meta[key], before[key]) for key in meta)
    assert log == [
        *("wait for the other stream", "warm-up", "wait for the other stream", "capture"),
        *("replay", "replay"),
    ]


@pytest.mark.parametrize(
    "outer",
    [
        Outer("adam", 0.1, "linear", 4, warmup=1, clip=0.5, epsilon=0.01),
        Outer("adam", 0.01, "cosine", 4),
        Outer("sgd", 0.2, "none", 4, clip=0.1),
    ],
    ids=["adam, linear, warm-up, clip", "adam, cosine", "sgd, clip"],
)
def test_iterations_are_those_of_a_step_and_torchs_optimiser(log, outer):
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    meta = perturbed(made)
    mine = ENGINES.get("cudagraph").start(made, meta, outer)
    plain = Stepwise(loop.build(made), meta, outer)
    seen = []
    for tasks in (points(), half(points()), points(), half(points())):
        losses = [each.run(each.take(tasks))["loss"] for each in (mine, plain)]
        seen.append(losses[0])
        assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-10)
        for name in meta:
            torch.testing.assert_close(mine.meta[name], plain.meta[name], rtol=1e-10, atol=1e-12)
    assert relative_error(mine.meta, meta) > 1e-2
    assert len({float(loss) for loss in seen}) == 4, "a later replay wrote to an earlier one's loss"
    assert log.count("capture") == 1 and log.count("replay") == 4


def test_each_shape_of_episodes_is_captured_once(log):
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    iteration = ENGINES.get("cudagraph").start(made, perturbed(made), Outer("adam", 0.1, "none", 4))
    for tasks in (2, 3, 2, 3, 3):
        iteration.run(iteration.take(points(tasks)))
    assert log.count("capture") == 2 and log.count("replay") == 5


def test_what_a_graph_keeps_is_counted(log):
    """What was allocated at the peak of each capture."""
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    iteration = ENGINES.get("cudagraph").start(made, perturbed(made), Outer("adam", 0.1, "none", 4))
    assert iteration.held == 0
    for tasks in (2, 3, 2):
        iteration.run(iteration.take(points(tasks)))
    assert iteration.held == 2 * CAPTURED


def test_waiting_synchronises(log, monkeypatch):
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    iteration = ENGINES.get("cudagraph").start(made, perturbed(made), Outer("adam", 0.1, "none", 4))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("synchronise"))
    iteration.device = torch.device("cuda")
    iteration.wait()
    assert log == ["synchronise"]


def test_a_processor_is_refused():
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    with pytest.raises(Unsupported, match="cudagraph is for CUDA devices, not for 'cpu': use native or compile"):
        ENGINES.get("cudagraph").build(made)(perturbed(made), points())


@pytest.mark.parametrize(
    ("raised", "told", "sentence"),
    [
        (
            RuntimeError("operation not permitted when stream is capturing\nmore"),
            Unsupported,
            "^CUDA cannot capture this meta-iteration: operation not permitted when stream is capturing$",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "^CUDA out of memory$"),
    ],
    ids=["cannot be captured", "memory runs out"],
)
def test_what_goes_wrong_in_a_capture_is_told(log, monkeypatch, raised, told, sentence):
    @contextmanager
    def graph(which, stream):
        yield
        raise raised

    monkeypatch.setattr(torch.cuda, "graph", graph)
    made = ALGORITHMS.get("maml")(SMOOTH, 0.05, 2)
    with pytest.raises(told, match=sentence):
        ENGINES.get("cudagraph").build(made)(perturbed(made), points())
