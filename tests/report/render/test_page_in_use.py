"""The page of a run as it is used: what is seen first, on a phone and on paper; the filter; copies and files."""

import csv
import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import address, browser, medium, resize
from metabench.report.answer import Answer
from metabench.report.numbers import Valued
from metabench.report.render.tables import Table
from metabench.report.write import write_report

QUESTION = "What do MAML, FOMAML, Reptile and ANIL cost, and what do they reach?"
SENTENCES = (
    "FOMAML takes 0.41 [0.38, 0.44] of MAML's time and 59 % of its memory, for 2.3 points of accuracy.",
    "Reptile is the smallest, and loses 5.7 points.",
    "On sinusoids vmap is 7 to 21 times as fast as loop.",
)
COLUMNS = (
    "algorithm",
    "step time",
    "relative time (maml = 1)",
    "peak memory",
    "relative memory (maml = 1)",
    "accuracy",
    "accuracy - maml",
)
ROW = (
    Valued("57.0 ms [51.0, 64.0] (noisy)", 0.057),
    Valued("0.41 [0.38, 0.44]", 0.41),
    Valued("9.04 MiB", 9479127.0),
    Valued("0.586", 0.586),
    Valued("78.4 % [76.8, 80.0]", 0.784),
    Valued("-2.3 pp [-3.1, -1.5]", -0.023),
)
ALGORITHMS = ("maml", "fomaml", "reptile", "anil & co_1")
NOTES = ("Peak memory of one meta-iteration, by: allocator events.", "1 seed.")
FAILED = "2 configurations ran out of memory."


def written(run: Path, target: Path, *titles: str) -> Path:
    """A copy of a run folder, reported with an answer that has a table of each title."""
    shutil.copytree(run, target)
    (target / "sweep.toml").write_text("title = 'Every case once'\n", encoding="utf-8")
    rows = tuple((name, *ROW) for name in ALGORITHMS)
    tables = tuple(Table(title, "Time of one meta-iteration.", COLUMNS, rows, NOTES) for title in titles)
    ran, machine = "57 configurations × 3 repetitions in 13 min 46 s", "AMD EPYC, 2 cores, 24 GiB, torch 2.15.0"
    answer = Answer(QUESTION, ran, machine, tables, SENTENCES, "Two measurements differ by up to 15 %.", (FAILED,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metabench.report.document.answer_of", lambda run: answer)
        write_report(target)
    return target


@pytest.fixture(scope="module")
def folder(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose answer is as long as that of a default run."""
    titles = ("Omniglot, 5-way 1-shot, conv4-64, inner steps 3", "Sinusoids, 10 points, mlp-40x2, inner steps 5")
    return written(synthetic, tmp_path_factory.mktemp("used") / "synthetic", *titles)


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Any]:
    with browser() as driver:
        driver.get(address(folder / "report.html"))
        yield driver


@pytest.fixture
def page(opened: Any, folder: Path) -> Any:
    """The page as it is when it is opened on a desk."""
    resize(opened, 1440)
    return visit(opened, folder)


def visit(opened: Any, folder: Path, fragment: str = "") -> Any:
    opened.get("about:blank")  # else another fragment would not open the page anew
    opened.get(address(folder / "report.html") + fragment)
    return opened


def bottoms(driver: Any, selector: str) -> list[float]:
    """How far down the elements that are seen reach, in CSS pixels."""
    return driver.execute_script(
        """return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())
             .map((e) => e.getBoundingClientRect().bottom)""",
        selector,
    )


def seen(driver: Any, selector: str) -> list[str]:
    script = """return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())
                  .map((e) => e.innerText)"""
    return driver.execute_script(script, selector)


def press(driver: Any, *words: str) -> None:
    for word in words:
        script = (
            """[...document.querySelectorAll(".filter button")].find((b) => b.innerText === arguments[0]).click()"""
        )
        driver.execute_script(script, word)


def test_a_desk_shows_the_whole_answer_without_scrolling(page):
    assert seen(page, "h1") == [QUESTION] and page.title == QUESTION
    assert seen(page, ".failure") == [FAILED]
    assert tuple(seen(page, ".sentences li")) == SENTENCES
    found = [
        *bottoms(page, ".sentences li"),
        *bottoms(page, ".front table"),
        *bottoms(page, ".front figure svg, .front img"),
    ]
    assert len(bottoms(page, ".front table")) == 2 and max(found) <= 900
    boxes = "return [...document.querySelectorAll('.front .wide')].map((box) => box.scrollWidth - box.clientWidth)"
    assert page.execute_script(boxes) == [0, 0]
    assert seen(page, ".about p, .front .notes p, .warning li") == []  # folded


def test_a_figure_taller_than_the_answer_is_cut_until_it_is_asked_for(opened, synthetic, tmp_path):
    resize(opened, 1440)
    visit(opened, written(synthetic, tmp_path / "short"))
    heights = """const [box, figure] = [".front > .picture", ".front figure"].map((e) => document.querySelector(e));
      return [box.clientHeight, figure.scrollHeight]"""
    box, figure = opened.execute_script(heights)
    assert box < figure
    opened.find_element("css selector", ".more").click()
    box, figure = opened.execute_script(heights)
    assert box >= figure - 1 and seen(opened, ".more") == []


def test_a_phone_shows_sentences_and_the_first_table_with_ratios_and_scores_first(page):
    resize(page, 390, 844)
    assert page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [390, 390]
    assert max(bottoms(page, ".sentences li")) < bottoms(page, ".front table")[0] <= 844
    heads = page.execute_script(
        """const left = (e) => e.getBoundingClientRect().x;
           return [...document.querySelector(".front table").tHead.rows[0].cells].filter((e) => e.checkVisibility())
             .sort((a, b) => left(a) - left(b)).map((e) => e.innerText)"""
    )
    assert [" ".join(head.split()) for head in heads] == [
        *("algorithm", "relative time (maml = 1)", "accuracy", "accuracy - maml", "relative memory (maml = 1)"),
        *("step time", "peak memory"),
    ]
    assert seen(page, ".cells") == []
    statuses = """const found = [];
      for (const table of document.querySelectorAll("main section.table:not(.appendix *) table")) {
        const place = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent.trim() === "status");
        const cells = [...table.rows].map((row) => row.cells[place]);
        if (place >= 0) found.push([cells[0].checkVisibility(), cells.slice(1).map((cell) => cell.textContent)]);
      }
      return found"""
    columns = page.execute_script(statuses)
    assert columns and all(shown == (set(texts) != {"ok"}) for shown, texts in columns)


def test_it_says_what_it_was_measured_with(page, folder):
    said = dict(zip(seen(page, ".origin dt"), seen(page, ".origin dd"), strict=True))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|not known", said["measured"])
    assert "commit" in said["metabench"] and said["repeat with"] == "metabench run sweep.toml"
    assert "results.csv" in said["data"] and "KiB" in said["data"]


def test_chips_and_words_leave_what_has_them_and_hide_what_has_nothing_left(page):
    everything = len(seen(page, "main .picture"))
    press(page, "glyphs", "fomaml")
    rows = page.execute_script(
        """return [...document.querySelectorAll("main section.table tbody tr[data-cell]")].filter((r) => !r.hidden)
             .map((r) => data.kinds[data.cells[r.dataset.cell]])"""
    )
    assert rows and {tuple(row[:2]) for row in rows} == {("glyphs", "fomaml")}
    left = page.execute_script(
        """return [...document.querySelectorAll("main section.table")].filter((s) => !s.closest(".appendix"))
             .map((s) => [...s.querySelectorAll("tbody tr")].filter((r) => !r.hidden).length).filter(Boolean)"""
    )
    said = seen(page, ".filter output")[0]
    assert said.startswith(f"{len(left)} of ") and f" {sum(left)} of " in said
    figures = len(seen(page, "main .picture"))
    assert figures < everything and f" {figures} of {everything} figures" in said
    empty = """return [...document.querySelectorAll("main section.part")].filter((p) => !p.hidden &&
      ![...p.querySelectorAll("section.table, .picture")].some((e) => !e.hidden)).length"""
    assert page.execute_script(empty) == 0
    press(page, "Show all")
    assert page.execute_script("return document.querySelectorAll('main [hidden]').length") == 0
    page.find_element("id", "filter").send_keys("nothing-has-this")
    assert seen(page, "main h2, main h3, main figure") == []
    assert seen(page, ".filter output")[0].startswith("0 of ")


def test_the_address_keeps_filter_and_sort(page, folder):
    press(page, "sinusoid", "maml", "loop")
    page.find_element("id", "filter").send_keys("cost")
    page.execute_script("document.querySelector('main section.table:not([hidden]) thead button').click()")
    page.execute_script("document.querySelectorAll('.front thead button')[1].click()")
    state = """const rows = [...document.querySelectorAll("main tr")].filter((row) => !row.closest("[hidden]"));
      return [rows.map((row) => row.textContent), document.querySelector(".filter output").value,
      [...document.querySelectorAll("[aria-sort=ascending]")].map((e) => e.innerText),
      [...document.querySelectorAll(".chips [aria-pressed=true]")].map((e) => e.innerText)]"""
    before, where = page.execute_script(state), page.current_url
    assert before[2:] == [["step time", "algorithm"], ["sinusoid", "maml", "loop"]]
    assert before[1] and "words=cost" in where
    visit(page, folder, "#" + where.partition("#")[2])
    assert page.execute_script(state) == before and page.current_url == where
    page.execute_script("document.querySelector('nav a[href=\"#part-1\"]').click()")  # a link has no state of its own
    assert re.search("#part-1[?].*words=cost", page.current_url)
    assert page.execute_script(state) == before


def test_a_link_to_a_cell_works_beside_a_filter_that_hides_it(page, folder):
    name = page.execute_script("return document.querySelector('tr[id^=cell-]').id")
    visit(page, folder, f"#{name}?words=nothing-has-this")
    marked = page.execute_script(
        "return [...document.querySelectorAll('tr.named')].map((r) => `cell-${r.dataset.cell}`)"
    )
    assert marked and set(marked) == {name}
    assert page.execute_script("return document.querySelector('tr.named').checkVisibility()")


def copied(driver: Any, name: str, clipboard: bool) -> str:
    """What the first table's menu copies; without a clipboard, what the page copies as a browser of old."""
    if clipboard:
        driver.execute_script(
            "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (t) => { window.took = t }}})"
        )
    else:
        driver.execute_script(
            """Object.defineProperty(navigator, 'clipboard', {value: undefined});
               document.addEventListener("copy", () => { window.took = document.activeElement.value });"""
        )
    driver.find_element("css selector", "details.copy summary").click()
    driver.find_element("xpath", f"//details[@class='copy']//button[text()='{name}']").click()
    deadline = time.monotonic() + 20
    while not seen(driver, "output.told") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen(driver, "output.told") == [f"Copied as {name}"]
    return driver.execute_script("return window.took")


@pytest.mark.parametrize("clipboard", [True, False])
def test_a_table_is_copied_as_csv_with_the_values_of_its_figures(page, clipboard):
    page.execute_script("document.querySelectorAll('.front thead button')[0].click()")  # sorted by name
    heads, *rows = csv.reader(io.StringIO(copied(page, "CSV", clipboard)))
    assert [head for head in heads if not head.endswith(": value")] == list(COLUMNS)
    assert [row[0] for row in rows] == sorted(ALGORITHMS)
    (time_text, time_value) = (rows[1][heads.index(name)] for name in ("step time", "step time: value"))
    assert time_text == ROW[0] and float(time_value) == ROW[0].value
    assert "relative memory (maml = 1): value" not in heads  # the text is the value


def test_a_table_is_copied_as_markdown_and_as_latex_with_every_sign_escaped(page):
    markdown = copied(page, "Markdown", clipboard=True)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert lines[0] == f"| {' | '.join(COLUMNS)} |" and len(lines) == len(ALGORITHMS) + 2
    assert "| anil & co\\_1 | 57.0 ms [51.0, 64.0] (noisy) |" in markdown
    page.refresh()
    latex = copied(page, "LaTeX", clipboard=True)
    assert (
        r"anil \& co\_1 & 57.0 ms [51.0, 64.0] (noisy) & 0.41 [0.38, 0.44] & 9.04 MiB & 0.586 & 78.4 \% [76.8" in latex
    )
    assert r"\begin{tabular}{lllllll}" in latex and latex.count(r"\\") == len(ALGORITHMS) + 1
    assert all(note in latex for note in NOTES)


def test_every_file_can_be_saved_from_the_page_alone(opened, folder, tmp_path):
    alone = tmp_path / "sent"
    alone.mkdir()
    shutil.copy(folder / "report.html", alone)
    visit(opened, alone)
    saved = tmp_path / "saved"
    behaviour = {"behavior": "allow", "downloadPath": str(saved)}
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    names = opened.execute_script("return [...document.querySelectorAll('.file a')].map((a) => a.getAttribute('href'))")
    assert set(names) == {"results.csv", "samples.csv", "curves.csv", "measurements.jsonl", "sweep.toml"}
    names += [f"plots/{file.name}" for file in (folder / "plots").glob("*.csv")]
    for name in names:
        link = opened.find_element("css selector", f"a[href='{name}']")
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()  # as by a hand: of what a script clicks a browser saves only a few
        target, deadline = saved / Path(name).name, time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert target.read_bytes() == (folder / name).read_bytes(), name
    assert opened.get_log("browser") == []


def test_paper_gets_all_that_matters_and_nothing_is_cut(page):
    resize(page, 1032)  # A4 across, less its margins
    medium(page, "print")
    try:
        assert seen(page, ".filter, nav, details.copy, .cells, .appendix") == []
        assert seen(page, ".warning li") and seen(page, ".failure") == [FAILED]
        assert len(seen(page, ".front .notes p")) == 2 * (1 + len(NOTES))
        assert seen(page, ".about details p")
        wide = """return [...document.querySelectorAll("h1, h2, h3, p, table, figure, figure .scroll")]
          .filter((e) => e.checkVisibility() && !e.closest(".sr") && e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML.slice(0, 200))"""
        assert page.execute_script(wide) == []
        kept = "return [...document.querySelectorAll('h2, h3:not(.sr)')].map((e) => getComputedStyle(e).breakAfter)"
        assert set(page.execute_script(kept)) == {"avoid"}
    finally:
        medium(page, "")
