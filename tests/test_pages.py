"""README and docs as a reader uses them: commands parse, sweep files load, links lead somewhere."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from metabench.algorithms.base import ALGORITHMS
from metabench.cli.main import app
from metabench.engines.base import ENGINES
from metabench.models.base import MODELS
from metabench.profile.measuring import implementation_parts
from metabench.report.claims.reading import read_claims
from metabench.search.space import read_space, split
from metabench.sweep.builtin import find_sweep
from metabench.sweep.spec import assignments, load_sweep, parse_sweep
from metabench.tasks.base import TASKS
from places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
OF_THE_PAGES = {"maml-prox": "anil", "mine": "vmap"}
"""Plug-ins that the pages take as examples, and what stands for each of them here."""
BY_PATH = {"algorithm": "anil", "engine": "vmap", "model": "mlp-40x2", "task": "sinusoid"}
"""What stands for a name by path on each axis: journeys try the files themselves."""
REGISTRIES = {"algorithm": ALGORITHMS, "model": MODELS, "task": TASKS, "engines": ENGINES}
SHELL = {"source", "pip", "python", "pytest", "jupyter"}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Where a fenced block of a language stands, and what is in it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCED.finditer(text):
            if found[2] == language:
                yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[3]


def console() -> Iterator[tuple[str, list[str]]]:
    """Every line that a reader types, as words, with where it stands."""
    for place, text in blocks("console"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield place, shlex.split(line[2:], comments=True)


def inline() -> Iterator[tuple[str, list[str]]]:
    """Every command of metabench that the prose names; it may leave out what must be given."""
    for page in PAGES:
        for text in re.findall(r"`(metabench [a-z][^`…]*)`", FENCED.sub("", page.read_text(encoding="utf-8"))):
            yield page.name, shlex.split(text)


def in_workflows() -> Iterator[tuple[str, list[str]]]:
    for place, text in blocks("yaml"):
        for found in re.findall(r"\.venv/bin/(metabench .+?) >>", " ".join(text.split())):
            yield place, shlex.split(found)


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a command; raises for a command or an option that is not there."""
    command: Any = typer.main.get_command(app)
    names = []
    while hasattr(command, "commands"):
        word, *words = words
        assert word in command.commands, f"there is no command {word}"
        command = command.commands[word]
        names.append(word)
    return " ".join(names), command.make_context(names[-1], list(words)).params


def check(name: str, given: dict[str, Any]) -> None:
    """Raise for a sweep, an axis or a name that is not there."""
    sweep = given.get("sweep")
    if sweep and sweep not in ("SWEEP", "NAME") and not sweep.endswith(".toml"):
        overrides = assignments(given.get("assign") or (), "--set")
        changed = {axis: [known(v, axis) for v in values] for axis, values in overrides.items()}
        load_sweep(find_sweep(sweep), changed, 2, only=assignments(given.get("only") or (), "--only"))
    if name == "profile" and given["implementation"] != "ALGORITHM/ENGINE":
        algorithm, engine = implementation_parts(given["implementation"])
        given = given | {"algorithm": algorithm, "engines": engine}
    if name == "verify":
        given = given | {"algorithm": ",".join(given["names"] or ())}
    for option, registry in REGISTRIES.items():
        for word in (given.get(option) or "").split(","):
            if word not in ("", "all", "NAME") and not word.endswith(".toml"):
                registry.get(known(word, option.removesuffix("s")))


def known(word: Any, axis: str = "") -> Any:
    return BY_PATH[axis] if ":" in str(word) and axis in BY_PATH else OF_THE_PAGES.get(word, word)


def without_paths(table: Any, axis: str = "") -> Any:
    """A part of a sweep file in which other names stand for those by path."""
    if isinstance(table, dict):
        return {key: without_paths(value, key) for key, value in table.items()}
    return [without_paths(each, axis) for each in table] if isinstance(table, list) else known(table, axis)


def places(commands: Iterator[tuple[str, list[str]]]) -> list[Any]:
    return [pytest.param(words, id=f"{place}: {' '.join(words)}") for place, words in commands]


@pytest.mark.parametrize("words", places(console()))
def test_every_command_is_one_that_there_is(words):
    tool = Path(words[0]).name
    if tool == "torchrun":
        words = words[words.index("-m") + 1 :]
        tool = words[0]
    if tool == "metabench":
        check(*parsed(words[1:]))
    elif tool == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        variables = [word.partition("=")[0] for word in words[2:]]
        assert re.search(rf"^{words[1]}:.*## ", makefile, re.MULTILINE)
        assert all(re.search(rf"^{variable} \?=", makefile, re.MULTILINE) for variable in variables)
    else:
        assert tool in SHELL


@pytest.mark.parametrize("words", places(inline()))
def test_every_command_in_prose_is_one_that_there_is(words):
    try:
        name, given = parsed(words[1:])
    except Exception as error:
        assert type(error).__name__ == "MissingParameter", error
    else:
        check(name, given)


@pytest.mark.parametrize("words", places(in_workflows()))
def test_every_command_of_a_workflow_is_one_that_there_is(words):
    check(*parsed(words[1:]))


def test_there_are_commands_of_each_kind():
    assert len(list(console())) > 40 and len(list(inline())) > 20 and list(in_workflows())


@pytest.mark.parametrize("text", [pytest.param(text, id=place) for place, text in blocks("toml")])
def test_every_toml_file_can_be_read(text, tmp_path):
    document = without_paths(tomllib.loads(text))
    if "grid" in document:
        assert parse_sweep("mine", document, text, 2).cells
    elif "claim" in document:
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        assert len(read_claims(tmp_path / "mine.toml")) == text.count("[[claim]]")
    elif set(document) != {"project"}:
        (tmp_path / "space.toml").write_text(text, encoding="utf-8")
        split(read_space(tmp_path / "space.toml"))


def test_all_python_is_python():
    for place, text in blocks("python"):
        ast.parse(text, place)


def anchors(page: Path) -> set[str]:
    """Names that GitHub and mkdocs give to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8"))):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}"


def test_every_page_is_in_the_map_of_pages():
    linked = re.findall(
        r"^\| \[[^]]*\]\((\S+)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(linked) >= {page.name for page in PAGES if page.name not in ("README.md", "index.md")}
