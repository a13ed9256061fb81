"""Every algorithm and engine has a look of its own, whoever wrote it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.report.figures import figures
from metabench.report.figures.phases import COLOURS
from metabench.report.figures.style import INK, LONGEST_LABEL, ON_DARK, SERIES, SHADES, engine_looks, label, looks_of
from metabench.report.results import read_run
from places import EPYC

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
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[seen]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other):
    """How far apart two colours are at least, whoever looks."""
    return min(np.linalg.norm(lab(one.colour, seen) - lab(other.colour, seen)) for seen in SEEN)


@pytest.fixture
def looks(run_of, row, renamed):
    """Of all algorithms that there are, and of some from outside."""
    found = [(name, kind.family, kind.order) for name, kind in ALGORITHMS]
    found += [(f"outsider-{n}", "a new family", "") for n in range(3)]
    rows, made = [], row()
    for name, family, order in [*found, ("nobody knows this one", "", "")]:
        theory = {"implementation": {"family": family, "order": order}}
        rows.append(renamed(made, algorithm=name) | theory)
    return looks_of(read_run(run_of(rows))).algorithms


def test_every_algorithm_has_a_look_that_is_told_apart_from_all_others(looks):
    assert len(looks) >= 22
    for (name, one), (other, two) in combinations(looks.items(), 2):
        assert (one.colour, one.shape, one.dash) != (two.colour, two.shape, two.dash)
        assert one.shape != two.shape or apart(one, two) > TOLD_APART, (name, other)


def test_a_family_has_a_hue_and_a_dash(looks):
    second = [looks[name] for name, kind in ALGORITHMS if (kind.family, kind.order) == ("gradient-based", "second")]
    assert len({look.dash for look in second}) == 1 and len({look.shape for look in second}) == len(second)
    outside = [looks[f"outsider-{n}"] for n in range(3)]
    assert len({look.dash for look in outside}) == 1 and len({look.shape for look in outside}) == 3
    assert outside[0].colour not in {look.colour for name, look in looks.items() if name in dict(ALGORITHMS)}


def test_the_colours_of_the_most_used_are_told_apart_by_everyone(looks):
    for one, other in combinations(("maml", "fomaml", "reptile", "anil", "imaml"), 2):
        assert apart(looks[one], looks[other]) > 1.5 * TOLD_APART


def test_on_a_dark_page_colours_are_seen_and_told_apart(looks):
    paper = luminance("#16181c")
    every = {*(colour for hue in SHADES for colour in hue), *SERIES, *COLOURS.values()} - {INK}
    for colour in every:
        assert (luminance(ON_DARK.get(colour, colour)) + 0.05) / (paper + 0.05) > 3, colour
    dark = {name: replace(look, colour=ON_DARK.get(look.colour, look.colour)) for name, look in looks.items()}
    for (name, one), (other, two) in combinations(dark.items(), 2):
        assert one.shape != two.shape or apart(one, two) > TOLD_APART, (name, other)
    for one, other in combinations(("maml", "fomaml", "reptile", "anil", "imaml"), 2):
        assert apart(dark[one], dark[other]) > 1.2 * TOLD_APART


def luminance(colour):
    """The relative luminance of a colour, of which a contrast is made (WCAG 2)."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_engines_look_different_and_loop_is_ink():
    names = [f"engine {n}" for n in range(10)]
    looks = engine_looks(names)
    assert looks["loop"].colour == INK
    for one, other in combinations(looks.values(), 2):
        assert one.shape != other.shape and apart(one, other) > 1


def test_an_algorithm_looks_the_same_in_every_figure_of_a_run():
    run = read_run(EPYC / "default")
    looks, seen = looks_of(run).algorithms, 0
    for figure in figures(run):
        for layers in (part["layer"] for part in parts(figure.spec)):
            for layer in layers:
                channel = layer["encoding"].get("color", {})
                scale = channel.get("scale") or {}
                for name, colour in zip(scale.get("domain", []), scale.get("range", []), strict=True):
                    if name in looks:
                        seen += 1
                        assert colour == looks[name].colour
    assert seen > 50


def parts(spec):
    """All panels of a specification."""
    if "layer" in spec:
        return [spec]
    return [panel for below in spec.get("vconcat", spec.get("concat", [])) for panel in parts(below)]


def test_a_label_is_one_short_line():
    assert label("a\n b\x1b") == "a b\\x1b" and len(label("x" * 999)) == LONGEST_LABEL
