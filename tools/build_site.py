"""Builds the site, static files that any web server shows: `python tools/build_site.py [--out site]`.

It holds the book of docs/, every committed run with its page and its data, and a page that says what each algorithm
costs on each machine. Every figure of that page leads to the rows it stands on.
"""

import argparse
import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from tabulate import tabulate

from metabench.files import MEBIBYTE, read_text
from metabench.record.reading import ENVIRONMENT, MEASUREMENTS, SWEEP
from metabench.report.answer import Answer, answer_of
from metabench.report.provenance import measured_at, revision_name
from metabench.report.render.tables import Table, escaped
from metabench.report.results import Run, read_run
from metabench.report.write import write_report

ROOT = Path(__file__).parents[1]
RESULTS = "results"
NO_BREAK = "\N{NO-BREAK SPACE}"
NOTEBOOK = ".ipynb"
DATA = (".csv", ".json", ".jsonl", ".toml")
MOST_BYTES = 16 * MEBIBYTE
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
STYLE = """:root, [data-md-color-scheme] {
  --md-primary-fg-color: #00304a; --md-primary-fg-color--dark: #00202f; --md-primary-bg-color: #fff;
  --md-accent-fg-color: #0072b2; --md-typeset-a-color: #0072b2;
}
[data-md-color-scheme="slate"] { --md-accent-fg-color: #a9d8f5; --md-typeset-a-color: #7fc4f0; }
.md-grid { max-width: 84rem; }
.md-typeset table:not([class]) { font-size: .68rem; }
"""


@dataclass(frozen=True)
class Measured:
    """A committed run on the site."""

    machine: str
    run: Run
    files: tuple[str, ...]
    """Names of its files of data."""

    @property
    def folder(self) -> str:
        """The run's folder, from the root of the site."""
        return f"{RESULTS}/{self.machine}/{self.run.name}"


def run_folders(results: Path) -> list[Path]:
    """The committed runs, MACHINE/RUN, in the order of their names."""
    return sorted(file.parent for file in results.glob(f"*/*/{MEASUREMENTS}"))


def page_links(text: str, page: str, source: str = "") -> str:
    """A page with its links as the site has them; `page` is its path from the root of the project.

    A page of the book stays one. The tables of a run become its page. Any other file leads to the project's source, or
    is named without a link where it is not known where that is.
    """

    def replaced(found: re.Match[str]) -> str:
        words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group()
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent.joinpath(file).resolve()
        if not path.is_relative_to(ROOT):
            return found.group()
        name = path.relative_to(ROOT).as_posix()
        if path.parent == ROOT / "docs" and path.suffix == NOTEBOOK:
            return f"[{words}]({path.stem}.md)"
        if path.parent == ROOT / "docs" and path.suffix == ".md":
            return f"[{words}]({name.removeprefix('docs/')}{f'#{anchor}' if anchor else ''})"
        if name == f"{RESULTS}/claims.md":
            return f"[{words}](claims.md)"
        if name == RESULTS:
            return f"[{words}](measured.md)"
        if name.startswith(f"{RESULTS}/") and (path.is_dir() or path.name == "tables.md"):
            return f"[{words}]({name.removesuffix('/tables.md')}/report.html)"
        if name.startswith(f"{RESULTS}/") and path.suffix == ".md":
            return f"[{words}]({name})"
        return f"[{words}]({source}/{name})" if source else words

    return LINK.sub(replaced, text)


def notebook_page(file: Path) -> str:
    """A notebook as a page: its text, its code, and a link to the file."""
    parts = []
    for cell in json.loads(read_text(file, MOST_BYTES))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f"[The notebook]({file.name}) to open in Jupyter."]) + "\n"


def measured_page(runs: Sequence[Measured]) -> str:
    """What each algorithm costs on each machine: the answer of every run, by machine, newest first; links to rows."""
    lines = [
        "# Measured runs",
        "",
        "Every run here is committed with its raw measurements. A name in a table leads to the rows behind it.",
        "",
    ]
    newest_first = sorted(runs, key=lambda one: measured_at(one.run), reverse=True)
    for machine, measured in groupby(sorted(newest_first, key=lambda one: one.machine), lambda one: one.machine):
        lines += [f"## {machine}", ""]
        for one in measured:
            lines += _of_run(one, answer_of(one.run))
    return "\n".join(lines)


def _of_run(one: Measured, answer: Answer) -> Iterator[str]:
    page = f"{one.folder}/report.html"
    yield from (f"### {escaped(one.run.name)}: {escaped(answer.question)}", "")
    facts = answer.machine, measured_at(one.run)[:10], f"commit {revision_name(one.run)}", answer.ran
    yield ". ".join(escaped(fact) for fact in facts if fact) + "."
    yield ""
    for sentence in answer.sentences:
        yield f"- {escaped(sentence)}"
    yield ""
    for table in answer.tables:
        yield from (f"**{escaped(table.title)}**", "", _linked(table, page), "")
    data = ", ".join(f"[{name}]({one.folder}/{name})" for name in one.files)
    yield f"[All tables and figures]({page}). Data: {data}."
    yield ""


def _linked(table: Table, page: str) -> str:
    """A table whose first column leads to the rows behind each line; no figure is broken into two lines."""
    rows = [[escaped(text).replace(" ", NO_BREAK) for text in row] for row in table.rows]
    for row, ids in zip(rows, table.cells, strict=False):
        row[0] = f"[{row[0]}]({page}#cell-{ids[0]})" if ids else row[0]
    return tabulate(rows, [escaped(text) for text in table.columns], tablefmt="github", disable_numparse=True)


def prepare(results: Path, pages: Path, source: str = "") -> None:
    """Write all that the site is built of into the folder `pages`. Raises `UserError` for a run that cannot be read."""
    for file in sorted((ROOT / "docs").glob("*.md")):
        text = read_text(file, MOST_BYTES)
        (pages / file.name).write_text(page_links(text, f"docs/{file.name}", source), encoding="utf-8")
    for file in sorted((ROOT / "docs").glob(f"*{NOTEBOOK}")):
        (pages / f"{file.stem}.md").write_text(notebook_page(file), encoding="utf-8")
        shutil.copyfile(file, pages / file.name)
    for beside in ("img", "schema"):
        shutil.copytree(ROOT / "docs" / beside, pages / beside)
    (pages / "site.css").write_text(STYLE, encoding="utf-8")
    runs = []
    for folder in run_folders(results):
        name = folder.relative_to(results).as_posix()
        copy = pages / RESULTS / name
        copy.mkdir(parents=True)
        for kept in (MEASUREMENTS, ENVIRONMENT, SWEEP):
            if (folder / kept).is_file():
                shutil.copyfile(folder / kept, copy / kept)
        write_report(copy)
        (copy / "tables.md").unlink()  # the page has all of them, and mkdocs would make another one of it
        files = (file.name for file in copy.iterdir() if file.suffix in DATA)
        runs.append(Measured(folder.parent.name, read_run(copy), tuple(sorted(files))))
    for file in sorted(results.glob("**/*.md")):
        name = file.relative_to(results).as_posix()
        if file.name != "tables.md":
            target = pages / ("claims.md" if name == "claims.md" else f"{RESULTS}/{name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(read_text(file, MOST_BYTES), encoding="utf-8")
    (pages / "measured.md").write_text(measured_page(runs), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site; exit code 1 where a page, a link or an anchor is missing."""
    parser = argparse.ArgumentParser(prog="python tools/build_site.py", description="Build the site.")
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder to write, replaced whole")
    parser.add_argument("--results", type=Path, default=ROOT / RESULTS, help="folder of MACHINE/RUN folders")
    parser.add_argument("--source", default="", help="where the files of the project are shown, for links to them")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with TemporaryDirectory() as folder:
        pages = Path(folder)
        prepare(given.results, pages, given.source.rstrip("/"))
        config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=folder, site_dir=str(given.out.resolve()), strict=True)
        try:
            build(config)
        except Abort as error:
            print(f"metabench: the site was not built: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
