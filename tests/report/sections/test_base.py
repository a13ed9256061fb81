"""How sections are found and ordered, and what every table of theirs has in common."""

import sys

import pytest

from metabench.record.cell import AXES
from metabench.report import sections
from metabench.report.axes import MACHINE, OWN_AXES, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.document import as_markdown, document
from metabench.report.marks import MARKS, PARTIAL
from metabench.report.sections.base import SECTIONS, Column, sections_of, table_of
from runs import run

NEW = '''
"""A section of a user's own."""

from metabench.report.sections.base import Column, section, table_of


@section("Rows by machine", place=15)
def tables(run):
    yield table_of("Rows", "How many.", [Column("rows", str)], [len(run.measurements)], lambda line: ())


@section("Nothing", place=16)
def no_tables(run):
    return ()
'''


@pytest.fixture
def another(tmp_path, monkeypatch):
    """One new file in the package of the sections; nothing else is edited."""
    (tmp_path / "counted_rows.py").write_text(NEW)
    monkeypatch.setattr(SECTIONS, "_entries", dict(SECTIONS))  # those of the package are loaded by now
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    monkeypatch.setattr(SECTIONS, "_loaded", False)
    yield
    sys.modules.pop("metabench.report.sections.counted_rows", None)


def test_a_section_is_one_new_file_with_its_place(another, row):
    shown = document(run([row(), row(engine="loop")]))
    assert [section.title for section in shown.sections[:2]] == ["Cost and quality", "Rows by machine"]
    assert "## Rows by machine" in as_markdown(shown)
    assert "Nothing" not in {section.title for section in shown.sections}


def test_sections_stand_in_the_order_of_their_places(row):
    titles = [section.title for section in sections_of(run([row(), row(engine="loop"), row(0, "oom", "full", seed=1)]))]
    places = {maker.title: maker.place for _, maker in SECTIONS}
    assert titles[0] == "Cost and quality" and titles[-1] == "Failures"
    assert titles == sorted(titles, key=places.__getitem__)
    assert len(set(places.values())) == len(places)


def test_a_section_that_cannot_be_loaded_is_named_in_the_warnings(row, monkeypatch):
    monkeypatch.setitem(SECTIONS.broken, "mine", "ImportError: no | such *thing*")
    assert "the section 'mine' failed to load: ImportError: no | such *thing*" in document(run([row()])).warnings


def test_empty_columns_go_and_marks_have_their_notes():
    columns = [
        Column("name", lambda line: line[0]),
        Column("always", lambda line: "–"),
        Column("empty", lambda line: line[1], droppable=True, notes=lambda lines: [f"of {len(lines)} lines"]),
        Column("figure", lambda line: line[2], droppable=True),
    ]
    lines = [("a", "–", "1"), ("b", "", f"2{PARTIAL}")]
    table = table_of("Title", "Says.", columns, lines, lambda line: (line[0],), ["at last"])
    assert table.columns == ("name", "always", "figure")
    assert table.rows == (("a", "–", "1"), ("b", "–", f"2{PARTIAL}"))
    assert table.cells == (("a",), ("b",))
    assert table.notes == (MARKS[PARTIAL], "of 2 lines", "at last")
    assert table_of("Title", "", columns, lines[:1], lambda line: ()).notes == ("of 1 lines",)


def test_titles_say_every_axis_in_one_order():
    every = in_title_order(("of_another_version", *reversed(AXES)))
    assert set(every) == {*AXES, "of_another_version"} and every[-1] == "of_another_version"
    parts = [in_title_order(axes) for axes in (TASK, SIZES, MACHINE, TECHNIQUES, OWN_AXES)]
    assert all(list(part) == sorted(part, key=every.index) for part in parts)
    assert every[:4] == ("task", "path", "split", "image_size")
    assert every[4:7] == ("ways", "shots", "model")
    assert "seed" not in in_title_order(AXES, but=("seed",))


def test_the_shape_of_training_tasks_may_be_what_differs_between_columns(row):
    """Where shots are the same everywhere, and training shots are not, they stand in the columns alone."""
    rows = [
        row(engine=engine, train_shots=shots, measure=["time"]) for engine in ("loop", "vmap") for shots in (10, 20)
    ]
    (table,) = [t for s in document(run(rows)).sections for t in s.tables if t.title.startswith("Engines against loop")]
    assert "train shots 20" in table.columns
