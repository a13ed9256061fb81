"""All rows of a run, one by one."""

from metabench.report.sections.appendix import rows_table
from runs import run


def test_what_all_rows_agree_on_stands_in_a_note_and_an_axis_without_a_value_nowhere(row):
    table = rows_table(run([row(), row(engine="loop")]))
    (note,) = [note for note in table.notes if note.startswith("The same in all rows: ")]
    assert "meta-batch 25" in note and "world size 1" in note and "machine" not in note
    assert note.endswith(".") and " ." not in note


def test_a_run_without_rows_has_a_table_without_notes():
    table = rows_table(run([]))
    assert table.rows == () or list(table.rows) == []
    assert not [note for note in table.notes if note.startswith("The same in all rows")]
