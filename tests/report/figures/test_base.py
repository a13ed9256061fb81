"""What all figures have in common: the picture is the CSV, texts of a run do nothing, files are the same each time."""

import io
import json
import subprocess
import sys
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from drawn import check_texts, run_by_vega, texts_in
from metabench.errors import UserError
from metabench.report.figures import figures, write_figure
from metabench.report.figures.base import MOST_PANELS, Figure, Group, Panel, frame_of, image, shared, wrapped
from metabench.report.figures.marks import layer
from metabench.report.frames import to_frame
from metabench.report.results import read_run
from places import AVX2, EPYC, H100

RUNS = sorted(file.parent for place in (EPYC, H100) for file in place.glob("*/measurements.jsonl"))
HOSTILE = "x']) || alert(1) //\"\\`${datum}<b onload='y'>&#60;$x$\n\x1b[2J" + "long " * 26
POINT = layer("point", x={"field": "x", "type": "quantitative"}, y={"field": "x", "type": "quantitative"})


def figure(panels: int = 1, name: str = "made", text: str = "") -> Figure:
    rows = [frame_of([{"name": f"{number}{text}", "x": 0.1 + number, "cells": "a"}]) for number in range(panels)]
    made = [Panel(f"panel {number} {text}", frame, [POINT], 50, 50) for number, frame in enumerate(rows)]
    return Figure(name, f"Heading {text}", "How to read it.", f"a machine {text}", [Group(text, made)])


def panels_of(found: Figure) -> list[Panel]:
    return [panel for group in found.groups for panel in group.panels]


def as_text(value):
    """As a CSV has it."""
    return "" if value is None else str(value)


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_the_data_of_a_picture_are_the_rows_of_its_csv(folder):
    run = read_run(folder)
    ids = set(to_frame(run).id)
    for found in figures(run):
        drawn = [row for rows in found.spec["datasets"].values() for row in rows]
        written = pd.read_csv(io.StringIO(found.csv()), dtype=str, keep_default_na=False)
        assert 0 < len(drawn) <= len(found.frame)
        assert len(drawn) == len(found.frame) or len(panels_of(found)) > MOST_PANELS
        written = written[: len(drawn)]
        for column in written:
            assert [as_text(row[column]) for row in drawn] == [text.replace("inf", "") for text in written[column]]
        assert all(cells and set(cells.split()) <= ids for cells in found.frame["cells"] if found.name != "engines")
        json.dumps(found.spec, allow_nan=False)


@pytest.mark.parametrize("folder", [run for run in RUNS if not run.name.startswith("default-")])
def test_pictures_can_be_read(folder):
    for found in figures(read_run(folder)):
        texts = check_texts(found)
        said = " ".join(texts)
        assert found.title in said and found.machine.split(",")[0] in said
        for panel in panels_of(found)[:MOST_PANELS]:
            assert all(line in said for line in wrapped(panel.title, 150)[:1]), panel.title
        for name in {row.get("name", "") for rows in found.spec["datasets"].values() for row in rows}:
            # a long one is cut, or broken into lines
            assert any(name in text or (len(text) > 10 and name.startswith(text.rstrip("…"))) for text in texts)


def test_the_same_figure_is_the_same_file_in_every_process():
    code = (
        "import sys; from pathlib import Path; from metabench.report.figures import figures;"
        "from metabench.report.figures.base import image; from metabench.report.results import read_run;"
        f"run = read_run(Path({str(AVX2 / 'memory')!r})); figure = figures(run)[0];"
        "sys.stdout.buffer.write(image(figure, 'svg'))"
    )
    own, *_ = figures(read_run(AVX2 / "memory"))
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert other.stdout == image(own, "svg") == image(own, "svg")
    assert image(own, "png") == image(own, "png")


def test_what_settings_have_in_common_is_said_once():
    assert shared(["sinusoid, cpu, steps 1", "sinusoid, cpu, steps 5"]) == ("sinusoid, cpu", ["steps 1", "steps 5"])
    assert shared(["sinusoid, cpu"]) == ("sinusoid, cpu", [""]) and shared([]) == ("", [])


def test_what_draws_is_imported_when_something_is_drawn():
    code = "import sys, metabench.report.write; assert not {'vl_convert', 'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_is_solid_so_that_it_can_be_read_on_a_dark_page():
    picture = Image.open(io.BytesIO(image(figure(), "png"))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert picture.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("disturbed", [None, {"reason": "others were busy", "factor": 3.0}])
def test_a_figure_says_which_of_its_times_were_disturbed(run_of, row, disturbed):
    rows = [row(engine=engine, measure=["time"]) for engine in ("loop", "vmap")]
    rows[1]["time"]["disturbed"] = disturbed
    found = {made.name: made for made in figures(read_run(run_of(rows)))}["engines"]
    assert ("disturbed" in found.frame) == bool(disturbed)
    assert ("Disturbed, most likely by other programs" in found.says) == bool(disturbed)
    if disturbed:
        assert "times of maml/vmap" in found.says
        assert dict(zip(found.frame["engine"], found.frame["disturbed"], strict=True))["vmap"]
        assert "Disturbed" in " ".join(check_texts(found))


def test_of_very_many_panels_the_first_are_drawn_and_it_says_so():
    many = figure(1000)
    assert len(many.spec["datasets"]) == MOST_PANELS and len(many.frame) == 1000
    assert any("984 more panels" in text for text in check_texts(many))


def test_texts_of_a_run_do_nothing_and_are_of_bounded_length(run_of, row, renamed):
    rows = []
    for number in range(3):
        for engine in ("loop", HOSTILE):
            for steps in (1, 5):
                made = row(number, seed=number, inner_steps=steps)
                rows.append(renamed(made, algorithm=HOSTILE, engine=engine, model=HOSTILE))
    run = read_run(run_of(rows, {"summary": HOSTILE, "sweep": {"name": HOSTILE}}))
    found = figures(run)
    assert {"engines", "training", "growth"} <= {one.name for one in found}
    for one in found:
        assert not [text for text in run_by_vega(one.spec) if "alert" in text or "onload" in text]
        assert '"url"' not in json.dumps(one.spec)
        svg = image(one, "svg")
        assert (
            b"<b " not in svg
            and b"\x1b" not in svg
            and "x']) || alert(1)" in "".join(ElementTree.fromstring(svg).itertext())
        )
        texts, (width, _) = texts_in(svg)
        assert max(len(text) for text, _ in texts) <= 320 and width < 4000


def test_a_figure_is_written_alone(tmp_path):
    for kind, begin in (("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        write_figure(AVX2 / "memory", "growth", tmp_path / f"a.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes().startswith(begin)
    with pytest.raises(UserError, match="did you mean 'growth'"):
        write_figure(AVX2 / "memory", "groth", tmp_path / "a.svg")
    with pytest.raises(UserError, match="format"):
        write_figure(AVX2 / "memory", "growth", tmp_path / "a.gif")
