"""LaTeX that compiles whatever a run's names hold, with the figures of the Markdown and of the page."""

import html
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from metabench.report.document import Document, document
from metabench.report.numbers import true_value
from metabench.report.render.latex import SIGNS, as_latex, latex
from metabench.report.render.tables import Section, Table
from metabench.report.results import read_run
from metabench.report.write import write_report

MEANINGS = {written: sign for sign, written in SIGNS.items() if sign != "μ"}
TOKENS = re.compile("|".join(map(re.escape, sorted(MEANINGS, key=len, reverse=True))))


def shown(text: str) -> str:
    """What a reader sees of LaTeX, as far as we write it."""
    text = re.sub(r"\\texttt\{U\+([0-9A-F]+)\}", lambda found: chr(int(found[1], 16)), text)
    return TOKENS.sub(lambda found: MEANINGS[found[0]], text.replace("-{}-", "--"))


def tabulars(text: str) -> list[list[list[str]]]:
    """The cells of all tables, the head first."""
    found = re.findall(r"\\begin\{tabular\}\{(l+)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    tables = []
    for columns, body in found:
        lines = [line.removesuffix(r" \\") for line in body.splitlines() if line != r"\midrule"]
        rows = [[shown(cell) for cell in re.split(r"(?<!\\)&", line.removeprefix("{}"))] for line in lines]
        tables.append([[cell.strip() for cell in row] for row in rows])
        assert {len(row) for row in rows} == {len(columns)}
    return tables


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.fixture(scope="module")
def folder(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = Path(shutil.copytree(synthetic, tmp_path_factory.mktemp("latex") / "synthetic"))
    write_report(target)
    return target


def test_markdown_latex_and_page_show_the_same_cell_by_cell(folder):
    of_latex = tabulars((folder / "tables.tex").read_text(encoding="utf-8"))
    of_markdown: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", (folder / "tables.md").read_text(encoding="utf-8"), re.MULTILINE):
        head, _, *rows = block.splitlines()
        lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (head, *rows)]
        of_markdown.append([[re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", cell) for cell in line] for line in lines])
    of_page: list[list[list[str]]] = []
    for block in re.findall(r"<table>(.*?)</table>", (folder / "report.html").read_text("utf-8"), re.DOTALL):
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", block, re.DOTALL)
        cells = [
            re.findall(r"<t[hd](?! [^>]*class=\"cells\"| class=\"cells\")[^>]*>(.*?)</t[hd]>", row) for row in rows
        ]
        of_page.append([[html.unescape(re.sub("</?i>", "", cell)) for cell in row] for row in cells])
    expected = [table for section in document(read_run(folder)).sections for table in section.tables if table.rows]
    assert len(of_latex) == len(of_markdown) == len(expected) > 10
    for table, tex, markdown in zip(expected, of_latex, of_markdown, strict=True):
        plain = [[" ".join(cell.split()) for cell in row] for row in (table.columns, *table.rows)]
        assert tex == plain, table.title
        assert markdown == plain, table.title
        assert plain in of_page, table.title


def test_figures_are_those_of_the_csv(folder):
    results = pd.read_csv(folder / "results.csv").query("status == 'ok'")
    tables = [table for section in document(read_run(folder)).sections for table in section.tables]
    seen = 0
    for table in tables:
        if table.title.startswith("Cost") and "peak memory" in table.columns:
            at = table.columns.index("peak memory")
            for row, ids in zip(table.rows, table.cells, strict=True):
                mine = results[results.id.isin(ids) & (results.algorithm == row[0])]
                if row[at] != "–":
                    assert true_value(row[at]) == mine.tracked_bytes.max()
                    seen += 1
    assert seen > 10


def test_captions_say_where_figures_are_from_and_labels_differ(folder):
    text = (folder / "tables.tex").read_text(encoding="utf-8")
    captions = re.findall(r"^\\caption\{(.*)\}$", text, re.MULTILINE)
    assert len(captions) == text.count(r"\begin{table}") == text.count(r"\end{table}")
    assert all("machine: Test CPU, 2 cores, torch 2.13" in caption for caption in captions)
    assert all("data: " in caption and "revision: synthetic" in caption for caption in captions)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == len(labels) == len(captions)
    assert labels[:2] == ["tab:synthetic:1", "tab:synthetic:2"]  # of several runs in one paper none meet
    assert balanced(text)
    assert all(package in text.partition(r"\begin")[0] for package in ("booktabs", "adjustbox", "fontenc", "amssymb"))


def test_every_special_character_is_shown_as_written():
    every = "".join(map(chr, range(33, 127))) + "–…†‡§µ±×÷≈●○▲▼äß"
    assert shown(latex(every)) == every
    assert balanced(latex(every))
    for sign in "#$%&_{}":
        assert latex(sign) == f"\\{sign}"
    assert latex("a--b") == "a-{}-b" and latex("a---b") == "a-{}-{}-b"
    assert latex("字") == r"\texttt{U+5B57}" and latex("\x1b[2J") == r"\textbackslash{}x1b[2J"


def test_what_a_run_says_cannot_end_a_row_or_an_argument():
    rows = (("[1ex]", "}"), ("*", r"\\ & \input{/etc/passwd}"))
    table = Table("a_b % {", "", ("x & y", "z"), rows)
    text = as_latex(Document("t", (("machine", "50 % & {"),), (), (Section("s", (table,)),)), "rev_1")
    assert tabulars(text) == [[["x & y", "z"], *map(list, rows)]]
    assert balanced(text) and r"\input" not in text.replace(r"\textbackslash{}input", "")
    assert "\n[" not in text and "\n*" not in text
