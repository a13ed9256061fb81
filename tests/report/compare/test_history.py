"""The history of runs: order, machines, levels, files."""

import csv
import re
import xml.etree.ElementTree as ElementTree

import pytest

from metabench.errors import UserError
from metabench.record.cell import identity
from metabench.report.compare.history import find_runs, histories, history_frame, history_table
from metabench.report.compare.history_write import write_history
from runs import faster, run

DATES = {f"{number:x}" * 40: f"{number:012d}" for number in range(8)}


def measured(row, number: int, factor: float = 1.0, **changes):
    """The run of the revision with that number; measured in the opposite order."""
    made = [faster(row(0, algorithm=name), factor) for name in ("maml", "anil")]
    for one in made:
        one |= {"started": f"2026-11-21T05:{50 - number}:00Z"}
        step = one["time"]["step"]
        step |= {name: factor * step[name] for name in ("median", "low", "high")}
    return run(made, f"run-{number}", **{"metabench": {"commit": f"{number:x}" * 40, "dirty": False}, **changes})


def test_columns_are_in_the_order_of_commits_or_else_of_measuring(row):
    runs = [measured(row, number) for number in (2, 0, 1)]
    (history,) = histories(runs, DATES)
    assert [column.label for column in history.columns] == ["00000000", "11111111", "22222222"]
    (history,) = histories(runs, {key: DATES[key] for key in list(DATES)[:2]})  # of one nothing is known
    assert [column.label for column in history.columns] == ["22222222", "11111111", "00000000"]


def test_runs_of_one_revision_keep_their_names(row):
    runs = [
        measured(row, 1),
        run(measured(row, 1).measurements, "again", metabench={"commit": "1" * 40, "dirty": True}),
    ]
    (history,) = histories([*runs, measured(row, 1)], DATES)
    assert sorted(column.label for column in history.columns) == [
        *("11111111 (run-1)", "11111111 (run-1)", "11111111 and changes")
    ]


def test_machines_are_never_in_one_line(row):
    runs = [measured(row, number, processor={"name": f"CPU {number % 2}", "usable_cores": 2}) for number in range(6)]
    found = histories(runs, DATES)
    assert [history.machine for history in found] == ["CPU 0, 2 cores, 8 GiB", "CPU 1, 2 cores, 8 GiB"]
    assert [column.run for column in found[1].columns] == ["run-1", "run-3", "run-5"]
    assert all(len(line.times) == 3 for line in found[0].lines)


def test_a_step_is_marked_with_its_direction(row):
    runs = [measured(row, number, factor) for number, factor in enumerate((1, 1, 1, 1.5, 1.5, 1.5, 0.7, 0.7))]
    (history,) = histories(runs, DATES)
    assert [line.steps for line in history.lines] == [(3, 6), (3, 6)]
    table = history_table(history)
    assert [text[-1] if text[-1] in "▲▼" else "" for text in table.rows[0][2:]] == ["", "", "", "▲", "", "", "▼", ""]
    levels = [level for _, level in history.lines[0].levels]
    assert [level / levels[0] for level in levels] == pytest.approx([1, 1.5, 0.7])


def test_gaps_stay_gaps(row):
    runs = [measured(row, number, 1.0 if number < 3 else 2.0) for number in range(6)]
    lost = run([row(0, "crashed", algorithm="maml")], "lost", metabench={"commit": "6" * 40})
    alone = run([row(0, algorithm="fomaml")], "alone", metabench={"commit": "7" * 40})
    (history,) = histories([*runs[:2], lost, alone, *runs[2:]], DATES | {"6" * 40: "0000000000015", "7" * 40: "9"})
    by_name = {line.cell["algorithm"]: line for line in history.lines}
    assert [column.run for column in history.columns][2] == "run-2"
    assert by_name["fomaml"].statuses == ("", "", "", "", "", "", "ok")
    assert by_name["maml"].steps == (3,)


def test_a_line_goes_on_where_only_training_and_evaluation_change(row):
    runs = []
    for number, changes in enumerate(({"iterations": 300}, {"iterations": 6000}, {"eval_tasks": 41, "seed": 3})):
        runs.append(run([row(0, **changes)], f"run-{number}", metabench={"commit": f"{number:x}" * 40}))
    (history,) = histories(runs, DATES)
    (line,) = history.lines
    assert line.statuses == ("ok", "ok", "ok")
    assert len(line.ids) == 3
    assert history_table(history).cells == (line.ids,)


def test_runs_without_times_are_left_out(row):
    empty = run([row(0, "crashed")], "empty")
    (history,) = histories([measured(row, 0), empty], DATES)
    assert len(history.columns) == 1
    with pytest.raises(UserError, match="no time was measured"):
        histories([empty], DATES)


def test_files(row, tmp_path):
    runs = [measured(row, number, 1 if number < 4 else 2) for number in range(8)]
    hostile = row(0)
    hostile["cell"] |= {"algorithm": "../<svg onload='x'>$a_b$", "engine": "a/b|c"}
    hostile["id"] = identity(hostile["cell"])
    runs[0] = run([*runs[0].measurements, hostile], "run-0", metabench={"commit": "0" * 40})
    found = histories(runs, DATES)
    plots = write_history(found, tmp_path / "out")
    assert sorted(tmp_path.rglob("*.svg")) == sorted(plots)
    assert len(plots) == 3
    assert all(file.parent == tmp_path / "out" / "plots" for file in plots)
    for file in plots:
        ElementTree.parse(file)
        assert "<svg onload" not in file.read_text(encoding="utf-8")
    text = (tmp_path / "out" / "history.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*?)\)", text)
    assert sorted(links) == sorted(str(file.relative_to(tmp_path / "out")) for file in plots)
    assert "44444444" in text
    with (tmp_path / "out" / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history_frame(found)) == 8 * 2 + 1
    assert [r["revision"] for r in rows if r["change_point"] == "True"] == ["44444444"] * 2
    before = {file: file.read_bytes() for file in plots}
    write_history(found, tmp_path / "out")
    assert before == {file: file.read_bytes() for file in plots}


def test_finding_runs(tmp_path, synthetic):
    assert find_runs([synthetic.parent, synthetic]) == [synthetic]
    with pytest.raises(UserError, match="there is no run folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="there is no run in"):
        find_runs([tmp_path])
