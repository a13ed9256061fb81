import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.maml import MAML
from metabench.correctness.gate import relative_error
from metabench.engines import loop
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.outer import Outer
from metabench.engines.peers import jax as peer
from metabench.errors import Unsupported
from metabench.extras import INSTALL
from metabench.models.base import MODELS
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, cast, flat
from problems import SMOOTH, image_episodes, perturbed, points

HOW = INSTALL["jax"]
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason=f"no jax: {HOW}")
LEARNERS = {
    "small": Learner(MLP(2, 1, 8, 1), "regression"),
    "mlp-40x2": Learner(MODELS.get("mlp-40x2")((2,), 1), "regression"),
    "images": Learner(MODELS.get("mlp-40x2")((1, 28, 28), 5), "classification"),
    **{
        name: Learner(MODELS.get(name)((1, 28, 28), 5), "classification")
        for name in ("conv4-16", "conv4-16-maxpool", "conv4-16-nonorm", "conv4-64-halfpool", "conv2-8-maxpool")
    },
}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    if find_spec("jax"):
        import jax

        jax.config.update("jax_disable_most_optimizations", True)
    yield
    if find_spec("jax"):
        jax.config.update("jax_disable_most_optimizations", False)


def problem(algorithm, model, steps, **options):
    """An algorithm, perturbed meta-parameters and an episode batch, the last two in float64."""
    learner = LEARNERS[model]
    if learner.kind == "classification":
        made, episodes = ALGORITHMS.get(algorithm)(learner, 0.4, steps, **options), image_episodes(2, 5, 1, query=2)
    else:
        # Seven query examples for four support examples: minibatches of Reptile end one pass and begin the next.
        (sx, sy), query, classes = points(3, examples=7)
        made = ALGORITHMS.get(algorithm)(learner, 0.01, steps, **options)
        episodes = Task(Batch(sx[:, :4], sy[:, :4]), query, classes)
    return made, perturbed(made, 0.05), episodes


def assert_agrees(engine, algorithm, model, steps, **options):
    made, meta, episodes = problem(algorithm, model, steps, **options)
    before = flat(meta)
    truth, truth_metrics = loop.build(made)(meta, episodes)
    direction, metrics = ENGINES.get(engine).build(made)(meta, episodes)
    assert list(direction) == list(truth)
    assert all(d.dtype == torch.float64 and d.shape == meta[name].shape for name, d in direction.items())
    assert relative_error(direction, truth) < 1e-10
    assert metrics.keys() == truth_metrics.keys()
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-10)
    assert torch.equal(flat(meta), before)
    return direction


@pytest.mark.parametrize(("model", "steps"), [("mlp-40x2", 1), ("small", 5)])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile", "anil", "meta-sgd"])
@needs_jax
def test_directions_of_perceptrons_are_those_of_loop(algorithm, model, steps):
    assert_agrees("jax", algorithm, model, steps)


@pytest.mark.parametrize(
    ("engine", "algorithm", "model", "steps"),
    [
        ("jax", "maml", "conv4-16-maxpool", 1),
        ("jax", "maml", "conv4-16-nonorm", 1),
        ("jax", "fomaml", "conv4-16", 1),
        ("jax", "fomaml", "images", 2),
        ("jax", "reptile", "conv4-16-nonorm", 5),
        ("jax", "anil", "conv4-64-halfpool", 2),
        ("jax", "maml", "conv2-8-maxpool", 1),
        ("jax-im2col", "anil", "conv4-16-maxpool", 2),
        ("jax-im2col", "meta-sgd", "conv4-16-nonorm", 1),
    ],
)
@needs_jax
def test_directions_of_networks_for_images_are_those_of_loop(engine, algorithm, model, steps):
    assert_agrees(engine, algorithm, model, steps)


@needs_jax
def test_first_order_agrees_with_loop_and_is_not_the_second():
    first = assert_agrees("jax", "meta-sgd", "small", 2, first_order=True)
    second, _ = loop.build(problem("meta-sgd", "small", 2)[0])(*problem("meta-sgd", "small", 2)[1:])
    assert relative_error(first, second) > 1e-3


@pytest.mark.parametrize(
    "outer",
    [Outer("adam", 0.1, "linear", 4, warmup=1, clip=0.5, epsilon=0.01), Outer("sgd", 0.2, "linear", 4, clip=0.5)],
    ids=lambda outer: outer.optimizer,
)
@needs_jax
def test_iterations_are_those_of_torchs_optimiser_and_compiled_once(outer, monkeypatch):
    from metabench.engines.peers.jax.functions import Functions

    traced = []
    direction = Functions.direction
    monkeypatch.setattr(Functions, "direction", lambda *args: (traced.append(1), direction(*args))[1])
    made, meta, episodes = problem("maml", "small", 1)
    mine, truth = ENGINES.get("jax").start(made, meta, outer), Stepwise(loop.build(made), meta, outer)
    taken = mine.take(episodes)
    for _ in range(3):
        losses = [float(mine.run(taken)["loss"]), float(truth.run(episodes)["loss"])]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
        assert relative_error(mine.meta, truth.meta) < 1e-10
    assert relative_error(mine.meta, meta) > 1e-2
    assert len(traced) == 1
    again = ENGINES.get("jax").start(made, meta, outer)
    again.run(again.take(episodes))
    again.wait()
    assert len(traced) == 1  # the gate, the clock and the memory pass start one each


@needs_jax
def test_float32_after_float64_stays_float32():
    made, meta, episodes = problem("maml", "small", 1)
    outer = Outer("adam", 0.1, "none", 1)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        point, batch = {name: p.to(dtype) for name, p in meta.items()}, cast(episodes, torch.zeros((), dtype=dtype))
        mine, truth = ENGINES.get("jax").start(made, point, outer), Stepwise(loop.build(made), point, outer)
        loss = mine.run(mine.take(batch))["loss"]
        arrays = [loss, *mine.arrays.values(), *mine.moments.mean.values(), *mine.moments.square.values()]
        assert {str(array.dtype) for array in arrays} == {str(dtype).removeprefix("torch.")}
        assert all(p.dtype == dtype for p in mine.meta.values())
        truth.run(batch)
        assert relative_error(mine.meta, truth.meta) < tolerance


@needs_jax
def test_meta_parameters_cross_over_and_back_by_copy():
    made, meta, _ = problem("meta-sgd", "conv4-64-halfpool", 1)
    mine = ENGINES.get("jax").start(made, meta, Outer("sgd", 1.0, "none", 1))
    assert mine.arrays["rate.conv2.weight"].shape == (3, 3, 64, 64)
    before = {name: p.clone() for name, p in meta.items()}
    for p in [*meta.values(), *mine.meta.values()]:
        p.zero_()
    assert all(torch.equal(p, before[name]) and p.is_contiguous() for name, p in mine.meta.items())
    mine.meta = meta
    assert not flat(mine.meta).any()


@pytest.mark.parametrize(
    ("algorithm", "model", "options", "reason"),
    [
        ("meta-curvature", "small", {}, "MetaCurvature is not written in JAX here"),
        ("maml", "small", {"inner_optimizer": "momentum"}, "the inner optimiser momentum is not written in JAX here"),
        ("maml", "small", {"checkpoint": True}, "XLA takes no less memory on a processor: use loop, vmap or compile"),
    ],
)
def test_what_is_not_carried_is_refused(algorithm, model, options, reason):
    for engine in ("jax", "jax-im2col"):
        with pytest.raises(Unsupported, match=reason):
            ENGINES.get(engine).build(problem(algorithm, model, 1, **options)[0])


def test_subclasses_of_what_is_carried_are_refused():
    @dataclass(frozen=True)
    class Other(MAML):
        pass

    with pytest.raises(Unsupported, match="Other is not written in JAX here"):
        ENGINES.get("jax").build(Other(LEARNERS["small"], 0.1, 1))
    with pytest.raises(Unsupported, match="the network Smooth is not written in JAX here: mlp and conv4 are"):
        ENGINES.get("jax").build(MAML(SMOOTH, 0.1, 1))


def test_jax_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(Unsupported) as caught:
        ENGINES.get("jax").build(MAML(LEARNERS["small"], 0.1, 1))
    assert str(caught.value) == f"jax is not installed: {HOW}"


def test_engines_are_listed_without_importing_jax():
    code = (
        "import sys; from metabench.engines.base import ENGINES; assert {'jax', 'jax-im2col'} <= set(ENGINES.names()); "
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_jax
def test_xla_has_torchs_number_of_threads_and_the_environment_is_left_as_it_was(monkeypatch):
    import jax

    monkeypatch.setenv("NPROC", "7")
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    seen = []
    monkeypatch.setattr(jax, "devices", lambda *_: seen.append((os.environ["NPROC"], os.environ["PJRT_NPROC"])))
    assert peer.threads_of_xla.__wrapped__() == 3
    assert seen == [("3", "3")]
    assert os.environ["NPROC"] == "7"
    assert "PJRT_NPROC" not in os.environ


@needs_jax
def test_threads_and_devices_that_xla_does_not_have(monkeypatch):
    import jax

    with pytest.raises(Unsupported, match="on processors and on CUDA devices here, not on meta"):
        peer.device_like(torch.device("meta"))
    if jax.default_backend() == "cpu":
        with pytest.raises(Unsupported, match="jax has no device for cuda: "):
            peer.device_like(torch.device("cuda"))
    threads = peer.threads_of_xla()
    assert peer.device_like(torch.device("cpu")).platform == "cpu"
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    with pytest.raises(Unsupported, match=f"with {threads} threads in this process and cannot change to {threads + 1}"):
        peer.device_like(torch.device("cpu"))


def test_engines_name_the_library_that_does_the_work():
    assert all(ENGINES.get(name).library == "jax" for name in ("jax", "jax-im2col"))


class CountingDevice:
    """Stands in for a device of JAX's that counts, as its GPUs do and its processors do not."""

    def __init__(self, **counts):
        self.counts = counts

    def memory_stats(self):
        return self.counts


@needs_jax
def test_the_memory_of_a_gpu_is_read_from_jaxs_own_counts(monkeypatch):
    from metabench.engines.peers.jax.allocator import DeviceAllocator

    device = CountingDevice(bytes_in_use=5, peak_bytes_in_use=9, bytes_limit=100, peak_pool_bytes=32)
    monkeypatch.setattr(peer, "device_like", lambda _: device)
    found = peer.allocator_on(torch.device("cuda"))
    assert isinstance(found, DeviceAllocator)
    assert (found.in_use(), found.peak(), found.limit(), found.reserved()) == (5, 9, 100, 32)
    bare = DeviceAllocator(CountingDevice(bytes_in_use=5, peak_bytes_in_use=9))
    assert (bare.limit(), bare.reserved()) == (None, None)


@needs_jax
def test_a_processor_has_no_counts_and_gives_no_allocator():
    peer.threads_of_xla()
    assert peer.allocator_on(torch.device("cpu")) is None
    assert all(ENGINES.get(name).foreign is peer.allocator_on for name in ("jax", "jax-im2col"))


@needs_jax
def test_a_block_is_held_until_it_is_given_back(monkeypatch):
    import jax

    from metabench.engines.peers.jax import allocator

    made = []

    def zeros(*arguments, **options):
        made.append(original(*arguments, **options))
        return made[-1]

    original = allocator.jnp.zeros
    monkeypatch.setattr(allocator.jnp, "zeros", zeros)
    release = allocator.DeviceAllocator(jax.devices("cpu")[0]).hold(1001)
    (block,) = made
    assert 1001 <= block.nbytes < 1005 and not block.is_deleted()
    release()
    assert block.is_deleted()


@needs_jax
def test_no_room_for_a_block_is_a_memory_error(monkeypatch):
    import jax

    from metabench.engines.peers.jax import allocator

    def refuse(*arguments, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(allocator.jnp, "zeros", refuse)
    with pytest.raises(MemoryError, match="RESOURCE_EXHAUSTED"):
        allocator.DeviceAllocator(jax.devices("cpu")[0]).hold(1)
