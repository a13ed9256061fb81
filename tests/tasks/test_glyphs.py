import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from metabench.tasks import glyphs
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.glyphs import DEFAULT, Definition, distinct, draw, source_hash
from metabench.tasks.images import ImageTasks
from metabench.tasks.packed import cache_file, pack

SMALL = Definition(scripts={"Greek": ((0x391, 0x3C9),), "Hebrew": ((0x5D0, 0x5EA),)})
EIGHT_CONNECTED = np.ones((3, 3))


@pytest.fixture(scope="module")
def small():
    return draw(SMALL)


@pytest.fixture(scope="module")
def full():
    return distinct(DEFAULT)


def letters_of(*codes, **options):
    definition = Definition(scripts={chr(code): ((code, code),) for code in codes}, **options)
    return "".join(chr(code) for _, code in distinct(definition)[0])


def test_as_many_characters_as_omniglot_from_seventeen_scripts(full):
    letters, skeletons = full
    assert len(letters) == len(set(letters)) == len(skeletons) == 1623
    assert len({script for script, _ in letters}) == 17
    assert skeletons.any((1, 2)).all()


def test_the_letters_are_the_same_on_every_platform(full):
    assert source_hash(DEFAULT, full[0]) == "5289868c0bc2343e1ab34dc7d301b2b9afd8b1c2b4edbada6df9f550a953a370"


def test_no_two_letters_are_alike(full):
    """Held against a correlation computed in another way: of Gaussian blurs, turned before they are sampled."""
    pen = ndimage.binary_dilation(full[1], EIGHT_CONNECTED[None], iterations=3)
    blurred = ndimage.gaussian_filter(pen.astype(np.float32), (0, 3.0, 3.0))
    views = [np.rot90(blurred, quarter, (1, 2))[:, ::4, ::4].reshape(len(blurred), -1) for quarter in range(4)]
    scaled = [(v - v.mean(1, keepdims=True)) / (v.std(1, keepdims=True) * v.shape[1] ** 0.5) for v in views]
    alike = np.max([scaled[0] @ view.T for view in scaled], axis=0)
    np.fill_diagonal(alike, 0)
    assert alike.max() < 0.96


def test_look_alikes_across_scripts_sizes_and_turns_are_dropped():
    assert letters_of(0x41, 0x391, 0x410) == "A"  # Latin, Greek, Cyrillic
    assert letters_of(0x4F, 0x6F, 0x3BF) == "O"  # capital and small
    assert letters_of(0x1401, 0x1403) == "ᐁ"  # ᐃ is ᐁ turned by half
    assert letters_of(0x41, 0x2B, 0x35) == "A"  # + and 5 are no letters
    assert letters_of(0x1405, 0x140A, 0x1401) == "ᐅᐁ"
    assert letters_of(0x41, 0x42, 0x43, 0x416) == "ABCЖ"
    assert letters_of(0x45, 0x18E, alike=0.93) == "EƎ"  # Ǝ is E turned, but for its middle arm
    assert letters_of(0x45, 0x18E, alike=0.85) == "E"


def test_plain_letters_take_precedence_over_those_with_marks():
    assert letters_of(0xC9, 0x46, count=1) == "F"


def test_the_same_seed_draws_the_same(small):
    again, other = draw(SMALL), draw(dataclasses.replace(SMALL, seed=1))
    assert again.pixel_hash == small.pixel_hash
    assert again.source_hash == small.source_hash
    assert other.characters == small.characters
    assert other.pixel_hash != small.pixel_hash
    assert other.source_hash != small.source_hash


def test_a_drawing_does_not_depend_on_what_else_is_drawn(small):
    alone = draw(dataclasses.replace(SMALL, scripts={"Greek": ((0x3A9, 0x3A9),)}))
    assert alone.characters == ("U+03A9",)
    assert torch.equal(alone.images[0], small.images[small.characters.index("U+03A9")])


def test_shape_ink_and_names(small):
    assert small.name == "glyphs"
    count = len(small.characters)
    assert 40 <= count < 57 + 27
    assert small.images.shape == (count, 20, 28, 28)
    assert set(small.alphabets) == {"Greek", "Hebrew"}
    assert (small.images.amax((2, 3)) > 150).all()  # every drawing has ink
    assert 0.03 < small.images.float().mean() / 255 < 0.12  # and is mostly paper
    border = small.images.clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert (border.amax((2, 3)) > 128).float().mean() < 0.05  # few touch the edge


def test_drawings_of_a_letter_differ_but_are_recognisable(small):
    flat = small.images.flatten(2).double()
    flat = flat - flat.mean(2, keepdim=True)
    flat = flat / flat.norm(dim=2, keepdim=True)
    within = flat @ flat.transpose(1, 2)
    within.diagonal(dim1=1, dim2=2).zero_()
    assert within.max() < 0.99
    episode = ImageTasks(small, EpisodeShape(5, 1, 1)).sample("train", 400, torch.Generator().manual_seed(0))
    support, query = (torch.nn.functional.normalize(b.x.flatten(2), dim=2) for b in episode[:2])
    nearest = (query @ support.transpose(1, 2)).argmax(2)
    accuracy = (nearest == episode.query.y).float().mean()
    assert 0.35 < accuracy < 0.75  # chance is 0.2; Omniglot itself gives 0.53


def test_thinning_leaves_lines_and_keeps_the_topology():
    size = 105
    y, x = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(x, y)
    bar, ring = (abs(x) < 40) & (abs(y) < 5), (radius > 20) & (radius < 30)
    dots = (np.hypot(x - 20, y) < 6) | (np.hypot(x + 20, y) < 6)
    thin_bar, thin_ring, thin_dots = glyphs._thin(np.stack((bar, ring, dots)))
    assert thin_bar.sum(axis=0).max() <= 2
    assert thin_bar.any(axis=0).sum() > 60
    assert radius[thin_ring].min() > 20
    assert radius[thin_ring].max() < 30
    assert ndimage.label(~thin_ring)[1] == 2  # inside and outside
    assert ndimage.label(thin_dots, EIGHT_CONNECTED)[1] == 2
    assert thin_dots.sum() < 10


def square(low, high, clockwise):
    corners = [(low, low), (low, high), (high, high), (high, low)]
    corners = corners if clockwise else corners[::-1]
    return [*corners, corners[0]], [1, 2, 2, 2, 79]


@pytest.mark.parametrize(("inner_clockwise", "area"), [(False, 80**2 - 40**2), (True, 80**2)])
def test_outlines_are_filled_by_winding(inner_clockwise, area):
    outer, inner = square(0, 80, True), square(20, 60, inner_clockwise)
    vertices = np.array(outer[0] + inner[0], dtype=float)
    assert glyphs._fill(vertices, outer[1] + inner[1], 80.0).sum() == area


def test_curves_are_filled_and_letters_stand_upright():
    # Half a disc, nearly: one quadratic arch above its base, whose area is two thirds of base times height.
    vertices = np.array([(0, 0), (40, 80), (80, 0), (0, 0)], dtype=float)
    arch = glyphs._fill(vertices, [1, 3, 3, 79], 80.0)
    assert abs(arch.sum() - 2 / 3 * 80 * 40) < 100  # a triangle has 1600
    rows = arch.sum(axis=1)
    assert rows[arch.any(axis=1)][0] < rows[arch.any(axis=1)][-1]  # narrow at the top of the image


def test_an_empty_outline_has_no_ink():
    assert not glyphs._fill(np.empty((0, 2)), [], 80.0).any()


def tiny(origin):
    images = np.arange(3 * 20 * 784, dtype=np.uint32).astype(np.uint8).reshape(3, 20, 28, 28)
    return pack("glyphs", origin, images, ["a"] * 3, ["x", "y", "z"], "0" * 64)


def test_drawing_them_is_announced_and_what_is_kept_says_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(glyphs, "draw", lambda: tiny(glyphs.ORIGIN))
    glyphs.find()
    assert capsys.readouterr() == ("", "metabench: preparing the images of glyphs: once, for up to a minute\n")
    glyphs.find()
    assert capsys.readouterr() == ("", "")


def test_drawn_once_cached_and_drawn_again_when_the_generator_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    drawn = []
    monkeypatch.setattr(glyphs, "draw", lambda: drawn.append(glyphs.ORIGIN) or tiny(glyphs.ORIGIN))
    assert not glyphs.status().prepared
    glyphs.find()
    glyphs.find()
    assert len(drawn) == 1
    assert glyphs.status().prepared
    assert glyphs.status().characters == 3
    monkeypatch.setattr(glyphs, "ORIGIN", "drawn in another way")
    assert not glyphs.status().prepared
    assert glyphs.find().origin == "drawn in another way"
    assert len(drawn) == 2
    glyphs.prepare()
    assert len(drawn) == 3


def test_the_task_is_registered_and_says_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(glyphs, "draw", lambda: tiny(glyphs.ORIGIN))
    source = TASKS.get("glyphs")
    assert source.kind == "classification"
    tasks = source.build(EpisodeShape(1, 1, 1), tmp_path / "not looked at")
    assert tasks.provenance.name == "glyphs"
    assert "omniglot" not in str(tasks.provenance).lower()
    assert cache_file("glyphs").exists()
