"""The journeys of README and docs, walked from an empty folder with the installed wheel.

A journey stands between `<!-- journey: NAME -->` and `<!-- end of journey -->`. The block after `<!-- file: NAME -->`
is a file of the user's. The lines with `$ ` of its console blocks are run in order, and each must end well. What stands
in `<!-- given: … -->` is there at the start, and what stands in `<!-- says: … -->` is in the output of the last line.
A notebook is a journey, too.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

from pictures import write_pictures
from places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = re.compile(
    r"^ *<!-- (?:(journey|file|given|says): ([^\n]+?)|(end of journey)) -->$|^( *)```(\w*)\n(.*?)^\4```$",
    re.MULTILINE | re.DOTALL,
)
GIVEN = re.compile(r"(?:(\S+), class folders|folder) of (\d+)x\2 colour images(?: in (\S+)/)?")
MOST_LINES = 15
"""Lines of the user's own in a journey, those that are empty or a comment not counted."""


@dataclass
class Journey:
    """What a page has a reader do, and what comes of it."""

    page: str
    name: str
    files: dict[str, str] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)

    @property
    def own_lines(self) -> list[str]:
        lines = [line.strip() for text in self.files.values() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def journeys(page: str, text: str) -> Iterator[Journey]:
    """The journeys of a page. Raises ValueError for one that is not well marked."""
    now: Journey | None = None
    file = ""
    for found in MARK.finditer(text):
        mark, value, end, _, language, block = found.groups()
        if mark == "journey":
            if now:
                raise ValueError(f"journey '{now.name}' has no end")
            now = Journey(page, value)
        elif now is None:
            if mark or end:
                raise ValueError(f"'{found[0].strip()}' stands outside a journey")
        elif file and block is None:
            raise ValueError(f"no block follows the file '{file}'")
        elif end:
            if not now.lines:
                raise ValueError(f"journey '{now.name}' has no command")
            yield now
            now = None
        elif mark == "file":
            file = value
        elif mark:
            getattr(now, mark).append(value)
        elif file:
            now.files[file] = dedent(block)
            file = ""
        elif language == "console":
            now.lines += re.findall(r"^\$ (.+)", dedent(block).replace("\\\n", " "), re.M)
    if now:
        raise ValueError(f"journey '{now.name}' has no end")


def of_notebook(file: Path) -> Journey:
    """The journey of a notebook: its cells in order, by Python alone."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return Journey(file.name, file.stem, {"cells.py": code}, lines=["python cells.py"])


ALL = [journey for page in PAGES for journey in journeys(page.name, page.read_text(encoding="utf-8"))]
ALL += map(of_notebook, sorted((ROOT / "docs").glob("*.ipynb")))
EACH = pytest.mark.parametrize("journey", ALL, ids=lambda journey: journey.name)


def give(what: str, folder: Path) -> None:
    """Make what the reader of a journey has already."""
    found = GIVEN.fullmatch(what)
    assert found, f"no test can give '{what}'"
    write_pictures(folder / (found[1] or found[3]), side=int(found[2]))


@EACH
def test_a_journey_takes_few_lines(journey):
    assert len(journey.own_lines) <= MOST_LINES


@EACH
def test_a_journey_leads_where_the_page_says(journey, installed, tmp_path):
    for what in journey.given:
        give(what, tmp_path)
    for name, text in journey.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for line in journey.lines:
        done = installed.run(line, tmp_path)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    for said in journey.says:
        assert said in done.stdout + done.stderr, f"$ {line}\n{done.stdout}{done.stderr}"


def test_there_are_journeys_and_each_has_a_name_of_its_own():
    names = [journey.name for journey in ALL]
    assert names and len(set(names)) == len(names)


PAGE = """
<!-- journey: one -->
<!-- given: folder of 84x84 colour images in birds/ -->
<!-- file: a.py -->
```python
# a comment

x = 1
```
```console
$ first \\
  --more    # why
something that it prints
$ second
```
<!-- says: done -->
<!-- end of journey -->
```console
$ of no journey
```
"""


def test_how_a_journey_is_read():
    (one,) = journeys("page.md", PAGE)
    assert (one.page, one.name, one.given) == ("page.md", "one", ["folder of 84x84 colour images in birds/"])
    assert one.files == {"a.py": "# a comment\n\nx = 1\n"} and one.own_lines == ["x = 1"]
    assert [line.split() for line in one.lines] == [["first", "--more", "#", "why"], ["second"]]
    assert one.says == ["done"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("<!-- end of journey -->", ""), "journey 'one' has no end"),
        (("<!-- journey: one -->", ""), "'<!-- given: .* -->' stands outside a journey"),
        (("```python\n# a comment\n\nx = 1\n```", ""), "journey 'one' has no command"),
        (("<!-- says: done -->", "<!-- file: b.py -->"), "no block follows the file 'b.py'"),
        (("$ ", ""), "journey 'one' has no command"),
    ],
)
def test_a_journey_that_is_not_well_marked(change, why):
    with pytest.raises(ValueError, match=why):
        list(journeys("page.md", PAGE.replace(*change)))
