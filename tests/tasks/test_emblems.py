"""The stand-in for colour photographs: drawn by formula from a seed, kept in the cache, different within a class."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from metabench.correctness.case import TaskCase
from metabench.correctness.contract import check_tasks
from metabench.tasks import emblems
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.kept_set import kept

FEW = replace(emblems.DEFAULT, train=6, validation=3, test=3, each=12, side=42)


@pytest.fixture(autouse=True)
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(emblems, "DEFAULT", FEW)


def test_there_are_as_many_classes_as_in_miniimagenet():
    whole = emblems.Definition()
    assert [len(names) for names in whole.splits.values()] == [64, 16, 20]
    assert len({name for names in whole.splits.values() for name in names}) == whole.classes == 100
    assert TASKS.get("emblems").input_shape == (3, 84, 84)


def test_it_keeps_the_contract_and_never_bears_another_name(monkeypatch):
    images, source, shape = emblems.draw(FEW), TASKS.get("emblems"), EpisodeShape(3, 2, 2)
    monkeypatch.setattr(emblems, "find", lambda: images)
    case = TaskCase(partial(source.on, shape, None, {}), shape, source.kind)
    assert [finding for finding in check_tasks(case) if finding.word == "incorrect"] == []
    provenance = case.distribution.provenance
    assert (provenance.name, provenance.content_hash) == ("emblems", FEW.digest)


def test_the_images_of_a_class_depend_on_its_number_and_the_seed_alone():
    whole, less = emblems.draw(FEW), emblems.draw(replace(FEW, train=2))
    # torch may round a pixel the other way where it shares the work out among threads otherwise.
    assert (whole.images[: len(less.images)].float() - less.images.float()).abs().mean() < 0.01
    other = emblems.draw(replace(FEW, seed=1))
    assert not torch.equal(other.images, whole.images) and other.source_hash != whole.source_hash
    assert replace(FEW, origin="generator 2").digest != FEW.digest


def test_images_are_plain_colour_images_that_differ():
    images = emblems.draw(FEW).images
    assert images.shape == (144, 3, 42, 42) and images.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in images}) == 144
    assert int(images.min()) < 32 and int(images.max()) > 223
    assert float((images[:, 0].float() - images[:, 1].float()).abs().mean()) > 16  # not grey


def test_a_class_is_known_by_its_figure_and_not_by_single_pixels():
    """A figure's colours tell a class well above chance; the nearest image, pixel by pixel, hardly does."""
    shown = emblems.draw(replace(FEW, train=20, each=8))
    pixels, labels = shown.images.float() / 255, shown.labels

    def found(features):
        distance = torch.cdist(features.flatten(1), features.flatten(1)).fill_diagonal_(torch.inf)
        return float((labels[distance.argmin(1)] == labels).float().mean())

    middle = pixels[..., 11:31, 11:31].reshape(len(pixels), 3, 2, 10, 2, 10).mean((3, 5))
    assert found(pixels) < 0.5
    assert 3 / 26 < found(middle) < 0.9


def test_they_are_drawn_once_and_drawn_anew_when_the_file_is_damaged(tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(emblems, "draw", lambda definition, draw=emblems.draw: drawn.append(1) or draw(definition))
    first, second = emblems.find(FEW), emblems.find(FEW)
    assert len(drawn) == 1 and torch.equal(first.images, second.images)
    assert (first.classes, first.source_hash) == (FEW.names, FEW.digest)
    assert capsys.readouterr() == ("", "metabench: preparing the images of emblems: once, for up to a minute\n")
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert torch.equal(emblems.find(FEW).images, first.images) and len(drawn) == 2


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    made = emblems.draw(FEW)
    found = kept("some", lambda: made)
    for name in ("name", "origin", "classes", "groups", "source_hash", "pixel_hash"):
        assert getattr(found, name) == getattr(made, name)
    assert np.array_equal(found.labels, made.labels) and np.array_equal(found.images, made.images)
    assert kept("some", lambda: pytest.fail("it is there")).pixel_hash == made.pixel_hash
