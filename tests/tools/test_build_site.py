"""The site: links lead to what the site has, and a figure to the rows behind it."""

import json
from pathlib import Path

import pytest

import build_site
from browser import address, browser, resize, scheme
from metabench.record.cell import Cell
from metabench.report.answer import Answer
from metabench.report.render.tables import Table
from runs import made, run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "link, shown",
    [
        ("[method](method.md#claims)", "[method](method.md#claims)"),
        ("[a run](../results/epyc-2core/engines/tables.md)", "[a run](results/epyc-2core/engines/report.html)"),
        ("[a run](../results/epyc-2core/engines)", "[a run](results/epyc-2core/engines/report.html)"),
        ("[forecast](../results/epyc-2core/forecast.md)", "[forecast](results/epyc-2core/forecast.md)"),
        ("[claims](../results/claims.md)", "[claims](claims.md)"),
        ("[results](../results)", "[results](measured.md)"),
        ("[notebook](notebook.ipynb)", "[notebook](notebook.md)"),
        ("[code](../metabench/autodiff.py)", "[code](https://example.org/main/metabench/autodiff.py)"),
        ("[elsewhere](https://example.org)", "[elsewhere](https://example.org)"),
        ("[below](#below)", "[below](#below)"),
        ("![picture](img/engines.svg)", "![picture](img/engines.svg)"),
    ],
)
def test_a_link_leads_to_what_the_site_has(link, shown):
    assert build_site.page_links(link, "docs/scale.md", "https://example.org/main") == shown


def test_a_link_to_the_source_is_left_out_where_it_is_not_known_where_that_is():
    assert build_site.page_links("see [code](../metabench/autodiff.py)", "docs/scale.md") == "see code"


def test_a_name_in_a_table_leads_to_the_rows_behind_it(monkeypatch):
    table = Table("Cost", "", ("algorithm", "time"), (("maml", "2 ms"), ("a|b", "1 ms")), (), (("id-1", "id-2"), ()))
    answer = Answer("What does it cost?", "2 configurations", "a machine", (table,), ("It is fast.",), "", ())
    monkeypatch.setattr(build_site, "answer_of", lambda run: answer)
    first = run([made(Cell(algorithm="maml", task="sinusoid"))], "first")
    page = build_site.measured_page([build_site.Measured("box", first, ("results.csv",))])
    assert "## box" in page and "### first: What does it cost?" in page and "- It is fast." in page
    assert "[maml](results/box/first/report.html#cell-id-1)" in page
    assert "| a\\|b" in page
    assert "[results.csv](results/box/first/results.csv)" in page


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of the committed runs, whose own pages are left empty: they are tested elsewhere."""

    def stub(folder):
        for name in ("report.html", "results.csv", "samples.csv", "curves.csv", "tables.md"):
            (folder / name).write_text("", encoding="utf-8")

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build_site, "write_report", stub)
        assert build_site.main(["--out", str(folder)]) == 0  # mkdocs refuses a link or an anchor that leads nowhere
    return folder


def test_every_page_of_the_book_and_every_run_is_there(site):
    pages = {file.name for file in site.glob("*.html")}
    assert {f"{file.stem}.html" for file in (ROOT / "docs").glob("*.md")} <= pages
    assert (site / "notebook.ipynb").read_bytes() == (ROOT / "docs" / "notebook.ipynb").read_bytes()
    shown = (site / "notebook.html").read_text(encoding="utf-8")
    assert "A sweep of your own axes" in shown and 'href="notebook.ipynb"' in shown
    assert (site / "results/epyc-2core/engines/report.html").is_file()
    text = (site / "measured.html").read_text(encoding="utf-8")
    assert "results/epyc-2core/engines/report.html" in text and "https://fonts" not in text


@pytest.mark.parametrize("width", [1440, 390])
def test_a_browser_shows_the_pages_whole_and_fetches_nothing(site, width):
    with browser() as opened:
        resize(opened, width)
        for page in sorted(set(site.glob("*.html")) - {site / "404.html"}):  # whose links begin at a server's root
            opened.get(address(page))
            across = opened.execute_script("return document.documentElement.scrollWidth")
            assert across <= width, f"{page.name} is {across} pixels wide"
        assert not opened.get_log("browser")
        asked = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
        found = {one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"}
        assert {url for url in found if not url.startswith(("file:", "data:", "blob:"))} == set()


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_links_can_be_read_in_either_scheme(site, kind):
    with browser() as opened:
        scheme(opened, kind)
        opened.get(address(site / "quickstart.html"))
        *links, ground = opened.execute_script(
            "const of = (one, name) =>"
            "  getComputedStyle(document.querySelector(one))[name].match(/[\\d.]+/g).map(Number);"
            "return [of('.md-content p a', 'color'), of('.md-nav--primary .md-nav__link--active', 'color'),"
            "        of('body', 'backgroundColor')]"
        )
    assert min(contrast(link, ground) for link in links) > 4.5  # as WCAG asks of text


def contrast(one, other):
    """The ratio of two colours' relative luminances."""

    def luminance(colour):
        parts = [c / 255 for c in colour[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
