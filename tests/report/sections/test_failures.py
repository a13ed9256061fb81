"""A row that failed gives what it had measured before it ended, and says in which phase it did."""

import pytest

from metabench.report.document import document
from metabench.report.frames import to_frame
from metabench.report.results import read_run

ENDS = {
    "timeout": ("ended in phase 'quality' at the time limit of 150 s", "timeout in quality after 150 s"),
    "diverged": ("the training loss is nan", "diverged in quality: the training loss is nan"),
    "crashed": ("RuntimeError: no", "crashed in quality: RuntimeError: no"),
    "oom": ("no room", "oom in quality: no room"),
    "unsupported": ("trained on loop", "unsupported in quality: trained on loop"),
}


def ended(row, status, reason, phase="quality", **changes):
    """A row with its time and its memory, whose training failed."""
    return row(**changes) | {"quality": None, "status": status, "reason": reason, "phase": phase, "seconds": 150.3}


def tables(folder, kind):
    sections = document(read_run(folder)).sections
    return [table for section in sections for table in section.tables if table.title.startswith(kind)]


def by(table, column):
    lines = [dict(zip(table.columns, line, strict=True)) for line in table.rows]
    return {line[column]: line for line in lines}


@pytest.mark.parametrize("status", ENDS)
def test_the_cost_of_a_cell_whose_training_failed_is_shown(run_of, row, status):
    """Without the score, which it has not, and with the word and the phase beside it."""
    reason, says = ENDS[status]
    whole = by(tables(run_of([row(), row(algorithm="fomaml")], name="whole"), "Cost and quality:")[0], "algorithm")
    failed = ended(row, status, reason)
    folder = run_of([failed, row(algorithm="fomaml")])
    found = by(tables(folder, "Cost and quality:")[0], "algorithm")
    for column in ("step time", "peak memory", "relative time (maml = 1)", "relative memory (maml = 1)"):
        assert found["maml"][column] == whole["maml"][column] != "–"
        assert found["fomaml"][column] == whole["fomaml"][column] != "–"
    assert (found["maml"]["MSE"], found["maml"]["training"], found["maml"]["status"]) == ("–", "–", says)
    (line,) = by(tables(folder, "Failures")[0], "id").values()
    word = {"oom": "out of memory"}.get(status, status)
    assert (line["status"], line["measured before"], line["reason"]) == (f"{word} in quality", "time, memory", reason)
    (frame,) = to_frame(read_run(folder)).query("status != 'ok'").to_dict("records")
    assert (frame["ended_in"], frame["step_median_s"]) == ("quality", failed["time"]["step"]["median"])


def test_what_ended_before_its_memory_was_measured_has_a_time_alone(run_of, row):
    cut = ended(row, "oom", "no room", "memory", measure=["time", "memory"]) | {"memory": None}
    (table,) = tables(run_of([cut, row(algorithm="fomaml", measure=["time", "memory"])]), "Cost")
    maml = by(table, "algorithm")["maml"]
    assert maml["step time"] != "–"
    assert (maml["peak memory"], maml["status"]) == ("–", "oom in memory: no room")


def test_tables_of_growth_and_of_engines_mark_what_is_not_whole(run_of, row):
    late = ended(row, *("timeout", ENDS["timeout"][0]), inner_steps=5)
    folder = run_of([row(), late, row(engine="loop"), row(engine="loop", inner_steps=5)])
    growth = next(table for table in tables(folder, "Time with inner steps"))
    assert by(growth, "engine")["vmap"]["5"].endswith(" ‡")
    assert not by(growth, "engine")["loop"]["5"].endswith("‡")
    assert any(note.startswith("‡ Some repetitions or seeds failed") for note in growth.notes)
    (engines,) = tables(folder, "Engines against loop")
    assert [text.endswith("‡") for text in by(engines, "engine")["vmap"].values()].count(True) == 1


def test_the_phase_of_an_old_row_is_read_from_its_reason(run_of, row):
    old = row(0, "timeout", ENDS["timeout"][0]) | {"seconds": 150.2}
    (measured,) = read_run(run_of([old])).measurements
    assert (measured.phase, measured.ended_in) == ("", "quality")
    assert "phase" not in measured.to_json()


def test_rows_that_ended_in_several_phases_say_how_often_each_word_came(run_of, row):
    costs = {"measure": ["time"]}
    rows = [row(0, **costs), *(row(n, "timeout", f"ended in phase '{where}' late", **costs) for n, where in TWO)]
    (table,) = tables(run_of(rows), "Cost")
    assert by(table, "algorithm")["maml"]["status"] == "timeout (2 of 3 rows)"


TWO = ((1, "timing"), (2, "memory"))
