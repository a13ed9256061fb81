"""What all pictures have in common."""

import io
from xml.etree import ElementTree

from matplotlib.figure import Figure
from PIL import Image

from metabench.engines.base import ENGINES
from metabench.report.plots import style


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
