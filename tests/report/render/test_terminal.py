"""The end of a run on a terminal: few lines, none too wide, and nothing lost that decides."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from metabench.cli import runs
from metabench.report import write
from metabench.report.document import as_text, document
from metabench.report.numbers import Valued
from metabench.report.render.fitting import WIDTH
from metabench.report.render.terminal import MOST_LINES, answer_text
from metabench.report.results import read_run
from places import AVX2, EPYC, H100

FOLDERS = [AVX2 / "default", *(EPYC / name for name in ("large", "algorithms", "processes")), H100 / "gpu-images"]
HERE = Path("runs/one")


@functools.cache
def shown(folder):
    return document(read_run(folder))


def fits(found, width):
    lines = answer_text(found, HERE, width).split("\n")
    return len(lines) <= MOST_LINES and max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [20, 40, 79, 80, 100, 120, 200])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_answer_is_too_long_or_too_wide(folder, width):
    assert fits(shown(folder), width)


def test_at_80_columns_the_answer_holds_what_decides():
    text = answer_text(shown(AVX2 / "default"), HERE, 80)
    found = shown(AVX2 / "default").answer
    for table in found.tables:
        for row in table.rows:
            figures = dict(zip(table.columns, row, strict=True))
            assert figures["relative time (maml = 1)"] in text
            assert figures["relative memory (maml = 1)"] in text
            assert figures[next(name for name in table.columns if name.startswith(("accuracy", "MSE")))] in text
    flat = " ".join(text.split())
    assert all(sentence in flat for sentence in found.sentences)
    assert "1 seed, tested after 3 inner steps, 200 iterations" in flat


def test_the_time_of_a_step_has_room_on_an_ordinary_terminal():
    assert "step time" in answer_text(shown(AVX2 / "default"), HERE, WIDTH)


@pytest.mark.parametrize("width", [30, 50, 70, 100])
def test_what_a_row_differs_in_is_said_with_whatever_columns_there_is_room_for(width):
    found = shown(AVX2 / "default")
    first = found.answer.tables[0]
    rows = (
        ("maml", Valued("30 ms [28, 31]", 0.03), Valued("1", 1.0), Valued("77 % [76, 78] (b)", 77.0)),
        ("reptile", Valued("15 ms [13, 17] (a)", 0.015), Valued("0.49 [0.45, 0.53]", 0.49), Valued("76 %", 76.0)),
    )
    notes = ("(a) outer sgd, not adam.", "(b) one seed.")
    columns = ("algorithm", "step time", "relative time", "accuracy")
    table = replace(first, columns=columns, says="", rows=rows, cells=(), notes=notes)
    changed = replace(found, answer=replace(found.answer, tables=(table,), sentences=()))
    text = answer_text(changed, HERE, width)
    maml, reptile = (next(line for line in text.split("\n") if line.split()[:1] == [row[0]]) for row in rows)
    assert "(a)" in reptile and "(b)" in maml and "(b)" not in reptile
    assert ("30 ms" in maml) == (width > 50) and ("reptile (a)" in reptile) != ("15 ms" in reptile)
    assert " ".join(notes) in " ".join(text.split()) and fits(changed, width)


def test_the_last_lines_say_where_the_rest_is():
    found = shown(EPYC / "algorithms")
    assert len(found.warnings) > 1
    *_, where, more = answer_text(found, Path("runs/my run"), 100).split("\n")
    assert where == "Report: runs/my run/report.html   Tables: runs/my run/tables.md"
    assert more == f"All tables and {len(found.warnings)} warnings: metabench report 'runs/my run' --full"


def test_a_short_answer_has_room_between_its_parts():
    assert "\n\n" in answer_text(shown(EPYC / "engines"), HERE, 120)


def test_wide_characters_take_two_columns_and_escapes_do_nothing():
    found = shown(AVX2 / "default")
    first = found.answer.tables[0]
    rows = tuple(("\x1b[2J" + "算法" * 9, *row[1:]) for row in first.rows)
    odd = replace(found.answer, tables=(replace(first, rows=rows),), question="算法" * 50)
    for width in (20, 50, 100):
        assert fits(replace(found, answer=odd), width)
        assert "\x1b" not in answer_text(replace(found, answer=odd), HERE, width)


def test_rows_that_say_least_are_left_out_first():
    found = shown(AVX2 / "default")
    first = found.answer.tables[0]
    rows = tuple((f"row {i}", *([Valued("1 ms", 1.0)] * 2 if i % 2 else ["–", "–"])) for i in range(40))
    table = replace(first, columns=("algorithm", "step time", "other"), rows=rows, cells=(), notes=("(a) of none.",))
    text = answer_text(replace(found, answer=replace(found.answer, tables=(table,))), HERE, 100)
    assert "row 1 " in text and "row 0 " not in text and "rows more" in text
    assert "(a) of none" not in text  # no row has the mark


@pytest.fixture
def written(monkeypatch):
    """A report that is written by nobody."""
    monkeypatch.setattr(write, "write_report", lambda folder: shown(folder))
    return EPYC / "engines"


def test_report_prints_the_answer(written, capsys):
    runs.report(written)
    assert capsys.readouterr().out == answer_text(shown(written), written, 100) + "\n"


def test_report_prints_every_table_when_asked_to(written, capsys):
    runs.report(written, full=True)
    out = capsys.readouterr().out
    assert out.startswith(as_text(shown(written)))
    assert out.endswith(f"\nrun folder: {written}\n")
