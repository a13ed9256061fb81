"""The prose of docstrings and of pages: sentences of a length that a reader holds in mind."""

import ast
import re
from collections.abc import Iterator

from places import ROOT

ROOMS = ("metabench", "tools", "bench")
MOST_WORDS = 45

# A docstring begins with a verb or a noun (or with a noun clause: "Whether …", "How many …"). One that begins with a
# preposition, a conjunction or a pronoun has its noun in the line above.
LEANING = (
    *("Above", "After", "Among", "As", "At", "Before", "Below", "Between", "By", "For", "From", "In", "Of", "On", "To"),
    *("With", "Within", "Without", "And", "But", "If", "Or", "So"),
    *("He", "It", "Its", "That", "The same", "Their", "Them", "These", "They", "This", "Those", "Who", "Whose"),
)  # fmt: skip
LEANS = re.compile(rf"(?:{'|'.join(LEANING)})\b(?!-)")

PARAGRAPHS = re.compile(r"\n\s*\n|\n\s*(?=- |\d\. )")
SENTENCES = re.compile(r"(?<=[.?!])\s+")
FENCED = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
NOT_PROSE = ("|", "#", "<!--", "![")


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string that stands as a statement: docstrings of definitions and of attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)) as constant):
                yield constant.lineno, text.strip()


def objections(text: str) -> Iterator[str]:
    if LEANS.match(text):
        yield "leans on its neighbour"
    yield from long_sentences(text)


def long_sentences(text: str) -> Iterator[str]:
    for paragraph in PARAGRAPHS.split(text):
        for sentence in SENTENCES.split(paragraph):
            words = len(sentence.split())
            if words > MOST_WORDS:
                yield f"has a sentence of {words} words ({' '.join(sentence.split()[:6])} …)"


def offenders() -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{line}: {objection}: {' '.join(text.split())[:100]}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for line, text in sorted(docstrings(ast.parse(file.read_text(encoding="utf-8"))))
        for objection in objections(text)
    ]


def test_every_docstring_can_be_read_alone() -> None:
    found = offenders()
    assert not found, "\n" + "\n".join(found)


def test_what_leans_on_a_neighbour_is_found() -> None:
    assert list(objections("The same for images.")) == ["leans on its neighbour"]
    assert list(objections("Of the whole split.")) == ["leans on its neighbour"]
    assert list(objections("By-products of a run.")) == []
    assert list(objections("Whether it is shown.")) == []
    assert list(objections(" ".join(["word"] * 46) + ".")) == [
        "has a sentence of 46 words (word word word word word word …)"
    ]
    assert list(objections(" ".join(["word"] * 45) + ". " + " ".join(["word"] * 45))) == []


def test_the_pages_have_no_sentence_that_is_too_long() -> None:
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        lines = FENCED.sub("", page.read_text(encoding="utf-8")).splitlines()
        prose = "\n".join("" if line.startswith(NOT_PROSE) else line for line in lines)
        found += [f"{page.name} {objection}" for objection in long_sentences(prose)]
    assert not found, "\n" + "\n".join(found)
