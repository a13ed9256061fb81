import hashlib
import math
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch

from metabench.errors import Unsupported
from metabench.record.cell import Rotation
from metabench.tasks.base import EpisodeShape
from metabench.tasks.characters import by_hash
from metabench.tasks.images import ImageTasks
from metabench.tasks.packed import pack
from metabench.tensors import task_at, tensors_of

SPLITS = ("train", "validation", "test")


def numbered(count):
    """Images that say which they are: of the top row, pixels 0 and 1 hold the character and 2 the drawing, 3 is ink."""
    images = np.zeros((count, 20, 28, 28), dtype=np.uint8)
    character = np.arange(count)[:, None]
    images[:, :, 0, 0], images[:, :, 0, 1] = character // 200, character % 200
    images[:, :, 0, 2] = np.arange(20)
    images[:, :, 0, 3] = 255
    return pack("numbered", "test", images, ["a"] * count, [str(i) for i in range(count)], "source")


FULL = numbered(1623)


def decode(batch):
    """(character, drawing, quarters turned) of every image, each (tasks, examples)."""
    assert batch.x.dtype == torch.float32
    pixels = (batch.x * 255).round().long().squeeze(2)
    found = torch.full((3, *pixels.shape[:2]), -1)
    for quarter in range(4):
        top = torch.rot90(pixels, -quarter, (2, 3))[:, :, 0]
        here = top[..., 3] == 255
        values = (top[..., 0] * 200 + top[..., 1], top[..., 2], torch.full_like(top[..., 0], quarter))
        found = torch.where(here, torch.stack(values), found)
    assert (found >= 0).all()
    return found


def sample(shape=(5, 2, 3), split="train", tasks=200, seed=0, **options):
    return ImageTasks(FULL, EpisodeShape(*shape), **options).sample(split, tasks, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("split", "shape", "tasks", "after"),
    [
        ("train", (5, 1, 1), "ca48406a6fb7b647", 1275543730),
        ("train", (5, 1, 15), "555217c2d7708ebf", 1275543730),
        ("validation", (5, 2, 3), "59929b722a922161", 1212190870),
        ("test", (20, 5, 3), "86ae594f76645b8f", 1196665138),
    ],
)
def test_a_seed_gives_the_tasks_that_published_figures_were_measured_on(split, shape, tasks, after):
    """Characters, drawings, turns and labels of two meta-batches, and the generator's next number after them."""
    generator = torch.Generator().manual_seed(16)
    found = []
    for number in (32, 3):
        task = ImageTasks(FULL, EpisodeShape(*shape)).sample(split, number, generator)
        found += [*decode(task.support), *decode(task.query), task.classes, task.support.y, task.query.y]
    digest = hashlib.sha256(str([tensor.tolist() for tensor in found]).encode()).hexdigest()
    assert digest.startswith(tasks)
    assert int(torch.randint(2**31, (1,), generator=generator)) == after


def test_shapes_and_shot_major_labels():
    task = sample(tasks=7)
    assert task.support.x.shape == (7, 10, 1, 28, 28)
    assert task.query.x.shape == (7, 15, 1, 28, 28)
    for batch, n in ((task.support, 2), (task.query, 3)):
        assert batch.y.dtype == torch.int64
        assert batch.y.tolist() == [[0, 1, 2, 3, 4] * n] * 7
        assert batch.x.is_contiguous()


def test_a_share_is_what_the_whole_has_there():
    tasks = ImageTasks(FULL, EpisodeShape(5, 2, 3))
    whole, part = (torch.Generator().manual_seed(7) for _ in range(2))
    for share in (slice(0, 3), slice(3, 8), slice(7, 8)):
        all_tasks, own = tasks.sample("train", 8, whole), tasks.sample("train", 8, part, share)
        assert all(map(torch.equal, tensors_of(own), tensors_of(task_at(all_tasks, share))))
    assert torch.equal(whole.get_state(), part.get_state())


def test_ink_is_one():
    assert sample().support.x.max() == 1.0
    assert sample().support.x.min() == 0.0


def test_a_label_is_one_character_in_support_and_query_with_one_rotation():
    task = sample()
    (s_char, _, s_turn), (q_char, _, q_turn) = decode(task.support), decode(task.query)
    for values in (torch.cat((s_char, q_char), 1), torch.cat((s_turn, q_turn), 1)):
        by_class = values.view(200, 5, 5)  # shot-major: (tasks, n, ways)
        assert (by_class == by_class[:, :1]).all()


def test_classes_and_drawings_are_drawn_without_replacement():
    task = sample((5, 8, 12))  # all 20 drawings
    (s_char, s_draw, _), (_, q_draw, _) = decode(task.support), decode(task.query)
    assert all(len(set(row)) == 5 for row in s_char[:, :5].tolist())
    drawings = torch.cat((s_draw, q_draw), 1).view(200, 20, 5).sort(dim=1).values
    assert (drawings == torch.arange(20)[None, :, None]).all()


def test_draws_are_uniform():
    draws = 4000
    character, drawing, turn = decode(sample((5, 1, 1), "validation", tasks=draws, seed=1).query)
    pool = ImageTasks(FULL, EpisodeShape(5, 1, 1)).classes["validation"]
    for values, cells in (
        (torch.searchsorted(pool, character), 100),  # which character
        (torch.searchsorted(pool, character[:, 0].contiguous()), 100),  # and at the first place: order is random
        (drawing, 20),
        (turn, 4),
    ):
        counts = torch.bincount(values.flatten(), minlength=cells).double()
        expected = counts.sum() / cells
        assert len(counts) == cells
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert statistic < (cells - 1) + 6 * math.sqrt(2 * (cells - 1))
    pairs = torch.bincount(turn[:, 0] * 4 + turn[:, 1], minlength=16).double()  # classes turn independently
    assert float(((pairs - draws / 16) ** 2 / (draws / 16)).sum()) < 15 + 6 * math.sqrt(30)


def test_pixels_are_those_of_the_stored_drawing():
    noise = np.random.default_rng(0).integers(0, 256, (60, 20, 28, 28), dtype=np.uint8)
    packed = pack("noise", "test", noise, ["a"] * 60, [str(i) for i in range(60)], "source")
    images = ImageTasks(packed, EpisodeShape(3, 2, 2)).sample("train", 20, torch.Generator().manual_seed(0)).query
    plain = torch.from_numpy(noise).float().div(255).view(-1, 28, 28)
    turned = {torch.rot90(image, k, (0, 1)).numpy().tobytes() for image in plain for k in range(4)}
    assert all(image.numpy().tobytes() in turned for image in images.x.flatten(0, 2))


@pytest.mark.parametrize("rotation", ["none", "episode"])
def test_however_classes_are_turned_the_tasks_have_the_same_drawings(rotation):
    (character, drawing, turn) = decode(sample().query)
    (same_character, same_drawing, other) = decode(sample(rotation=rotation).query)
    assert torch.equal(character, same_character)
    assert torch.equal(drawing, same_drawing)
    assert turn.max() == 3
    assert torch.equal(other, turn[:, :1].expand_as(other) if rotation == "episode" else torch.zeros_like(other))


def test_turns_that_are_classes_meet_in_one_task():
    """Of 20 classes out of 400, the number of pairs with one character is 190 · 3 / 399 in the mean."""
    shape, tasks = EpisodeShape(20, 1, 1), 1000
    made = ImageTasks(FULL, shape, "classes")
    task = made.sample("validation", tasks, torch.Generator().manual_seed(3))
    (character, _, turn), (again, _, same_turn) = decode(task.support), decode(task.query)
    assert torch.equal(character, again) and torch.equal(turn, same_turn)
    own = torch.searchsorted(made.classes["validation"], character) * 4 + turn
    assert torch.equal(own, task.classes)
    assert all(len(set(row)) == 20 for row in own.tolist())
    pairs = sum(n * (n - 1) // 2 for row in character.tolist() for n in Counter(row).values()) / tasks
    assert pairs == pytest.approx(190 * 3 / 399, abs=0.2)  # standard deviation of the mean about 0.04
    counts = torch.bincount(own.flatten(), minlength=400).double()
    assert float(((counts - 50) ** 2 / 50).sum()) < 399 + 6 * math.sqrt(2 * 399)


def test_with_turns_that_are_classes_there_are_four_times_as_many_ways():
    ImageTasks(FULL, EpisodeShape(1692, 1, 1), "classes")
    with pytest.raises(
        Unsupported, match="423 characters for 'test', 1692 with their rotations: too few for 1693 ways"
    ):
        ImageTasks(FULL, EpisodeShape(1693, 1, 1), "classes")


def test_a_function_of_the_generator_alone():
    one, two, other = sample(seed=5), sample(seed=5), sample(seed=6)
    assert torch.equal(one.support.x, two.support.x)
    assert torch.equal(one.query.x, two.query.x)
    assert not torch.equal(one.query.x, other.query.x)


def test_a_task_that_is_written_to_changes_no_other_task():
    before, drawn = FULL.images.clone(), sample(seed=2)
    for tensor in tensors_of(sample(seed=2)):
        tensor.zero_()
    assert torch.equal(FULL.images, before)
    assert all(map(torch.equal, tensors_of(sample(seed=2)), tensors_of(drawn)))


def test_pixels_are_kept_once_on_a_device():
    images = numbered(1623)
    training, testing = (ImageTasks(images, EpisodeShape(5, 1, query)) for query in (1, 15))
    for tasks in (training, testing):
        tasks.sample("test", 2, torch.Generator())
    device = torch.device("cpu")
    assert training.images.turned(device).data_ptr() == testing.images.turned(device).data_ptr()
    assert training.images.turned(device).dtype == torch.uint8


def test_the_published_split_is_disjoint_and_complete():
    classes = by_hash(FULL, 0)
    assert [len(classes[split]) for split in SPLITS] == [1100, 100, 423]
    assert sorted(torch.cat([classes[split] for split in SPLITS]).tolist()) == list(range(1623))


def test_the_split_is_seeded_random_and_pinned():
    train = by_hash(FULL, 0)["train"]
    assert torch.equal(train, by_hash(numbered(1623), 0)["train"])
    shared = len(set(train.tolist()) & set(by_hash(FULL, 1)["train"].tolist()))
    assert 700 < shared < 790  # 745 expected of independent splits, standard deviation 9
    assert 500 < train[550] < 1123  # spread over the characters, not the first 1100
    digest = hashlib.sha256(str(train.tolist()).encode()).hexdigest()
    assert digest.startswith("23a7d8f89bf0bcfb"), "the published figures were measured on another split"


def test_other_totals_are_split_in_proportion():
    classes = by_hash(numbered(162), 0)
    assert [len(classes[split]) for split in SPLITS] == [109, 9, 44]


def test_samples_come_from_the_split_asked_for():
    classes = by_hash(FULL, 0)
    for split in SPLITS:
        character, _, _ = decode(sample(split=split).query)
        assert set(character.flatten().tolist()) <= set(classes[split].tolist())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 10, 11), "20 drawings of each character: 10 shots and 11 queries need 21"),
        ((424, 1, 1), "423 characters for 'test': too few for 424 ways"),
        ((0, 1, 1), "at least one way"),
        ((5, 1, 0), "at least one way, one shot and one query"),
    ],
)
def test_shapes_that_cannot_be_served(shape, message):
    with pytest.raises(Unsupported, match=message):
        ImageTasks(FULL, EpisodeShape(*shape))


def test_more_ways_than_the_validation_split_has():
    tasks = ImageTasks(FULL, EpisodeShape(101, 1, 1))
    assert tasks.sample("test", 1, torch.Generator()).query.x.shape[1] == 101
    with pytest.raises(Unsupported, match="100 characters for 'validation'"):
        tasks.sample("validation", 1, torch.Generator())


def test_provenance_records_source_split_pixels_and_augmentation():
    provenance = ImageTasks(FULL, EpisodeShape(5, 1, 1)).provenance
    assert (provenance.name, provenance.content_hash) == ("numbered", "source")
    assert provenance.details["split"] == "train 1100, validation 100, test 423"
    assert provenance.details["split_seed"] == "0"
    assert provenance.details["pixel_hash"] == FULL.pixel_hash
    assert "90 degrees" in provenance.details["augmentation"]
    assert provenance.details["split_by"] == "by character, by a hash of names"
    said = {rotation: ImageTasks(FULL, EpisodeShape(5, 1, 1), rotation).provenance for rotation in get_args(Rotation)}
    assert said["none"].details["augmentation"] == "none"
    assert len({one.details["augmentation"] for one in said.values()}) == 4
