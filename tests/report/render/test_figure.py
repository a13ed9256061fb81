"""Figures in a page: nothing in them can run, no two meet, all is text, and what a browser makes of them."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from xml.etree import ElementTree

import pytest

from browser import address, browser, resize, scheme
from drawn import texts_in
from metabench.report.figures import figures
from metabench.report.figures.base import Figure, Group, Panel, Subject, frame_of
from metabench.report.figures.marks import layer
from metabench.report.figures.style import ON_DARK
from metabench.report.render.figure import figure_html
from metabench.report.render.svg import COLOURS, ELEMENTS, GEOMETRY, LOOKS, draw_panel, tips_of
from metabench.report.results import read_run
from places import EPYC

HOSTILE = "x']) || alert(1) //\"\\`${datum}</text><script>alert(2)</script><b onload='y'>&#60;$x$\n\x1b[2J"
ATTRIBUTES = {*COLOURS, *GEOMETRY, *LOOKS, "id", "clip-path", "class", "role", "aria-label", "data-row", "data-label"}
POINT = layer("point", x={"field": "x", "type": "quantitative"}, y={"field": "x", "type": "quantitative"})


def figure(name: str = "made", text: str = "maml") -> Figure:
    rows = frame_of([{"name": text, "x": 1.0, "cells": "a"}, {"name": "other", "x": 2.0, "cells": "b"}])
    line = layer({"type": "line", "clip": True}, x=POINT["encoding"]["x"], y=POINT["encoding"]["y"])
    written = layer("text", **POINT["encoding"], text={"field": "name"})
    panel = Panel(f"panel {text}", rows, [POINT, line, written], 90, 90, note=text)
    subjects = {"a": Subject(text, "loop", "sinusoid"), "b": Subject("other", "loop", "sinusoid")}
    return Figure(
        name, f"Heading {text}", f"How to read {text}.", f"a machine {text}", [Group(text, [panel])], subjects
    )


def page_of(*shown: Figure) -> str:
    """A page with nothing but these figures and a row for each of their cells, as strict as that of a run."""
    folder = files("metabench.report.render")
    style, script = (folder.joinpath(f"figure.{kind}").read_text("utf-8") for kind in ("css", "js"))
    style = (
        ":root { --paper: #fff } @media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #eee } }"
        + style
    )
    policy = "default-src 'none'; img-src data:; " + "; ".join(
        f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in (("style", style), ("script", script))
    )
    cells = dict.fromkeys(cell for one in shown for ids in one.frame["cells"] for cell in ids.split())
    rows = "".join(f'<tr id="cell-{cell}" data-cell="{cell}"><td>{cell}</td></tr>' for cell in cells)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>figures</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body>{''.join(map(figure_html, shown))}<table>{rows}</table>"
        f"<script>{script}</script></body></html>"
    )


@pytest.fixture(scope="module")
def drawn() -> list[Figure]:
    return figures(read_run(EPYC / "default"))


@pytest.fixture(scope="module")
def roots(drawn):
    """The figures of a run as trees: what they are made of is well-formed XML."""
    return {one.name: ElementTree.fromstring(figure_html(one)) for one in drawn}


def test_a_figure_is_made_of_what_does_nothing_and_refers_to_nothing_but_itself(roots):
    for root in roots.values():
        pictures = [svg for svg in root.iter("svg") if svg.attrib.get("class") != "swatch"]
        assert pictures
        for svg in pictures:
            ids = {node.attrib["id"] for node in svg.iter() if "id" in node.attrib}
            for node in svg.iter():
                assert node.tag in {*ELEMENTS, "title"} and node.attrib.keys() <= ATTRIBUTES
                assert {clip.attrib["clip-path"] for clip in svg.iter() if "clip-path" in clip.attrib} <= {
                    f"url(#{name})" for name in ids
                }
            assert svg.attrib["aria-label"] is not None and svg.attrib["role"] == "group"
            assert len(svg.attrib["viewBox"].split()) == 4


def test_no_two_elements_of_a_page_have_the_same_id(roots):
    ids = [node.attrib["id"] for root in roots.values() for node in root.iter() if "id" in node.attrib]
    assert len(set(ids)) == len(ids) > len(roots)
    clipped = [
        node.attrib["id"]
        for name in ("a b", "a_20_b", "a-b", "a")
        for node in ElementTree.fromstring(figure_html(figure(name))).iter("clipPath")
    ]
    assert len(set(clipped)) == len(clipped) >= 4


def test_all_texts_of_a_picture_are_texts_of_its_inline_form(drawn, roots):
    for one in drawn:
        said = " ".join(" ".join("".join(roots[one.name].itertext()).split()).split())
        for text, _ in texts_in(one.svg.encode())[0]:
            assert all(word in said for word in text.split()), (one.name, text)
        assert one.title in said and said.count(one.says[:60]) == 1  # one caption


def test_each_mark_of_a_row_says_its_value_with_its_interval(drawn):
    by_name = {one.name: one for one in drawn}
    for name, words in (
        ("pareto", "mean squared error"),
        ("growth", " at inner steps 1"),
        ("engines", "times as fast"),
    ):
        panel = by_name[name].groups[0].panels[0]
        said = {}
        for node in draw_panel(panel, "a-").root.iter():
            if (title := node.find("title")) is not None:
                said[int(node.attrib["data-row"])] = title.text
        assert said.keys() == set(range(len(panel.rows)))
        for number, text in said.items():
            name = text.split("\n")[0].partition(", training seed ")[0]
            assert text == panel.tips[number] and name in " ".join(map(str, panel.rows.iloc[number]))
        assert any(
            words in text and re.search(r"\d \w*\s?\[[\d.]+, [\d.]+\]|\d \[[\d.]+, [\d.]+\]", text)
            for text in said.values()
        )


def test_a_figure_that_says_nothing_of_its_rows_tells_their_columns():
    (panel,) = figure().groups[0].panels
    assert tips_of(panel) == ["name: maml\nx: 1", "name: other\nx: 2"]


def test_a_figure_says_of_what_it_is(drawn, roots):
    for one in drawn:
        node = next(node for node in roots[one.name].iter("figure"))
        found = {kind: json.loads(node.attrib[f"data-{kind}s"]) for kind in ("algorithm", "engine", "task")}
        cells = {cell for ids in one.frame["cells"] for cell in ids.split()}
        for kind, names in found.items():
            assert sorted(names) == sorted({getattr(one.subjects[cell], kind) for cell in cells})
        for panel in (panel for panel in node.iter("div") if "data-about" in panel.attrib):
            about, marks = json.loads(panel.attrib["data-about"]), list(panel.iter())
            rows = [
                int(mark.attrib[kind]) for mark in marks for kind in ("data-row", "data-label") if kind in mark.attrib
            ]
            assert rows and max(rows) < len(about["rows"])


def test_texts_of_a_run_stay_texts():
    root = ElementTree.fromstring(figure_html(figure("<b>'", HOSTILE)))
    assert not [node for node in root.iter() if node.tag in ("script", "b")]
    assert not [name for node in root.iter() for name in node.attrib if name.startswith("on") or name == "style"]
    said = "".join(root.itertext())
    assert "x']) || alert(1)" in said and "</text><script>alert(2)</script>" in said and "\x1b" not in said


def test_the_colours_of_a_dark_page_are_those_of_the_style():
    text = files("metabench.report.render").joinpath("figure.css").read_text("utf-8")
    found = dict(re.findall(r"--on-(\w{6}): (#\w{6});", text))
    assert found == {dark.removeprefix("#"): light for dark, light in ON_DARK.items()}


@pytest.fixture(scope="module")
def opened(drawn, tmp_path_factory):
    file = tmp_path_factory.mktemp("figures") / "figures.html"
    file.write_text(page_of(*drawn), encoding="utf-8")
    with browser() as window:
        window.get(address(file))
        yield window


def run_in(opened, script: str, *given):
    return opened.execute_script(script, *given)


def point_at(opened, mark) -> None:
    """Move the mouse to the middle of a mark, as the browser's own events would tell."""
    run_in(opened, "arguments[0].scrollIntoView({block: 'center'})", mark)
    box = run_in(
        opened, "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]", mark
    )
    event = {"type": "mouseMoved", "x": box[0], "y": box[1]}
    opened.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    assert run_in(opened, "return true")


def click(opened, mark) -> None:
    point_at(opened, mark)
    run_in(
        opened,
        "arguments[0].dispatchEvent(new PointerEvent('click', {bubbles: true, pointerType: 'mouse', ...arguments[1]}))",
        mark,
        at(opened, mark),
    )


def at(opened, mark) -> dict[str, float]:
    x, y = run_in(
        opened, "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]", mark
    )
    return {"clientX": x, "clientY": y}


def marks_of(opened, name: str, which: str = "[data-row][aria-label]"):
    return opened.find_elements("css selector", f"#picture-{name} {which}")


def tip(opened) -> str:
    return run_in(opened, "const t = document.querySelector('.figure-tip'); return t.hidden ? '' : t.innerText")


def test_pointing_at_a_mark_tells_its_value_and_where_it_was_measured(opened, drawn):
    resize(opened, 1440)
    one = next(one for one in drawn if one.name == "pareto")
    rows = one.groups[0].panels[0].rows
    first = next(number for number, seed in enumerate(rows["seed"]) if seed != seed)
    mark = marks_of(opened, "pareto", f"path[data-row='{first}'][aria-label]")[0]
    point_at(opened, mark)
    said = tip(opened)
    row = int(mark.get_attribute("data-row"))
    panel = one.groups[0].panels[0]
    assert all(line in said for line in panel.tips[row].split("\n"))
    assert re.search(r"\d \[[\d.]+, [\d.]+\]", said) and panel.title in said
    run_in(opened, "document.activeElement.blur(); window.scrollTo(0, 0)")


def test_a_click_leads_to_all_rows_behind_a_mark(opened, drawn):
    one = next(one for one in drawn if one.name == "pareto")
    mark = marks_of(opened, "pareto", "path[data-row][aria-label]")[0]
    cells = one.groups[0].panels[0].rows["cells"][int(mark.get_attribute("data-row"))].split()
    click(opened, mark)
    wait = """const done = arguments[0], named = () => [...document.querySelectorAll("tr.named")];
    setTimeout(() => done(named().map((row) => row.dataset.cell)), 200);"""
    assert sorted(opened.execute_async_script(wait)) == sorted(cells)
    assert opened.current_url.endswith(f"#cell-{cells[0]}")


def test_keys_go_from_mark_to_mark(opened):
    first, second = marks_of(opened, "training")[:2]
    assert [mark.get_attribute("tabindex") for mark in (first, second)] == ["0", None]
    press = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true}))"
    run_in(opened, f"arguments[0].focus(); {press}", first, "ArrowRight")
    assert run_in(opened, "return document.activeElement === arguments[0]", second)
    assert [mark.get_attribute("tabindex") for mark in (first, second)] == ["-1", "0"]
    run_in(opened, press, second, "Escape")
    assert tip(opened) == ""


def seen(opened, name: str, algorithm: str) -> list[int]:
    """How many marks of rows of an algorithm a figure shows, and how many it has."""
    code = """
    const figure = document.getElementById("picture-" + arguments[0]);
    const names = JSON.parse(figure.dataset.algorithms);
    let [shown, all] = [0, 0];
    for (const panel of figure.querySelectorAll(".panel")) {
      const about = JSON.parse(panel.dataset.about);
      for (const mark of panel.querySelectorAll("[data-row]")) {
        if (names[about.of[about.rows[mark.dataset.row]][0]] !== arguments[1]) continue;
        all += 1;
        shown += getComputedStyle(mark).display !== "none";
      }
    }
    return [shown, all];
    """
    return run_in(opened, code, name, algorithm)


def test_a_legend_hides_an_algorithm_in_all_figures_and_brings_it_back(opened):
    button = marks_of(opened, "pareto", "button[data-name=fomaml]")[0]
    run_in(opened, "arguments[0].click()", button)
    for name in ("pareto", "training", "growth", "adaptation"):
        (shown, all_of), (others, all_others) = seen(opened, name, "fomaml"), seen(opened, name, "maml")
        assert shown == 0 < all_of and others == all_others > 0
    pressed = run_in(
        opened, "return [...document.querySelectorAll('button[data-name=fomaml]')].map((b) => b.ariaPressed)"
    )
    assert len(pressed) > 2 and set(pressed) == {"false"}
    label = next(text for text in marks_of(opened, "training", "text[data-label]") if text.text == "fomaml")
    assert run_in(opened, "return getComputedStyle(arguments[0]).textDecorationLine", label) == "line-through"
    click(opened, label)  # a name at a line is a legend too
    assert seen(opened, "pareto", "fomaml")[0] > 0
    click(opened, label)
    run_in(opened, "document.querySelector('#picture-growth .all').click()")
    assert seen(opened, "growth", "fomaml")[0] == seen(opened, "growth", "fomaml")[1]
    assert run_in(opened, "return document.querySelector('#picture-growth .all').offsetParent === null")


def test_texts_and_paper_follow_a_dark_page(opened):
    def colour(of: str, what: str) -> int:
        found = run_in(opened, f"return getComputedStyle(document.querySelector('{of}')).{what}")
        return sum(map(int, re.findall(r"\d+", found)[:3]))

    axis = "#picture-pareto .panel text:not([data-label])"
    scheme(opened, "light")
    assert colour(axis, "fill") < 150
    scheme(opened, "dark")
    assert colour(axis, "fill") > 3 * 200
    scheme(opened, "light")


def test_on_a_phone_texts_can_be_read_and_the_page_does_not_scroll_sideways(opened):
    resize(opened, 390)
    wide, smallest = run_in(
        opened,
        """const sizes = [...document.querySelectorAll(".panel svg")].map((svg) => 10 * svg.getScreenCTM().a);
        return [document.documentElement.scrollWidth, Math.min(...sizes)];""",
    )
    assert wide <= 390 and smallest > 7.5
    resize(opened, 1440)


def test_a_tap_tells_and_a_second_one_leads_on(opened):
    mark = marks_of(opened, "training", "path[data-row][aria-label]")[0]
    run_in(
        opened,
        "arguments[0].scrollIntoView({block: 'center'}); history.replaceState(null, '', location.pathname)",
        mark,
    )
    tap = (
        "arguments[0].dispatchEvent(new PointerEvent('click', {bubbles: true, pointerType: 'touch', ...arguments[1]}))"
    )
    run_in(opened, tap, mark, at(opened, mark))
    assert "after" in tip(opened) and "#cell" not in opened.current_url
    run_in(opened, tap, mark, at(opened, mark))
    assert "#cell-" in opened.current_url


def test_of_what_is_of_no_algorithm_nothing_can_be_hidden(tmp_path):
    one = figure()
    file = tmp_path / "one.html"
    file.write_text(page_of(Figure(one.name, one.title, one.says, one.machine, one.groups)), encoding="utf-8")
    with browser() as window:
        window.get(address(file))
        assert window.find_elements("css selector", ".keys") == []
        mark = window.find_elements("css selector", "[data-row]")[0]
        point_at(window, mark)
        assert tip(window).startswith("name: maml")
        assert len(run_in(window, "return [...document.querySelectorAll('.off')]")) == 0
        assert window.get_log("browser") == []


def test_the_browser_had_nothing_to_say(opened):
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
