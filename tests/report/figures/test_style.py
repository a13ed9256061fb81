"""What all pictures have in common."""

import io
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import ENGINES
from metabench.report.figures import style


def figure():
    with style.styled():
        made = Figure(figsize=(2, 1))
        made.subplots().plot([1, 2], [3, 4])
        return made


def test_every_engine_has_a_colour_of_its_own():
    ours = {name for name, engine in ENGINES if engine.build.__module__.startswith("metabench.")}
    assert {"loop", "vmap", "native", "cudagraph", "jax"} <= ours <= style.ENGINES.keys()
    assert len(set(style.ENGINES.values())) == len(style.ENGINES)
    assert style.engine_colour("from-elsewhere") == style.OTHER not in style.ENGINES.values()


# What someone who lacks one kind of cone sees of linear RGB: Machado, Oliveira and Fernandes (2009), severity 1
SEEN = {
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TOLD_APART = 10  # CIE76: some 2.3 are just noticed side by side


def lab(colour, seen):
    """CIELAB (D65) of a colour as it is seen."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[seen]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_algorithm_has_a_look_that_is_told_apart_from_all_others():
    ours = {name for name, kind in ALGORITHMS if kind.__module__.startswith("metabench.")}
    assert ours == style.ALGORITHMS.keys()
    looks = {**style.ALGORITHMS, "from elsewhere": style.OTHER_LOOK}
    for (name, one), (other, two) in combinations(looks.items(), 2):
        assert one.colour != two.colour or "from elsewhere" in (name, other)
        for seen in SEEN:
            apart = np.linalg.norm(lab(one.colour, seen) - lab(two.colour, seen))
            assert one.marker != two.marker or apart > TOLD_APART, (name, other, seen)
    assert style.look("from-elsewhere") == style.OTHER_LOOK


def test_the_colours_of_the_most_used_are_told_apart_by_everyone():
    for one, other in combinations(("maml", "fomaml", "reptile", "anil", "imaml"), 2):
        for seen in SEEN:
            assert (
                np.linalg.norm(lab(style.look(one).colour, seen) - lab(style.look(other).colour, seen))
                > 1.5 * TOLD_APART
            )


def test_the_same_picture_is_the_same_file():
    for kind in style.FORMATS:
        assert style.image(figure(), kind) == style.image(figure(), kind)


def test_a_picture_names_no_date_and_no_version():
    content = style.image(figure(), "svg").decode()
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert "<dc:date>" not in content and "matplotlib.org" not in content


def test_a_picture_is_solid_so_that_it_can_be_read_on_a_dark_page():
    picture = Image.open(io.BytesIO(style.image(figure(), "png"))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert picture.getchannel("A").getextrema() == (255, 255)
    assert 'style="fill: #ffffff"' in style.image(figure(), "svg").decode()


def test_styles_do_not_leak():
    import matplotlib as mpl

    before = mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]
    style.image(figure(), "svg")
    assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == before
