"""The task `images`: what is read of a folder, what is refused, and what is kept."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.errors import Unsupported, UserError
from metabench.tasks import decoding
from metabench.tasks.base import TASKS, EpisodeShape
from pictures import write_pictures

SHAPE = EpisodeShape(2, 1, 2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METABENCH_SOURCES", raising=False)
    return tmp_path / "cache" / "images"


@pytest.fixture
def birds(tmp_path) -> Path:
    return write_pictures(tmp_path / "birds", classes=12, each=3, side=8)


def build(path="birds", shape=SHAPE, **choices):
    return TASKS.get("images").on(shape, None, {"path": str(path), **choices})


def save(file: Path, size=(8, 8), mode="RGB", value=0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(file)


def test_images_are_those_of_the_files(birds):
    made = build(shape=EpisodeShape(2, 1, 2))
    assert made.input_shape == (3, 8, 8) and made.training_classes == 8
    assert {split: len(found) for split, found in made.classes.items()} == {"train": 8, "validation": 2, "test": 2}
    batch = made.sample("test", 20, torch.Generator().manual_seed(0))
    names = [made.images.classes[i] for i in made.classes["test"].tolist()]
    files = [np.asarray(Image.open(file)) for name in names for file in sorted((birds / name).iterdir())]
    known = {np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes() for pixels in files}
    images = torch.cat([batch.support.x, batch.query.x], 1).flatten(0, 1)
    seen = {(x * 255).round().byte().numpy().tobytes() for x in images}
    assert seen == known


def test_provenance_names_the_folder_and_no_path(birds, tmp_path):
    provenance = build(birds).provenance
    assert provenance.name == "birds" and len(provenance.content_hash) == 64
    assert provenance == build().provenance
    assert str(tmp_path) not in repr(provenance)
    details = provenance.details
    assert details["split"] == "train 8, validation 2, test 2" and details["images"] == "36 of 3x8x8"
    assert details["pixels"] == "float in [0, 1], not standardised" and details["resized"] == "no"
    moved = shutil.copytree(birds, tmp_path / "elsewhere" / "birds")
    assert build(moved).provenance == provenance


def test_files_are_read_once_until_they_change(birds, cache, monkeypatch):
    before = build().provenance
    looked = []
    monkeypatch.setattr(decoding, "_look", lambda listing: looked.append(listing) or 1 / 0)
    assert build().provenance == before
    with pytest.raises(ZeroDivisionError):
        build(image_size=4)  # another size is decoded anew
    file = birds / "class00" / "000.png"
    os.utime(file, ns=(0, 0))
    with pytest.raises(ZeroDivisionError):
        build()
    monkeypatch.undo()


def test_reading_many_files_is_announced(birds, capsys, monkeypatch):
    monkeypatch.setattr(decoding, "MANY", 35)
    build()
    build()
    assert capsys.readouterr() == ("", "metabench: reading the 36 images of birds: once, for up to some minutes\n")


def test_another_pixel_is_other_data(birds, monkeypatch):
    before = build().provenance
    file = birds / "class00" / "000.png"
    pixels = np.array(Image.open(file))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    after = build().provenance
    assert after.content_hash != before.content_hash
    assert after.details["pixel_hash"] != before.details["pixel_hash"]


def test_a_cache_that_was_damaged_is_named_and_what_is_missing_is_made_again(birds, cache):
    before = build().provenance
    (file,) = cache.glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="is damaged .the pixels do not match their hash.: delete it"):
        build()
    file.write_bytes(content[:50])
    with pytest.raises(UserError, match="is damaged"):
        build()
    file.unlink()
    assert build().provenance == before


def test_a_large_array_is_mapped_and_gives_the_same_tasks(birds, monkeypatch):
    def sampled():
        decoding._set.cache_clear()
        return build().sample("train", 5, torch.Generator().manual_seed(0))

    plain = sampled()
    monkeypatch.setattr(decoding, "CHECKED_BYTES", 0)
    mapped = sampled()
    assert torch.equal(plain.query.x, mapped.query.x) and torch.equal(plain.classes, mapped.classes)
    decoding._set.cache_clear()


def test_images_are_resized_where_a_size_is_asked_for(birds):
    save(birds / "class00" / "wide.png", (20, 10))
    with pytest.raises(UserError, match=r"several sizes, such as 8x8 .class00/000.png. and 20x10 .class00/wide.png."):
        build()
    made = build(image_size=6)
    assert made.input_shape == (3, 6, 6)
    assert made.provenance.details["resized"] == "to 6x6 by Lanczos, whatever their shape"
    (row,) = np.flatnonzero([name == "class00/wide.png" for name in _files(made)])
    assert not made.images.images[row].any()


def _files(made):
    return [f"{name}/{file.name}" for name in made.images.classes for file in sorted(Path("birds", name).iterdir())]


def test_grey_images_have_one_channel_unless_others_have_colour(tmp_path):
    grey = tmp_path / "grey"
    for number in range(6):
        for mode, value in (("L", 7), ("1", 1), ("LA", (0, 9))):
            save(grey / f"class{number}" / f"{mode}.png", mode=mode, value=value)
    made = build("grey")
    assert made.input_shape == (1, 8, 8) and "grey images in three channels" not in made.provenance.details
    assert sorted(made.images.images[:3].flatten(1)[:, 0].tolist()) == [0, 7, 255]
    save(grey / "class0" / "colour.png", value=(1, 2, 3))
    mixed = build("grey")
    assert mixed.input_shape == (3, 8, 8)
    assert mixed.provenance.details["grey images in three channels"] == "18"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda birds: shutil.rmtree(birds), "unknown folder 'birds'"),
        (lambda birds: (birds / "class00/notes.txt").write_text("x"), "'birds/class00/notes.txt' is of no type"),
        (lambda birds: (birds / "class00/a.png").write_text("x"), "'birds/class00/a.png' cannot be read as an image"),
        (lambda birds: (birds / "class00/000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)), "000.png' cannot be"),
        (lambda birds: (birds / "empty").mkdir(), "class folder 'birds/empty' is empty"),
        (lambda birds: save(birds / "stray.png"), "'birds/stray.png' is an image in no class folder"),
        (lambda birds: save(birds / "group/class/a.png"), "holds a folder, 'class'.*split = \"groups\""),
        (lambda birds: save(birds / "class00/deep.png", mode="I;16"), "more than 8 bits a channel"),
        (lambda birds: (birds / "class00/lost.png").symlink_to("nowhere"), "cannot read 'birds/class00/lost.png'"),
    ],
)
def test_what_is_no_image_in_a_class_folder_is_named(birds, change, message):
    change(birds)
    with pytest.raises(UserError, match=message):
        build()


def test_hidden_files_are_passed_over_and_links_are_followed(birds):
    before = build().provenance
    (birds / ".DS_Store").write_text("x")
    (birds / "class00" / "._000.png").write_text("x")
    (birds / "class00" / "Thumbs.db").write_text("x")
    (birds / "README.txt").write_text("x")
    assert build().provenance == before
    shutil.move(birds / "class00", birds.parent / "aside")
    (birds / "class00").symlink_to(birds.parent / "aside")
    assert build().provenance == before


def test_a_path_is_needed_and_the_nearest_folder_is_named(birds):
    with pytest.raises(UserError, match="task 'images' needs a path"):
        TASKS.get("images").build(SHAPE, None)
    with pytest.raises(UserError, match="unknown folder 'brids': did you mean 'birds'"):
        build("brids")
    (birds.parent / ".brids").mkdir()
    nested = birds.parent.name
    with pytest.raises(UserError, match=f"unknown folder '../{nested}/brids': did you mean 'birds'"):
        build(f"../{nested}/brids")
    with pytest.raises(UserError, match="unknown folder 'nowhere/birds': there is nothing to choose from"):
        build("nowhere/birds")


def test_a_path_is_looked_for_from_the_folder_of_the_sweep(birds, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setenv("METABENCH_SOURCES", str(tmp_path))
    assert build().provenance.name == "birds"


def test_one_class_is_too_few_in_one_sentence(tmp_path):
    write_pictures(tmp_path / "one", classes=1, each=4, side=8)
    with pytest.raises(Unsupported, match="one has 1 classes for 'train', too few for 2 ways"):
        build("one")


def test_the_shape_is_known_from_the_first_image_alone(birds):
    peek = TASKS.get("images").peek
    assert peek(path="birds") == (3, 8, 8) and peek(path="birds", image_size=5) == (3, 5, 5)
    save(birds / "class00" / "0.png", (30, 20), mode="L")
    assert peek(path="birds") == (1, 20, 30)
