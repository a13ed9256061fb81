"""Episodes of an image set: which images they are made of, and how."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from metabench.correctness.case import TaskCase
from metabench.correctness.contract import check_tasks
from metabench.errors import Unsupported
from metabench.tasks import episodes
from metabench.tasks.base import EpisodeShape
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.image_set import image_set
from metabench.tasks.stream import stream
from metabench.tensors import tensors_of

COUNTS = [*range(4, 14)]
CLASSES = tuple(f"class{i}" for i in range(10))
SPLITS = {"train": CLASSES[:5], "validation": CLASSES[5:7], "test": CLASSES[7:]}
SHAPE = EpisodeShape(2, 1, 3)


def numbered(counts=COUNTS, side=5):
    """Colour images in any order, whose red is their class and whose green is their number in it."""
    labels = np.repeat(np.arange(len(counts)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    order = np.random.default_rng(0).permutation(len(labels))
    images = np.zeros((len(labels), 3, side, side + 1), dtype=np.uint8)
    images[:, 0] = labels[order, None, None]
    images[:, 1] = number[order, None, None]
    names = [f"class{i}" for i in range(len(counts))]
    return image_set("numbered", "test", images, labels[order], names, "source")


IMAGES = numbered()


def tasks(shape=SHAPE, splits=SPLITS, images=IMAGES):
    return ImageSetTasks(images, splits, shape)


def drawn(made, split="train", many=200, seed=0):
    """Class and number of each image of support and query sets together: (tasks, shots + query, ways)."""
    batch = made.sample(split, many, torch.Generator().manual_seed(seed))
    x = torch.cat([batch.support.x, batch.query.x], 1) * 255
    assert torch.equal(x, x.round()) and bool((x[..., :1, :1] == x).all())
    found = x[..., 0, 0].round().long().view(many, -1, made.shape.ways, 3)
    return found[..., 0], found[..., 1], batch


def test_the_contract_is_kept():
    made = tasks(EpisodeShape(2, 1, 3))
    findings = {one.clause: one.word for one in check_tasks(TaskCase(lambda: made, made.shape, "classification"))}
    assert findings.pop("curves") == "unsupported" and set(findings.values()) == {"ok"} and len(findings) == 10


def test_an_image_comes_once_in_a_task_and_is_of_the_class_of_its_way():
    for split, names in SPLITS.items():
        classes, numbers, batch = drawn(tasks(), split)
        assert batch.support.x.shape[2:] == (3, 5, 6)
        assert bool((classes == classes[:, :1]).all())  # shot-major: a way is of one class
        assert {f"class{i}" for i in classes.unique().tolist()} == set(names)
        assert all(a != b for a, b in classes[:, 0].tolist())
        ordered = numbers.sort(1).values
        assert bool((ordered.diff(dim=1) > 0).all())
        counts = torch.tensor(COUNTS)[classes]
        assert bool((numbers < counts).all())
        assert torch.equal(torch.tensor([CLASSES.index(name) for name in names])[batch.classes], classes[:, 0])


def test_all_orders_of_images_are_as_likely_whatever_the_number_of_a_class():
    """Three of four images and of five: of a sample as large as this, a fair share is off by less than 5 deviations."""
    made = tasks(EpisodeShape(2, 1, 2), {"train": CLASSES[:2], "test": CLASSES[2:4]})
    many = 12_000
    classes, numbers, _ = drawn(made, many=many)
    for place, count in ((0, 4), (1, 5)):
        own = numbers.transpose(1, 2)[(classes == place).transpose(1, 2).all(-1)]
        seen = Counter(map(tuple, own.tolist()))
        orders = [*permutations(range(count), 3)]
        assert set(seen) == set(orders) and sum(seen.values()) == many
        share = 1 / len(orders)
        assert all(abs(n - many * share) < 5 * math.sqrt(many * share) for n in seen.values())


def test_a_share_of_a_meta_batch_leaves_the_generator_as_the_whole_does():
    whole, part = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    made = tasks()
    made.draw("train", 6, whole)
    made.draw("train", 6, part, slice(2, 4))
    assert torch.equal(whole.get_state(), part.get_state())


def test_too_few_classes_or_images_are_named_with_numbers():
    sizes = "5 for 'train', 2 for 'validation', 3 for 'test'"
    with pytest.raises(Unsupported, match=f"2 classes for 'validation', too few for 3 ways .{sizes}.: ask for 2 ways"):
        tasks(EpisodeShape(3, 1, 1)).sample("validation", 1, torch.Generator())
    with pytest.raises(Unsupported, match="5 classes for 'train', too few for 6 ways"):
        tasks(EpisodeShape(6, 1, 1))
    poor = "class 'class0' of numbered has 4 images, and 2 shots and 4 queries need 6, and 1 more classes have too few"
    with pytest.raises(Unsupported, match=poor):
        tasks(EpisodeShape(2, 2, 4)).sample("train", 1, torch.Generator())
    assert tasks(EpisodeShape(2, 2, 4)).sample("test", 1, torch.Generator()).support.y.tolist() == [[0, 1, 0, 1]]


def test_splits_that_share_a_class_or_name_another_are_refused():
    with pytest.raises(ValueError, match="two splits"):
        tasks(splits={"train": CLASSES[:5], "test": CLASSES[4:]})
    with pytest.raises(ValueError, match="none of the set"):
        tasks(splits={"train": ("class0", "nobody")})


def test_a_set_that_is_too_large_for_the_device_gives_the_same_tasks(monkeypatch):
    """Its pixels are drawn in place of their rows."""
    resident, streamed = tasks(), tasks()
    monkeypatch.setitem(streamed.__dict__, "streamed", True)
    for split in ("train", "test"):
        some, others = (made.sample(split, 7, torch.Generator().manual_seed(2)) for made in (resident, streamed))
        assert all(map(torch.equal, tensors_of(some), tensors_of(others)))
    assert streamed.draw("train", 3, torch.Generator()).dtype == torch.uint8
    like = torch.zeros((), dtype=torch.float64)
    one, other = (
        stream(made, "train", 3, torch.Generator().manual_seed(0), like, ahead=4) for made in (resident, streamed)
    )
    assert all(all(map(torch.equal, tensors_of(one()), tensors_of(other()))) for _ in range(6))


def test_a_set_is_streamed_from_a_share_of_the_smallest_gpu_on(monkeypatch):
    class Properties:
        total_memory = 4 * IMAGES.images.nbytes

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert not tasks().streamed  # small: no device is asked
    monkeypatch.setattr(episodes, "ALWAYS_KEPT", 0)
    assert not tasks().streamed
    Properties.total_memory -= 4
    assert tasks().streamed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "a"]}, "same name"),
        ({"labels": [0, 2, 1]}, "labels from 0 to 2"),
        ({"labels": [0, 1]}, "labels of shape"),
        ({"images": np.zeros((3, 1, 4, 4), dtype=np.int64)}, "int64 images"),
        ({"images": np.zeros((0, 1, 4, 4), dtype=np.uint8), "labels": []}, "shape"),
    ],
)
def test_an_image_set_is_checked(changes, message):
    good = {"images": np.zeros((3, 1, 4, 4), dtype=np.uint8), "labels": [0, 1, 1], "classes": ["a", "b"]}
    assert image_set("set", "test", source_hash="s", **good).counts.tolist() == [1, 2]
    with pytest.raises(ValueError, match=message):
        image_set("set", "test", source_hash="s", **good | changes)
