"""The history of runs: order, machines, levels, files."""

import csv
import json
import re
from urllib.parse import unquote

import pandas as pd
import pytest

from browser import address, browser, resize, scheme
from metabench.errors import UserError
from metabench.record.cell import AXES, identity
from metabench.report.compare.history import changes_table, find_runs, histories, history_frame, history_table
from metabench.report.compare.history_terminal import fitted
from metabench.report.compare.history_write import write_history
from metabench.report.numbers import Linked
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


def test_what_was_measured_at_one_commit_is_counted_and_not_shown(row, tmp_path):
    alone = run([row(0, algorithm="fomaml"), row(0, algorithm="reptile")], "alone", metabench={"commit": "7" * 40})
    again = run(alone.measurements, "again", metabench={"commit": "7" * 40})
    (history,) = histories([measured(row, 0), measured(row, 1), alone, again], DATES)
    assert [line.cell.algorithm for line in history.lines] == ["maml", "anil"]
    assert [column.run for column in history.columns] == ["run-0", "run-1"]  # the others would be empty
    assert history.single == 2
    assert history_table(history).notes[-1] == "2 more configurations were measured at a single commit: not shown."
    frame = history_frame([history])
    assert set(frame.algorithm) == {"maml", "anil"} and set(frame.machine) == {history.machine}
    (history,) = histories([alone, again], DATES)
    assert history.lines == history.columns == () and history.single == 2
    assert "no history yet" in fitted(changes_table(history), 80) and "2 configurations were" in history.left_out
    assert write_history([history], tmp_path) == [] and "no history yet" in (tmp_path / "history.md").read_text()
    assert list(pd.read_csv(tmp_path / "history.csv").columns) == list(frame.columns)


def test_what_changed_stands_first_the_largest_step_before_all_others(row):
    runs = []
    for number, factor in enumerate((1, 1, 1, 3, 3, 3)):
        made = measured(row, number)
        slower = measured(row, number, factor).measurements[1]
        runs.append(run([made.measurements[0], slower], f"run-{number}", metabench={"commit": f"{number:x}" * 40}))
    (history,) = histories(runs, DATES)
    assert [line.cell.algorithm for line in history.lines] == ["anil", "maml"]
    (first, second) = changes_table(history).rows
    assert first[4:] == ("3.00", "▲ × 3.00 from 33333333") and second[4:] == ("1.00", "–")
    assert isinstance(first[0], Linked) and first[0].address == f"#chart-{history.lines[0].id}"


def test_older_rows_without_newer_axes_are_the_same_configuration(row):
    old, new = row(0), row(0)
    newer = {axis: AXES[axis].default for axis in ("first_order", "checkpoint", "inner_optimizer", "outer_clip")}
    assert old["cell"].keys().isdisjoint(newer)
    del old["cell"]["precision"], old["cell"]["outer"]
    new["cell"] |= newer
    for each in (old, new):
        each["id"] = identity(each["cell"])
    runs = [run([each], f"run-{n}", metabench={"commit": f"{n}" * 40}) for n, each in enumerate((old, new))]
    (history,) = histories(runs, DATES)
    (line,) = history.lines
    assert old["id"] != new["id"] and len(line.timed) == 2 and history.single == 0


def test_lines_of_the_same_words_are_told_apart_by_the_axis_that_differs(row):
    """An axis that only another version of metabench has, and one of training that a cost depends on."""
    made = []
    for changes in ({}, {"sharpness": 3}, {"outer": "sgd"}):
        one = row(0)
        one["cell"] |= changes
        one["id"] = identity(one["cell"])
        made.append(one)
    runs = [run(made, f"run-{number}", metabench={"commit": f"{number}" * 40}) for number in range(2)]
    (history,) = histories(runs, DATES)
    rows = changes_table(history).rows
    assert len({row[:2] for row in rows}) == len(rows) == 3
    assert any("sharpness 3" in row[1] for row in rows) and any("outer sgd" in row[1] for row in rows)


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


def test_disturbed_times_are_marked_and_are_no_step(row, tmp_path):
    """Other programs made all times from the fourth commit on nine times as long; at the last they were gone again."""
    factors = (1, 1, 1, 9, 9, 9, 1.0)
    rows = [(factor, faster(row(0, algorithm="maml"), factor)) for factor in factors]
    for factor, made in rows:
        made["time"]["step"] |= {name: factor * made["time"]["step"][name] for name in ("median", "low", "high")}
        if factor > 1:
            made["time"]["disturbed"] = {"reason": "others", "factor": 9.0}
    runs = [run([made], f"run-{n}", metabench={"commit": f"{n:x}" * 40}) for n, (_, made) in enumerate(rows)]
    (history,) = histories(runs, DATES)
    (line,) = history.lines
    assert line.steps == () and [columns for columns, _ in line.levels] == [[0, 1, 2, 6]]
    table = history_table(history)
    assert [text.endswith(" (disturbed)") for text in table.rows[0][2:]] == [factor > 1 for factor in factors]
    assert any(note.startswith("(disturbed): ") for note in table.notes)
    (changes,) = changes_table(history).rows
    assert "(disturbed)" not in "".join(changes) and changes[-1] == "–"
    assert list(history_frame([history])["disturbed"]) == [factor > 1 for factor in factors]
    (history,) = histories(runs[:5], DATES)
    (changes,) = changes_table(history).rows
    assert [text.endswith(" (disturbed)") for text in changes[2:]] == [False, True, True, False]
    (page,) = write_history([history], tmp_path)
    assert page.read_text().count("(disturbed): ") == 1
    # Undisturbed they are a step.
    for _, made in rows:
        made["time"].pop("disturbed", None)
    runs = [run([made], f"run-{n}", metabench={"commit": f"{n:x}" * 40}) for n, (_, made) in enumerate(rows)]
    assert histories(runs, DATES)[0].lines[0].steps[0] == 3


def test_gaps_stay_gaps(row):
    runs = [measured(row, number, 1.0 if number < 3 else 2.0) for number in range(6)]
    lost = run([row(0, "crashed", algorithm="maml"), row(0, algorithm="anil")], "lost", metabench={"commit": "6" * 40})
    (history,) = histories([*runs[:2], lost, *runs[2:]], DATES | {"6" * 40: "0000000000015"})
    by_name = {line.cell["algorithm"]: line for line in history.lines}
    crashed = [column.run for column in history.columns].index("lost")
    assert by_name["maml"].statuses[crashed] == "crashed" and by_name["maml"].times[crashed] is None
    assert by_name["maml"].steps == (4,)


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
    (history,) = histories([measured(row, 0), measured(row, 1), empty], DATES)
    assert len(history.columns) == 2
    with pytest.raises(UserError, match="no time was measured"):
        histories([empty], DATES)


@pytest.fixture
def told(row, tmp_path):
    """The histories of eight runs, in which a hostile name was measured twice, and their folder of files."""
    runs = [measured(row, number, 1 if number < 4 else 2) for number in range(8)]
    hostile = row(0)
    hostile["cell"] |= {"algorithm": "../<svg onload='x'>$a_b$", "engine": "a/b|c"}
    hostile["id"] = identity(hostile["cell"])
    for number in range(2):
        measurements = [*runs[number].measurements, hostile]
        runs[number] = run(measurements, f"run-{number}", metabench={"commit": f"{number}" * 40})
    found = histories(runs, DATES)
    return found, tmp_path / "out", write_history(found, tmp_path / "out")


def test_files(told):
    found, out, pages = told
    assert pages == [out / "history.html"]
    assert {file.name for file in out.rglob("*")} == {"history.html", "history.md", "history.csv"}
    assert "44444444" in (out / "history.md").read_text(encoding="utf-8")
    with (out / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history_frame(found)) == 8 * 2 + 2
    assert [r["revision"] for r in rows if r["change_point"] == "True"] == ["44444444"] * 2
    before = pages[0].read_bytes()
    write_history(found, out)
    assert before == pages[0].read_bytes()


def test_each_row_leads_to_its_chart(told):
    (history,), _, (page,) = told
    text = page.read_text(encoding="utf-8")
    links = [unquote(link) for link in re.findall(r'<a [^>]*?href="#([^"]*)"', text)]
    places = re.findall(r' id="([^"]*)"', text)
    assert len(set(places)) == len(places) and set(links) <= set(places)
    assert [link for link in links if link.startswith("chart-")] == [f"chart-{line.id}" for line in history.lines]
    assert text.count("<svg viewBox") == len(history.lines) == 3
    assert "<svg onload" not in text


def test_each_machine_has_its_page(row, tmp_path):
    runs = [measured(row, number, processor={"name": f"CPU/{number % 2}", "usable_cores": 2}) for number in range(6)]
    pages = write_history(histories(runs, DATES), tmp_path)
    assert [file.name for file in pages] == ["history-CPU-0-2-cores-8-GiB.html", "history-CPU-1-2-cores-8-GiB.html"]
    assert all(file.parent == tmp_path for file in pages)


@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_a_terminal_gets_no_line_wider_than_it(told, width):
    (history,), _, _ = told
    lines = fitted(changes_table(history), width).splitlines()
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    assert all(line.cell.implementation[:20] in said for line in history.lines) and "▲" in said and "44444444" in said


@pytest.mark.parametrize(("width", "colours"), [(1440, "light"), (390, "light"), (1440, "dark")])
def test_a_browser_shows_charts_and_asks_for_nothing(told, width, colours):
    (history,), _, (page,) = told
    with browser() as opened:
        resize(opened, width)
        scheme(opened, colours)
        opened.get(address(page))
        assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        wide = opened.execute_script("return document.querySelector('.charts svg').getBoundingClientRect().width")
        assert 250 < wide < 700
        script = "return [...document.querySelectorAll('.charts circle title')].map(title => title.textContent)"
        assert len(opened.execute_script(script)) == sum(len(line.timed) for line in history.lines)
        opened.execute_script("document.querySelector('tbody a').click()")
        shown = opened.execute_script("return document.querySelector(':target').getBoundingClientRect().top")
        assert 0 <= shown < 900
        assert opened.get_log("browser") == []
        asked = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
        assert [url for url in urls if not url.startswith(("data:", address(page)))] == []


def test_finding_runs(tmp_path, synthetic):
    assert find_runs([synthetic.parent, synthetic]) == [synthetic]
    with pytest.raises(UserError, match="there is no run folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="there is no run in"):
        find_runs([tmp_path])
