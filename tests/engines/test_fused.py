import re
import shutil
from itertools import combinations

import pytest
import torch

import fused_on_a_processor as processor
from convolutional import Net
from convolutional import problem as problem_of
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import nudge, relative_error
from metabench.engines import fused, loop
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.fused import device, source
from metabench.engines.fused.kernel import Kernel
from metabench.engines.fused.memory import Lifetime, planned
from metabench.engines.native import direction_of
from metabench.engines.native.value import Value, row_major
from metabench.engines.native.writing import filled
from metabench.engines.outer import Outer
from metabench.engines.tracing import stage_of
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import cast, tensors_of

needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


def problem(algorithm="maml", task="sinusoid", dtype=torch.float64, tasks=3, steps=1, width=8, **fields):
    shape = EpisodeShape(1, 4, 5) if task == "sinusoid" else EpisodeShape(3, 2, 1)
    distribution = TASKS.get(task).build(shape, None)
    model = MLP(1, 1, width, 2) if task == "sinusoid" else MLP(784, 3, 5, 1)
    learner = Learner(model, distribution.kind, distribution.training_classes)
    made = ALGORITHMS.get(algorithm)(learner, 0.02, steps, **fields)
    meta = {n: p.to(dtype) for n, p in nudge(made.init(torch.Generator()), torch.Generator().manual_seed(2)).items()}
    episodes = distribution.sample("train", tasks, torch.Generator().manual_seed(1))
    return made, meta, cast(episodes, next(iter(meta.values())))


def kernel_of(made, meta, episodes, threads=256):
    """The program for a direction, and its places in shared memory."""
    task = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors_of(episodes))
    graph, inputs = direction_of(stage_of(made)[0], tuple((name, p.shape) for name, p in meta.items()), task)
    kernel = Kernel(threads)
    filled(graph, kernel, [Value(f"in{i}", tuple(t.shape), row_major(t.shape)) for i, t in enumerate(inputs)])
    return kernel, [source.Input(f"in{i}", "", tuple(t.shape)) for i, t in enumerate(inputs)]


@needs_compiler
@pytest.mark.parametrize(
    ("algorithm", "task", "threads", "blocks"),
    [("maml", "sinusoid", 1, 1), ("maml", "sinusoid", 4, 2), ("meta-sgd", "sinusoid", 4, 1), ("maml", "glyphs", 4, 2)],
    ids=["one thread", "two blocks of four threads", "meta-sgd", "images"],
)
def test_the_direction_is_that_of_loop(monkeypatch, algorithm, task, threads, blocks):
    """Threads of the system wait at real barriers: without one, numbers are read before they are there."""
    processor.in_its_place(monkeypatch, threads, blocks)
    made, meta, episodes = problem(algorithm, task, steps=2)
    before = {name: p.clone() for name, p in meta.items()}
    direction, metrics = ENGINES.get("fused").build(made)(meta, episodes)
    truth, truth_metrics = loop.build(made)(meta, episodes)
    assert relative_error(direction, truth) < 1e-12
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-12)
    assert all(torch.equal(meta[name], before[name]) for name in meta)


@needs_compiler
def test_numbers_that_a_training_changes_are_data(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 2)
    sources = []
    for share in (0.7, 0.2):
        made, meta, episodes = problem("maml++", steps=2, multi_step=share)
        direction, _ = ENGINES.get("fused").build(made)(meta, episodes)
        assert relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-12
        sources.append(processor.source_for(made, meta, episodes).text)
    assert sources[0] == sources[1]


@needs_compiler
def test_long_sums_and_products_that_threads_share(monkeypatch):
    """Layers wide enough that a product goes to four threads a tile, and a sum to several."""
    processor.in_its_place(monkeypatch, 8, 1)
    made, meta, episodes = problem(width=20)
    text = processor.source_for(made, meta, episodes).text
    assert re.search(r"product<5, 20, 20, .*, 4, 4, true, true>", text) and "over_lanes<4>" in text
    direction, _ = ENGINES.get("fused").build(made)(meta, episodes)
    assert relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-12


@needs_compiler
def test_what_does_not_fit_into_shared_memory_lies_elsewhere(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 2, capacity=2000 * 8 // 8)
    made, meta, episodes = problem(width=20)
    found = processor.source_for(made, meta, episodes)
    assert found.spilled > 0
    assert found.shared <= 250
    direction, _ = ENGINES.get("fused").build(made)(meta, episodes)
    assert relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-12


@needs_compiler
@pytest.mark.parametrize(
    "outer",
    [Outer("adam", 0.1, "linear", 4, warmup=1, clip=0.5, epsilon=0.01), Outer("sgd", 0.2, "none", 4)],
    ids=lambda outer: outer.optimizer,
)
def test_iterations_are_those_of_a_step_and_torchs_optimiser(monkeypatch, outer):
    processor.in_its_place(monkeypatch, 4, 2)
    made, meta, episodes = problem(tasks=5)
    mine, plain = ENGINES.get("fused").start(made, meta, outer), Stepwise(loop.build(made), meta, outer)
    seen = []
    for _ in range(3):
        losses = [each.run(each.take(episodes))["loss"] for each in (mine, plain)]
        assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-10)
        seen.append((losses[0], float(losses[0])))
        for name in meta:
            torch.testing.assert_close(mine.meta[name], plain.meta[name], rtol=1e-9, atol=1e-12)
    assert [float(loss) for loss, _ in seen] == [then for _, then in seen]  # no later one is written over them
    assert len({then for _, then in seen}) == 3
    assert mine.outer_state.updates == 3
    assert relative_error(mine.meta, meta) > 1e-2


@needs_compiler
def test_float32_is_float32_and_equal_calls_give_equal_numbers(monkeypatch):
    processor.in_its_place(monkeypatch, 4, 2)
    made, meta, episodes = problem(dtype=torch.float32)
    step = ENGINES.get("fused").build(made)
    direction, _ = step(meta, episodes)
    assert {d.dtype for d in direction.values()} == {torch.float32}
    assert 1e-9 < relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-3
    again, _ = step(meta, episodes)
    assert all(torch.equal(direction[name], again[name]) for name in meta)


@pytest.mark.parametrize(
    ("given", "capacity", "levels"),
    [
        (problem(steps=2, width=20), 1 << 20, 20),
        (problem(steps=2, width=20), 300, 20),
        (problem_of(Conv4((1, 8, 8), 3, 4, True, True, blocks=2), (1, 8, 8)), 1 << 20, 60),
        (problem_of(Conv4((1, 8, 8), 3, 4, True, True, blocks=2), (1, 8, 8)), 2000, 60),
    ],
    ids=["all shared", "some elsewhere", "images", "images, some elsewhere"],
)
def test_statements_between_two_barriers_do_not_touch_each_others_numbers(given, capacity, levels):
    kernel, inputs = kernel_of(*given)
    meta = len(given[1])
    plan = source.plan_of(kernel, inputs[:meta], inputs[meta:], capacity)
    assert bool(plan.spilled) == (capacity < 1 << 20)
    assert kernel.levels >= levels
    extents = kernel.sizes | {each.name: each.size for each in inputs}

    def cells(statement):
        """Places that it reads and writes: buffers by name in its text."""
        text = statement.text(kernel.fetched)
        written = set(re.findall(r"\b(b\d+)\[(?:[^\[\]]|\[[^\]]*\])*\] = ", text))
        names = set(re.findall(r"\b(b\d+|in\d+)\[", text))

        def ranges(names):
            return [(plan.places[n][0], plan.places[n][1], plan.places[n][1] + extents[n]) for n in names]

        return ranges(names), ranges(written)

    def clash(some, others):
        return any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in some for b in others)

    by_level = {}
    for statement in kernel.statements:
        by_level.setdefault(statement.level, []).append(cells(statement))
    assert max(map(len, by_level.values())) > 2
    for level in by_level.values():
        for (touched, written), (others, others_written) in combinations(level, 2):
            assert not clash(written, others) and not clash(others_written, touched)


def test_a_layer_is_one_statement():
    """Bias and ReLU stand in the loop of the product, and the step of descent in that of the gradient."""
    kernel, _ = kernel_of(*problem(width=20))
    texts = [statement.text(kernel.fetched) for statement in kernel.statements]
    layer = next(text for text in texts if text.startswith("product<4, 20, 20"))
    assert "where(le(" in layer
    assert any(text.startswith("product<20, 20, 4") and "T(0.02)" in text for text in texts)
    assert kernel.levels < 20


def test_more_inner_steps_use_the_same_functions():
    def functions(steps):
        return source_text(steps).count("\nAPART"), source_text(steps).count("\nDEVICE void s")

    def source_text(steps):
        made, meta, episodes = problem(steps=steps, width=20)
        task = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors_of(episodes))
        params = tuple((name, p.shape) for name, p in meta.items())
        return fused._source_for(stage_of(made)[0], params, task, torch.float32, 256, 1 << 16).text

    assert functions(3) == functions(4)


def test_places_are_used_again_by_lifetime():
    lives = {"a": Lifetime(8, 0, 1), "b": Lifetime(5, 1, 2), "c": Lifetime(8, 2, 3), "d": Lifetime(3, 3, 9)}
    plan = planned(lives, 100)
    assert plan.places == {"a": ("shared", 0), "c": ("shared", 0), "b": ("shared", 8), "d": ("shared", 8)}
    assert (plan.shared, plan.spilled) == (16, 0)
    small = planned(lives, 12)
    assert small.places["d"][0] == "spill"  # of the longest life
    assert 0 < small.shared <= 12 and small.spilled >= 3


def test_what_it_cannot_carry_is_said():
    made, meta, episodes = problem()
    with pytest.raises(Unsupported, match="fused is for CUDA devices, not for 'cpu'"):
        ENGINES.get("fused").build(made)(meta, episodes)
    with pytest.raises(Unsupported, match="checkpoint has no say"):
        ENGINES.get("fused").build(problem(checkpoint=True)[0])
    with pytest.raises(Unsupported, match=r"not in torch\.bfloat16"):
        ENGINES.get("fused").start(made, {n: p.bfloat16() for n, p in meta.items()}, Outer("sgd", 1.0, "none", 1))


def nvrtc_is_here():
    try:
        return bool(device._compiler())
    except Unsupported:
        return False


@pytest.mark.skipif(not nvrtc_is_here(), reason="NVIDIA's compiler is not installed")
@pytest.mark.parametrize(
    "given",
    [problem(dtype=torch.float32, width=20), problem_of(Net(8, stride=2, pool=2), algorithm="fomaml")],
    ids=["dense", "images"],
)
def test_nvidias_compiler_takes_the_source(monkeypatch, given):
    monkeypatch.setattr(fused, "most_shared", lambda device: 227 * 1024)
    text = processor.source_for(*given).text
    assert device.machine_code(text, "sm_90").startswith(b"\x7fELF")
    with pytest.raises(Unsupported, match=r"does not take fused's code: .*error"):
        device.machine_code(text + "nonsense", "sm_90")
