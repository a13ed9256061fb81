from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from metabench.tasks import stream as streams
from metabench.tasks.base import ALL, TASKS, DeviceTasks, EpisodeShape
from metabench.tasks.images import ImageTasks
from metabench.tasks.packed import pack
from metabench.tasks.stream import AHEAD, sampled, stream
from metabench.tensors import Batch, Task, task_at, tensors_of

LIKE = torch.zeros((), dtype=torch.float64)


def images():
    pixels = np.random.default_rng(0).integers(0, 256, (162, 20, 28, 28), dtype=np.uint8)
    return ImageTasks(
        pack("noise", "test", pixels, ["a"] * 162, [str(i) for i in range(162)], "s"), EpisodeShape(5, 2, 3)
    )


@dataclass(frozen=True)
class Plain:
    """What a package outside the tree may offer: `sample` alone."""

    shape = EpisodeShape(1, 2, 3)

    def sample(self, split, tasks, generator, share=ALL):
        x = torch.randn(tasks, 5, 1, generator=generator)[share]
        none = torch.zeros(len(x), 1, dtype=torch.int64)
        return Task(Batch(x[:, :2], 2 * x[:, :2]), Batch(x[:, 2:], 2 * x[:, 2:]), none)


DISTRIBUTIONS = {
    "images": images,
    "sinusoid": lambda: TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None),
    "sample alone": Plain,
}


@pytest.fixture(params=DISTRIBUTIONS)
def distribution(request):
    return DISTRIBUTIONS[request.param]()


@pytest.fixture(params=["images", "sinusoid"])
def on_device(request):
    return DISTRIBUTIONS[request.param]()


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def same(one, other):
    return all(map(torch.equal, tensors_of(one), tensors_of(other)))


def test_one_batch_is_that_of_sample_in_the_dtype_asked_for(distribution):
    ours, theirs = seeded(), seeded()
    found = sampled(distribution, "train", 4, ours, torch.zeros(()))
    assert same(found, distribution.sample("train", 4, theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())
    wide = sampled(distribution, "train", 4, seeded(), LIKE)
    assert [tensor.dtype for tensor in wide.support] == [
        LIKE.dtype,
        torch.float64 if wide.support.y.ndim == 3 else torch.int64,
    ]
    torch.testing.assert_close(wide.query.x.float(), found.query.x)


@pytest.mark.parametrize("ahead", [1, 2, 5, 16])
def test_a_stream_gives_the_same_batches_however_far_ahead_it_draws(distribution, ahead):
    generator = seeded()
    plain = [sampled(distribution, "train", 3, generator, LIKE) for _ in range(12)]
    ahead_of_need = stream(distribution, "train", 3, seeded(), LIKE, ahead=ahead)
    assert all(same(ahead_of_need(), batch) for batch in plain)


@pytest.mark.parametrize("ahead", [1, 4])
def test_a_stream_goes_on_where_the_generator_stands(distribution, ahead):
    generator = seeded()
    for _ in range(5):
        distribution.sample("train", 3, generator)
    resumed = stream(distribution, "train", 3, generator, LIKE, ahead=ahead)
    whole = stream(distribution, "train", 3, seeded(), LIKE, ahead=ahead)
    assert all(same(resumed(), batch) for batch in [whole() for _ in range(11)][5:])


@pytest.mark.parametrize("ahead", [1, 4])
def test_processes_that_share_a_stream_have_its_batches_between_them(distribution, ahead):
    whole = stream(distribution, "train", 7, seeded(), LIKE, ahead=ahead)
    shares = (slice(0, 3), slice(3, 7))
    parts = [stream(distribution, "train", 7, seeded(), LIKE, share, ahead=ahead) for share in shares]
    for _ in range(6):
        batch = whole()
        assert all(same(part(), task_at(batch, share)) for part, share in zip(parts, shares, strict=True))


def test_after_the_first_call_each_call_draws_one_batch(on_device, monkeypatch):
    """So a clock that looks at any of them sees what a batch costs, drawing included."""
    drawn = []
    plain = type(on_device).draw

    def counted(self, *arguments):
        drawn.append(None)
        return plain(self, *arguments)

    monkeypatch.setattr(type(on_device), "draw", counted)
    batches = stream(on_device, "train", 3, seeded(), LIKE, ahead=4)
    counts = []
    for _ in range(10):
        batches()
        counts.append(len(drawn))
    assert counts == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]


def test_a_gpu_is_drawn_for_ahead_of_need_and_a_processor_is_not(on_device, monkeypatch):
    made = {}
    monkeypatch.setattr(
        streams, "_Drawn", lambda generator, draw, make, device, ahead: made.setdefault(device.type, ahead)
    )
    stream(on_device, "train", 3, seeded(), LIKE)
    with FakeTensorMode():
        stream(on_device, "train", 3, seeded(), torch.zeros((), device="cuda"))
    assert made == {"cpu": 1, "cuda": AHEAD}


def test_tasks_are_made_on_the_device_of_the_parameters(on_device):
    """Torch's fake tensors carry the name of a device through each operation, and raise where two devices meet."""
    drawn = on_device.draw("train", 3, seeded())
    there = on_device.make(drawn, LIKE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = on_device.make(drawn.to("cuda"), torch.zeros((), device="cuda", dtype=torch.float64))
        assert {tensor.device.type for tensor in tensors_of(made)} == {"cuda"}
        with pytest.raises(RuntimeError, match="same device"):
            made.support.x + there.support.x
    assert [(t.shape, t.dtype) for t in tensors_of(made)] == [(t.shape, t.dtype) for t in tensors_of(there)]


def test_what_was_drawn_ahead_goes_to_a_gpu_in_one_copy_from_pinned_memory(on_device, monkeypatch):
    """A copy from ordinary memory waits until the device has done all that it was given, and so training would."""
    pinned, copies = [], []
    plain = torch.Tensor.to

    def to(tensor, *arguments, **options):
        if options.get("non_blocking"):
            copies.append(any(tensor is one for one in pinned))
        return plain(tensor, *arguments, **options)

    def pin_memory(tensor):
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    with FakeTensorMode(allow_non_fake_inputs=True):
        batches = stream(on_device, "train", 3, seeded(), torch.zeros((), device="cuda"))
        devices = {tensor.device.type for _ in range(2 * AHEAD) for tensor in tensors_of(batches())}
    assert devices == {"cuda"}
    assert copies == [True, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tasks_are_the_same_on_a_gpu(distribution):
    on_cpu, on_gpu = (stream(distribution, "train", 3, seeded(), LIKE.to(device)) for device in ("cpu", "cuda"))
    for _ in range(AHEAD + 2):
        for here, there in zip(tensors_of(on_cpu()), tensors_of(on_gpu()), strict=True):
            assert there.device.type == "cuda"
            torch.testing.assert_close(there.cpu(), here)


def test_a_sample_that_knows_no_share_serves_a_process_alone():
    class Older(Plain):
        def sample(self, split, tasks, generator):
            return super().sample(split, tasks, generator)

    assert same(sampled(Older(), "train", 3, seeded(), LIKE), sampled(Plain(), "train", 3, seeded(), LIKE))


def test_a_distribution_that_is_made_on_the_device_has_no_sample_of_its_own():
    with pytest.raises(TypeError, match="Mine defines sample, which is made of draw and make"):

        class Mine(DeviceTasks):
            def sample(self, split, tasks, generator, share=ALL): ...
