"""A thousand random corruptions of run folders and sweep files, seeded.

Each ends in one sentence or in rows that are left out by name; none in a traceback, none in a hang, none in text that
steers a terminal or a browser, and no line is ever lost.
"""

import copy
import json
import random
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from rich.cells import cell_len

from metabench.errors import UserError
from metabench.record.cell import identity
from metabench.record.measurement import STATUSES
from metabench.record.reading import read_rows
from metabench.report.claims.judging import judge_claims
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.claims.tables import claims_document
from metabench.report.compare.history import histories, history_frame, history_table
from metabench.report.compare.runs import compare
from metabench.report.compare.tables import comparison_document, comparison_json
from metabench.report.document import as_markdown, as_text
from metabench.report.figures.base import Figure, Panel
from metabench.report.render.svg import Drawn, panel_spec
from metabench.report.render.tables import plain
from metabench.report.render.terminal import MOST_LINES, answer_text
from metabench.report.results import Run, read_run
from metabench.report.write import write_report
from metabench.sweep.builtin import builtin_sweeps
from metabench.sweep.folder import BROKEN, RunFolder
from metabench.sweep.runner import begin, plan
from metabench.sweep.spec import Settings, Sweep, load_sweep
from metabench.text import strict_json
from places import EPYC

RUNS = EPYC
CLAIMS = read_claims(BUILTIN)
FOLDERS, SWEEPS = 400, 600
SECONDS = 20
"""None takes a tenth of one."""
COMPARED_EVERY, DRAWN_EVERY, PANELS_EVERY = 5, 20, 4  # which takes longer

HOSTILE_TEXT = (
    *("", " ", "\0", "\x1b[2J\x1b]0;owned\x07", "\r\n\r\n# injected", "../../../etc/passwd", "/dev/zero", "C:\\con"),
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[here](javascript:alert(1))",
        "![](http://e.vil/t)",
    ),
    *(
        "| a | b |\n|---|---|",
        "`code` *bold* ~~gone~~ $x$ $\\bad{$",
        "&lt;b&gt;",
        "\u202eevil\u202c",
        "\ud800",
        "😀" * 50,
    ),
    *("=cmd|' /C calc'!A0", "__class__", "{0.__class__}", "%s%n", "nan", "null", "id", "status", "x" * 30_000),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 10**30, -(10**30), 0.0, -0.0, 1e-300, 1e-12, 1e12, 1e99, -1e99),
    *(1e308, float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], [0], {"a": 1}, {"": {}}, [["a"], 1]),
    *HOSTILE_TEXT,
)


class Damaged(random.Random):
    """Ways to damage things."""

    def content(self, content: bytes) -> bytes:
        """Bytes flipped, cut off, cut out, put in, written twice."""
        way = self.randrange(6)
        where, length = self.randrange(len(content)), self.randrange(1, 200)
        if way == 0:
            return content[:where]
        if way == 1:
            return content[:where] + content[where + length :]
        if way == 2:
            return content[:where] + self.randbytes(length) + content[where:]
        if way == 3:
            return content[: where + length] + content[where:]
        changed = bytearray(content)
        for _ in range(self.choice((1, 1, 1, 5, 50))):
            changed[self.randrange(len(changed))] ^= 1 << self.randrange(8)
        return bytes(changed)

    def lines(self, content: bytes) -> bytes:
        """Lines lost, doubled, exchanged, joined, cut in two, empty, very long, nested very deep."""
        lines = content.split(b"\n")
        i, j = self.randrange(len(lines)), self.randrange(len(lines))
        way = self.randrange(9)
        if way == 0:
            del lines[i]
        elif way == 1:
            lines.insert(j, lines[i])
        elif way == 2:
            lines[i], lines[j] = lines[j], lines[i]
        elif way == 3:
            lines[i : i + 2] = [b"".join(lines[i : i + 2])]
        elif way == 4:
            lines[i] = lines[i][: len(lines[i]) // 2] + b"\n" + lines[i][len(lines[i]) // 2 :]
        elif way == 5:
            lines[i] = self.choice((b"", b"\r", b"\xff", b"null", b"[]", b"{}", b'"text"', b"1e999"))
        elif way == 6:
            lines[i] = b"[" * 200_000
        elif way == 7:
            lines[i] = b"9" * 200_000
        else:
            lines[i] = lines[i][:1] + b'"id": "twice", ' + lines[i][1:]
        return b"\n".join(lines)

    def tree(self, value: Any) -> Any:
        """A value of JSON with one or a few of its parts replaced, lost, renamed or exchanged for another."""
        value = json.loads(json.dumps(value))
        for _ in range(self.choice((1, 1, 2, 4))):
            parents = list(_parents(value))
            at, key = self.choice(parents)
            other, other_key = self.choice(parents)
            way = self.randrange(5)
            if way == 0:
                del at[key]
            elif way == 1:
                at[key], other[other_key] = other[other_key], at[key]
                value = json.loads(_cyclic_as_null(value))
            elif way == 2 and isinstance(at, dict):
                at[self.choice(HOSTILE_TEXT)] = at.pop(key)
            else:
                at[key] = copy.deepcopy(self.choice(HOSTILE_VALUES))
        return value

    def rows(self, content: bytes) -> bytes:
        """A row with damaged parts, whose name is right again in half of the cases, so that it is looked into."""
        lines = content.splitlines(keepends=True)
        i = self.randrange(len(lines))
        row = self.tree(json.loads(lines[i]))
        if self.random() < 0.5 and isinstance(row, dict) and isinstance(row.get("cell"), dict):
            row["id"] = identity(row["cell"])
        lines[i] = json.dumps(row).encode() + b"\n"
        return b"".join(lines)

    def toml(self, text: bytes) -> bytes:
        """A sweep file with a value, a name or a table replaced."""
        found = list(re.finditer(rb"\w+|\"[^\"\n]*\"|\[[^\[\]\n]*\]", text))
        if not found:
            return b"=" + text
        spot = self.choice(found)
        words: list[Any] = [*HOSTILE_VALUES, [[[]]], list(range(2000)), 1e400]
        value = self.choice([*words, "exact", "exact"])
        new = self.choice(found).group() if value == "exact" else json.dumps(value).encode()
        return text[: spot.start()] + new + text[spot.end() :]


def _parents(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a value of JSON, as what it is in and where."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys[:40]:
        yield value, key
        yield from _parents(value[key])


def _cyclic_as_null(value: Any, above: tuple[int, ...] = ()) -> str:
    """JSON of a value in which a part may now lie within itself."""
    if id(value) in above:
        return "null"
    if isinstance(value, dict):
        parts = (f"{json.dumps(k)}: {_cyclic_as_null(v, (*above, id(value)))}" for k, v in value.items())
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_cyclic_as_null(v, (*above, id(value))) for v in value) + "]"
    return json.dumps(value)


@contextmanager
def no_hang() -> Iterator[None]:
    """Raises where a case takes too long."""
    if sys.platform == "win32":
        yield
        return

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one_of_each_kind() -> list[bytes]:
    """The shortest row of each kind in the committed runs: each status, with each part that was measured."""
    kinds: dict[tuple[Any, ...], bytes] = {}
    for file in sorted(RUNS.glob("*/measurements.jsonl")):
        for line in file.read_bytes().splitlines(keepends=True):
            row = json.loads(line)
            parts = [bool(row.get(part)) for part in ("time", "memory", "work", "quality")]
            kind = (row["status"], *parts, row["cell"]["task"] == "sinusoid")
            kinds[kind] = min(kinds.get(kind, line), line, key=len)
    return list(kinds.values())


@pytest.fixture(scope="module")
def rows() -> bytes:
    """Small real measurements, of which some stand in pairs that tables compare."""
    lines = one_of_each_kind()
    measured = [json.loads(line) for line in lines]
    assert all(any(row.get(part) for row in measured) for part in ("time", "memory", "work", "quality"))

    def add(row: dict[str, Any], **changes: Any) -> None:
        lines.append(json.dumps(row | changes | {"id": identity(row["cell"])}).encode() + b"\n")

    timed = next(row for row in measured if row.get("time"))
    for number in range(6):
        add(timed, round=number // 2, reference={"pair": number // 2, "side": "ab"[number % 2]})
    for row in measured[:2]:
        for change in ({"algorithm": "fomaml"}, {"inner_steps": 7}, {"engine": "vmap"}, {"seed": 1}):
            add(row | {"cell": row["cell"] | change})
    nothing = dict.fromkeys(("data", "parameters", "gate", "time", "memory", "work", "quality"))
    for status, reason in zip(STATUSES[1:], HOSTILE_TEXT[3:], strict=False):
        add(measured[0], **nothing, round=1, status=status, reason=reason)
    return b"".join(lines)


def is_shown_safely(text: str) -> bool:
    """Nothing in it steers a terminal."""
    return text.replace("\n", "").isprintable()


def attempt(action: Callable[[], Any]) -> str:
    """The sentence that an action ends with, or none; anything but `UserError` is a failure of the test."""
    try:
        action()
    except UserError as error:
        assert str(error) and is_shown_safely(str(error)) and "\n" not in str(error)
        return str(error)
    return ""


def show_comparison(whole: Run, damaged: Run) -> None:
    """Both ways; runs that have no cell left in common are refused."""
    shown = comparison_document(compare(whole, damaged))
    assert is_shown_safely(as_text(shown)) and is_shown_safely(as_markdown(shown))
    strict_json(comparison_json(compare(damaged, whole), []))


def compare_with(whole: Run, damaged: Run) -> None:
    """What looks at more than one run."""
    said = attempt(lambda: show_comparison(whole, damaged))
    assert not said or said.startswith("the runs have no configuration in common")
    found = histories([whole, damaged], {})
    assert is_shown_safely("".join(plain(history_table(each)) for each in found))
    history_frame(found).to_csv().encode()


def report_and_resume(path: Path, sweep: Sweep, whole: Run) -> None:
    """Everything that reads a run folder."""
    file = path / "measurements.jsonl"
    said = attempt(lambda: is_safe(path))
    before = Counter(line.rstrip(b"\n") for line in file.read_bytes().split(b"\n") if line.strip())
    if not said:
        found, damages = read_rows(file)
        assert len(found) + len(damages) == before.total()
        if int(path.name.split()[-1]) % COMPARED_EVERY == 0:
            compare_with(whole, read_run(path))
            claims = claims_document(judge_claims(CLAIMS, [read_run(path)]))
            assert is_shown_safely(as_text(claims)) and is_shown_safely(as_markdown(claims))
        tables = (path / "tables.md").read_text(encoding="utf-8")
        assert all(f"Line {damage.number} of measurements.jsonl is left out" in tables for damage in damages[:20])
    if attempt(lambda: begin(RunFolder(path), sweep, resume=True)):
        assert Counter(line for line in file.read_bytes().split(b"\n") if line.strip()) == before
        return
    kept, moved = file.read_bytes(), (path / BROKEN).read_bytes() if (path / BROKEN).exists() else b""
    assert Counter(line for line in (kept + moved).split(b"\n") if line.strip()) == before  # no line is lost
    assert read_rows(file)[1] == []


def is_safe(path: Path) -> None:
    """The tables steer no terminal, and of Markdown they have what is ours alone; the answer fits its terminal."""
    shown = write_report(path)
    lines = answer_text(shown, path, 80).split("\n")
    assert len(lines) <= MOST_LINES and max(map(cell_len, lines)) <= 80
    assert is_shown_safely("\n".join([as_text(shown), *lines]))
    tables = (path / "tables.md").read_text(encoding="utf-8")
    assert is_shown_safely(tables)
    assert is_shown_safely((path / "tables.tex").read_text(encoding="utf-8"))
    assert not re.search(r"(?<!\\)<|(?<!\\)\]\(|(?<!\\)`|[^\\]://", tables)


def unpainted(figure: Figure, kind: str) -> bytes:
    """What is drawn is looked at, and no file is made of it."""
    assert figure.spec
    return b""


def blank(panel: Panel, prefix: str, legend: bool = True) -> Drawn:
    """The rows of a panel are looked at, and no marks are made of them."""
    assert panel_spec(panel, legend)
    return Drawn(panel, Element("svg"), 100.0, 100.0, 0.0)


@pytest.mark.parametrize("batch", range(5))
def test_damaged_run_folders(tmp_path, rows, batch, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr("metabench.statistics.ratios.RESAMPLES", 10)
    environment = (RUNS / "engines" / "environment.json").read_bytes()
    text = 'title = "damaged"\n'
    (tmp_path / "measurements.jsonl").write_bytes(rows)
    (tmp_path / "environment.json").write_bytes(environment)
    whole = read_run(tmp_path)
    monkeypatch.setattr("metabench.report.write.FORMATS", ("svg",))
    for number in range(FOLDERS // 5):
        damaged = Damaged(f"folder {batch} {number}")
        path = tmp_path / (f"<b>\x1b[2J|*`x` {number}" if number % 20 == 0 else str(number))
        path.mkdir()
        contents = {"measurements.jsonl": rows, "environment.json": environment, "sweep.toml": text.encode()}
        for _ in range(damaged.choice((1, 1, 1, 3))):
            if damaged.random() < 0.8:
                way = damaged.choice((damaged.content, damaged.lines, damaged.rows, damaged.rows, damaged.rows))
                with_rows = way != damaged.rows or contents["measurements.jsonl"] == rows
                contents["measurements.jsonl"] = way(contents["measurements.jsonl"] or b"\n") if with_rows else b""
            else:
                name = damaged.choice(("environment.json", "environment.json", "sweep.toml"))
                tree = json.dumps(damaged.tree(json.loads(environment))).encode()
                contents[name] = tree if damaged.random() < 0.5 else damaged.content(contents[name] or b"\n")
        for name, content in contents.items():
            (path / name).write_bytes(content)
        with no_hang(), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                with pytest.MonkeyPatch.context() as patch:
                    if number % DRAWN_EVERY:
                        patch.setattr("metabench.report.write.image", unpainted)
                    if number % PANELS_EVERY:
                        patch.setattr("metabench.report.render.figure.draw_panel", blank)
                    report_and_resume(path, Sweep("damaged", "", text, Settings(), ()), whole)
            except BaseException as error:
                raise AssertionError(f"case {batch} {number}") from error


def plan_of(file: Path) -> None:
    plan(load_sweep(file, {}, 2))


@pytest.mark.parametrize("batch", range(5))
def test_damaged_sweep_files(tmp_path, batch):
    files = [file.read_bytes() for file in builtin_sweeps()]
    refused = 0
    for number in range(SWEEPS // 5):
        damaged = Damaged(f"sweep {batch} {number}")
        content = damaged.choice(files)
        for _ in range(damaged.choice((1, 1, 2))):
            content = damaged.choice((damaged.content, damaged.lines, damaged.toml, damaged.toml))(content or b"\n")
        file = tmp_path / "sweep.toml"
        file.write_bytes(content)
        with no_hang():
            try:
                refused += bool(attempt(partial(plan_of, file)))
            except BaseException as error:
                raise AssertionError(f"case {batch} {number}") from error
    assert 20 < refused < SWEEPS // 5  # some do no harm
