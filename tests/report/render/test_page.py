"""The page: what is in it, by a parser, and what it does, in a real browser."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from browser import address, browser, resize, scheme
from metabench.report.answer import Answer, answer_of
from metabench.report.document import document
from metabench.report.numbers import true_value
from metabench.report.render.attachments import LARGEST, Attachment
from metabench.report.render.page import SCRIPTS, Front, Kinds, Part, page
from metabench.report.render.tables import Table
from metabench.report.results import read_run
from metabench.report.write import write_report

NASTY = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


class Parsed(HTMLParser):
    """All tags with their attributes, the texts of the rows of all tables, and tags that were not closed."""

    VOID = ("meta", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if ("td" in self.open or "th" in self.open) and "details" not in self.open[-3:]:
            self.tables[-1][-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = Path(shutil.copytree(synthetic, tmp_path_factory.mktemp("page") / "synthetic"))
    write_report(target)
    return target


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_table_and_picture_is_there_once_and_every_link_leads_somewhere(folder, text):
    shown = Parsed(text)
    tables = [table for section in document(read_run(folder)).sections for table in section.tables]
    first = [table for table in answer_of(read_run(folder)).tables if table.rows]
    assert len([t for t in tables if t.rows]) + len(first) + 1 == len(shown.tables)  # one more holds all rows
    ids = [attributes["id"] for _, attributes in shown.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    links = [str(attributes["href"]) for attributes in shown.named("a")]
    assert {unquote(link[1:]) for link in links if link.startswith("#")} <= set(ids)
    assert all((folder / unquote(link)).is_file() for link in links if not link.startswith("#"))
    assert len(shown.named("figure")) == len(list((folder / "plots").glob("*.svg")))


def test_nothing_is_fetched_and_the_policy_names_just_this_script_and_style(text):
    shown = Parsed(text)
    (policy,) = [m["content"] for m in shown.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        contents = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
        named = " ".join(f"'sha256-{digest}'" for digest in digests)
        assert named and f"{tag}-src {named}" in policy
        # all else that a script's tag holds is data
        assert {a.get("type", "application/json") for a in shown.named(tag)} <= {"application/json", "text/plain"}
    assert shown.named("img") == [] and len(shown.named("svg")) > len(shown.named("figure")) > 1
    for _, attributes in shown.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        assert "src" not in attributes or str(attributes["src"]).startswith("data:")


def nasty_front(table: Table) -> Front:
    answer = Answer(NASTY, NASTY, NASTY, (table,), (NASTY,), NASTY, (NASTY,))
    files = [Attachment(NASTY, b"content"), Attachment("large", bytes(2 * LARGEST))]
    return Front(answer, None, ((NASTY, NASTY), ("repeat with", NASTY)), NASTY, files)


def test_every_text_is_escaped():
    table = Table(NASTY, NASTY, (NASTY, "b"), ((NASTY, "1"),), (NASTY,), ((NASTY,),))
    for part in (Part(NASTY, NASTY, (table,)), Part(NASTY, NASTY, (table,), appendix=True)):
        kinds = Kinds(("task",), {NASTY: (NASTY,), "b": ("b",)})
        parts = [part, Part("other", "", (table,))]
        written = page(NASTY, ((NASTY, NASTY),), (NASTY,), parts, front=nasty_front(table), kinds=kinds)
        shown = Parsed(written)
        assert len([tag for tag in shown.named("script") if "type" not in tag]) == len(SCRIPTS)
        assert shown.named("img") == []
        assert shown.tables[0][1][0] == NASTY


def test_a_run_with_nothing_in_it_but_failures_has_a_page(run_of, row):
    folder = run_of([row(0, "crashed", NASTY)])
    write_report(folder)
    shown = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert any(NASTY in cells for table in shown.tables for cells in table)


def test_the_texts_and_values_of_all_cells_are_those_of_the_tables(folder, text):
    expected = {
        tuple(" ".join(cell.split()) for cell in row): row
        for section in document(read_run(folder)).sections
        for table in section.tables
        for row in table.rows
    }
    seen = 0
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text.split("<main>")[1].split('class="appendix"')[0]):
        if 'scope="col"' in row:
            continue
        values = re.findall(r"<t[hd](?: scope=\"row\")?(?: class=\"(?:long|quiet)\")?( data-value=\"[^\"]*\")?>", row)
        (cells,) = Parsed(f"<table><tr>{row}</tr></table>").tables[0]
        of = expected[tuple(cells[:-1])]
        found = [float(value.split('"')[1]) if value else None for value in values]
        assert found == [true_value(cell) for cell in of]
        seen += 1
    assert seen == sum(len(table.rows) for section in document(read_run(folder)).sections for table in section.tables)


# In a real browser


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[object]:
    with browser() as driver:
        resize(driver, 1280)
        driver.get(address(folder / "report.html"))
        yield driver


def figures(driver, table: str, column: str, what: str = "textContent") -> list[str]:
    """The texts, or the values, of a column of the table whose title begins so, of the rows that are seen."""
    return driver.execute_script(
        """const section = [...document.querySelectorAll("main section.table")]
             .find((s) => s.querySelector("h3").textContent.startsWith(arguments[0]));
           const heads = [...section.querySelectorAll("thead th")];
           const at = heads.findIndex((h) => h.textContent.replace(/[↕↑↓]/g, "").trim() === arguments[1]);
           return [...section.querySelectorAll("tbody tr")].filter((r) => r.checkVisibility())
             .map((r) => arguments[2].split(".").reduce((found, name) => found[name], r.cells[at]) ?? null);""",
        table,
        column,
        what,
    )


def head(driver, table: str, column: str):
    xpath = (
        f"//main//section[h3[starts-with(., '{table}')]]//thead//button[starts-with(normalize-space(.), '{column}')]"
    )
    found = driver.find_element("xpath", xpath)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)  # not half below the window's edge
    return found


def test_no_message_on_the_console_and_no_request_but_for_the_page(opened, folder):
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url for url in sent if not url.startswith("data:")} == {address(folder / "report.html")}
    images = "return [...document.images].map((image) => image.complete && image.naturalWidth)"
    assert all(width > 100 for width in opened.execute_script(images))


def test_figures_shown_are_those_of_the_csv(opened, folder):
    results = pd.read_csv(folder / "results.csv")
    one = results.query("status == 'ok' and engine == 'loop' and task == 'glyphs' and algorithm == 'maml'")
    (shown,) = set(figures(opened, "Cost: glyphs", "peak memory")[:1])
    assert float(shown.split()[0]) == pytest.approx(one.tracked_bytes.dropna().iloc[0] / 1024, rel=0.005)
    script = "return [...document.querySelectorAll('.appendix tbody tr')].map((r) => r.cells[0].textContent)"
    assert sorted(opened.execute_script(script)) == sorted(results.id)


def test_a_click_sorts_by_value_and_another_one_the_other_way(opened):
    table, column = "Cost: sinusoid, 10 points, mlp-40x2, cpu", "step time"
    before = figures(opened, table, column)
    head(opened, table, column).click()
    up, values = figures(opened, table, column), figures(opened, table, column, "dataset.value")
    assert sorted(up) == sorted(before) and up != before
    seconds = [float(value) for value in values if value is not None]
    assert len(seconds) > 4 and seconds == sorted(seconds)
    head(opened, table, column).send_keys("\ue007")  # Enter: by the keyboard as well
    down = figures(opened, table, column, "dataset.value")
    missing = len(up) - len(seconds)
    assert missing and up[-missing:] == ["–"] * missing  # what has no figure stays below
    assert down == [str(value) for value in values[:-missing]][::-1] + [None] * missing
    script = "return arguments[0].closest('tr').querySelectorAll('[aria-sort=descending]').length"
    assert opened.execute_script(script, head(opened, table, column)) == 1


def test_a_filter_leaves_the_rows_that_have_all_words(opened):
    field = opened.find_element("id", "filter")
    field.send_keys("FOMAML loop")
    seen = opened.execute_script(
        """return [...document.querySelectorAll("main section.table")].filter((s) => !s.closest(".appendix"))
           .flatMap((s) => [...s.querySelectorAll("tbody tr")].filter((r) => r.checkVisibility())
           .map((r) => `${s.querySelector("h3").textContent} ${r.textContent}`.toLowerCase()))"""
    )
    assert seen and all("fomaml" in text and "loop" in text for text in seen)
    output = opened.find_element("css selector", ".filter output").text
    assert f" {len(seen)} of " in output
    field.clear()
    field.send_keys(" ")
    assert opened.execute_script("return document.querySelectorAll('tr[hidden], section[hidden]').length") == 0


def test_a_row_leads_to_the_measurements_behind_it(opened, folder):
    details = opened.find_element("css selector", "td.cells details")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", details)
    details.find_element("tag name", "summary").click()
    link = details.find_element("tag name", "a")
    name = link.text
    link.click()
    marked = opened.execute_script("return [...document.querySelectorAll('tr.named')].map((r) => r.innerText)")
    results = pd.read_csv(folder / "results.csv")
    assert len(marked) == (results.id == name).sum() and all(text.startswith(name) for text in marked)


def test_on_a_phone_the_page_itself_does_not_scroll_sideways(opened):
    resize(opened, 390, 844)
    assert opened.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [390, 390]
    wide = "return [...document.querySelectorAll('.wide')].some((box) => box.scrollWidth > box.clientWidth)"
    assert opened.execute_script(wide)  # wide tables do, in boxes of their own
    resize(opened, 1280)


def test_a_dark_system_gets_a_dark_page_with_dark_figures(opened):
    def brightness(of: str) -> int:
        colour = opened.execute_script(f"return getComputedStyle(document.querySelector('{of}')).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    scheme(opened, "light")
    assert brightness("body") == 3 * 255
    scheme(opened, "dark")
    assert brightness("body") < 150 and brightness("td") < 150
    axis = "return getComputedStyle(document.querySelector('figure .panel text')).fill"
    assert sum(map(int, re.findall(r"\d+", opened.execute_script(axis))[:3])) > 3 * 200
    scheme(opened, "light")


def test_a_page_of_no_run_filters_and_says_nothing_on_the_console(opened, tmp_path):
    tables = [Table("first", "", ("name", "value"), (("maml", "1"), ("anil", "2")), ("a note",))]
    tables.append(Table("second", "", ("name",), (("reptile",),)))
    facts = (("machine", "a machine"),)
    (tmp_path / "page.html").write_text(page("Title", facts, ("be careful",), [Part("Part", "", tables)]), "utf-8")
    opened.get(address(tmp_path / "page.html"))
    opened.find_element("id", "filter").send_keys("anil")
    rows = "return [...document.querySelectorAll('main tbody tr')].filter((r) => r.checkVisibility()).length"
    assert opened.execute_script(rows) == 1
    assert opened.find_element("css selector", ".filter output").text == "1 of 2 tables, 1 of 3 rows"
    assert opened.find_element("css selector", "dd").text == "a machine"
    assert opened.get_log("browser") == []
