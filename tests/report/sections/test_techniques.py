"""Techniques against the same cells without: figures as computed by hand from the rows, and none mixed up."""

import math
import re
import statistics

import pytest

from alike import differences
from metabench.report.document import as_markdown, document
from metabench.report.results import read_run
from places import RESULTS

COST = {"measure": ["time", "memory"]}
NEW = {
    "train_ways": 1,
    "train_shots": 10,
    "inner_optimizer": "sgd",
    "first_order": 0.0,
    "checkpoint": False,
    "batch_norm": "transductive",
    "outer_warmup": 0,
    "outer_clip": 0.0,
}
SWITCHED = {
    "first order": {"first_order": 1.0},
    "first order for 25 % of the iterations": {"first_order": 0.25},
    "checkpointed inner loop": {"checkpoint": True},
    "inner adam": {"inner_optimizer": "adam", "inner_lr": 0.001},
    "bfloat16": {"precision": "bfloat16"},
    "clip 10": {"outer_clip": 10.0},
    "first order, inner adam": {"first_order": 1.0, "inner_optimizer": "adam"},
}


@pytest.fixture
def row(row):
    """Makes one measurement with the axes that old ones do not have."""
    return lambda number=0, status="ok", reason="", **changes: row(number, status, reason, **{**NEW, **changes})


def tables_of(folder, kind):
    sections = document(read_run(folder)).sections
    return [table for section in sections for table in section.tables if table.title.startswith(kind)]


def records(table):
    assert len(set(table.columns)) == len(table.columns)
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


def only(found):
    found = list(found)
    assert len(found) == 1, found
    return found[0]


def ratio_by_hand(above, below):
    """The geometric mean over rounds of the ratio of medians, from the rows of either side."""
    medians = [
        {row["round"]: statistics.median(row["time"]["step"]["samples"]) for row in rows} for rows in (above, below)
    ]
    return math.exp(statistics.mean(math.log(medians[0][r] / medians[1][r]) for r in medians[0]))


def numbers(text):
    return [float(number) for number in re.findall(r"-?[\d.]+", text)]


def test_every_technique_is_divided_by_the_same_without(run_of, row):
    rounds = range(3)
    plain = [row(number, **COST) for number in rounds]
    switched = {name: [row(number, **axes, **COST) for number in rounds] for name, axes in SWITCHED.items()}
    table = only(tables_of(run_of([*plain, *(r for rows in switched.values() for r in rows)]), "Techniques"))
    where = "sinusoid, 10 points, mlp-40x2, cpu, threads 2, inner steps 1, meta-batch 25, query 10"
    assert table.title == f"Techniques: {where}"
    lines = {r["technique"]: r for r in records(table)}
    assert set(lines) == set(SWITCHED)
    for name, rows in switched.items():
        value, low, high = numbers(lines[name]["relative time (without = 1)"])
        expected = ratio_by_hand(rows, plain)
        assert low <= expected <= high
        assert value == pytest.approx(expected, rel=0.01)
        memory = rows[0]["memory"]["tracked_bytes"] / plain[0]["memory"]["tracked_bytes"]
        assert numbers(lines[name]["relative memory (without = 1)"]) == [pytest.approx(memory, rel=0.005)]
        assert (lines[name]["algorithm"], lines[name]["engine"], lines[name]["status"]) == ("maml", "vmap", "ok")
    # 100 000 bytes · 4 · (1 + 1) · 0.25
    assert lines["checkpointed inner loop"]["peak memory"] == "195 KiB"
    assert any("of second order" in note for note in table.notes)
    assert "inner lr" in only(note for note in table.notes if "Hyper-parameters differ" in note)
    assert not any(name.startswith("MSE") for name in table.columns)


def test_inner_steps_are_a_column_where_they_vary_and_are_matched(run_of, row):
    cells = [{"inner_steps": steps, "checkpoint": on, **COST} for steps in (1, 5, 20) for on in (False, True)]
    made = [row(**cell) for cell in cells if (cell["inner_steps"], cell["checkpoint"]) != (20, False)]
    table = only(tables_of(run_of(made), "Techniques"))
    assert [r["inner steps"] for r in records(table)] == ["1", "5", "20"]
    one, five, twenty = records(table)
    assert one["relative memory (without = 1)"] == five["relative memory (without = 1)"] == "0.250"
    assert numbers(five["relative time (without = 1)"])[0] == pytest.approx(1.5, rel=0.02)
    # never measured without
    assert (twenty["relative time (without = 1)"], twenty["relative memory (without = 1)"]) == ("–", "–")
    assert twenty["step time"] != "–"


def test_what_differs_in_more_than_techniques_is_not_compared(run_of, row):
    """Neither another meta-batch, nor engine, nor algorithm, nor outer optimiser is the same cell without."""
    others = ({"meta_batch": 5}, {"engine": "loop"}, {"algorithm": "fomaml"}, {"outer": "sgd"}, {"model": "mlp-256x2"})
    rows = [row(**axes, **COST) for axes in others]
    assert tables_of(run_of([*rows, row(first_order=1.0, **COST)]), "Techniques") == []


def test_a_plain_cell_that_failed_leaves_no_ratio(run_of, row):
    rows = [row(0, "oom", "no memory", **COST), row(checkpoint=True, **COST)]
    line = only(records(only(tables_of(run_of(rows), "Techniques"))))
    assert "relative time (without = 1)" not in line
    assert line["peak memory"] == "195 KiB"
    rows = [row(**COST), row(0, "unsupported", "tf32 is of CUDA", precision="tf32", **COST)]
    line = only(records(only(tables_of(run_of(rows), "Techniques"))))
    assert (line["technique"], line["status"]) == ("tf32", "unsupported: tf32 is of CUDA")


def test_the_difference_of_quality_is_that_of_the_same_seeds(run_of, row):
    def scored(seed, value, **axes):
        made = row(**axes, seed=seed)
        made["quality"] |= {"value": value, "low": value - 0.03, "high": value + 0.03}
        return made

    plain = [scored(seed, value) for seed, value in enumerate((0.40, 0.42, 0.47))]
    first = [scored(seed, value, first_order=1.0) for seed, value in enumerate((0.50, 0.53, 0.56))]
    line = only(records(only(tables_of(run_of([*plain, *first]), "Techniques"))))
    # logarithms of the quotients 1.25, 1.262, 1.191: t(2) = 4.3027, √((4.3027 · 0.0308 / √3)² + 0.0903²) = 0.1184
    assert line["MSE ÷ without"] == "1.23 [1.10, 1.39]"
    assert (line["MSE"].split()[0], line["seeds"]) == ("0.53", "3")
    # only the common seeds count: 0.53 / 0.42
    line = only(records(only(tables_of(run_of([plain[1], *first]), "Techniques"))))
    assert line["MSE ÷ without"] == "1.26 [1.15, 1.38]"
    better = [scored(0, 0.30, first_order=1.0)]
    assert (
        only(records(only(tables_of(run_of([*plain, *better]), "Techniques"))))["MSE ÷ without"] == "0.75 [0.66, 0.85]"
    )


def test_quality_is_compared_with_the_same_training_alone(run_of, row):
    """A rate of its own belongs to another inner optimiser; to no other technique, and other iterations to none."""

    def gain(**axes):
        line = only(records(only(tables_of(run_of([row(), row(**axes)]), "Techniques"))))
        return line.get("MSE ÷ without", "–")

    assert gain(first_order=1.0) != "–"
    assert gain(inner_optimizer="adam", inner_lr=0.001) != "–"
    assert gain(first_order=1.0, inner_lr=0.001) == "–"
    assert gain(first_order=1.0, iterations=500) == "–"
    assert gain(inner_optimizer="adam", batch_norm="running") == "–"
    # of two plain ones, that of the same rate
    rows = [row(), row(inner_lr=0.5), row(inner_optimizer="adam", inner_lr=0.5)]
    rows[0]["quality"] |= {"value": 9.0, "low": 8.0, "high": 10.0}
    assert only(records(only(tables_of(run_of(rows), "Techniques"))))["MSE ÷ without"].startswith("1.00 [")


def test_maml_with_a_technique_is_divided_by_maml_without(run_of, row):
    cells = [{}, {"first_order": 1.0}, {"checkpoint": True}, {"algorithm": "fomaml"}, {"outer_clip": 10.0}]
    # the technique stands first, so that it would be taken for the reference
    rows = [row(**cell, **COST) for cell in reversed(cells)]
    table = only(tables_of(run_of(rows), "Cost:"))
    assert "technique" in table.columns and "first order" not in table.title
    lines = {(r["algorithm"], r["technique"]): r for r in records(table)}
    assert next(iter(lines)) == ("maml", "none")
    assert {lines["maml", "none"][f"relative {what} (maml = 1)"] for what in ("time", "memory")} == {"1"}
    expected = {
        ("maml", "first order"): (0.5, 0.5),
        ("maml", "checkpointed inner loop"): (1.5, 0.25),
        ("maml", "clip 10"): (1.1, 1.0),
        ("fomaml", "none"): (0.6, 0.5),
    }
    for key, (time, memory) in expected.items():
        assert numbers(lines[key]["relative time (maml = 1)"])[0] == pytest.approx(time, rel=0.02)
        assert numbers(lines[key]["relative memory (maml = 1)"]) == [pytest.approx(memory, rel=0.005)]
        assert "†" not in lines[key]["relative time (maml = 1)"]


def test_where_all_of_a_run_uses_a_technique_maml_with_it_is_the_reference(run_of, row):
    rows = [row(inner_optimizer="adam", algorithm=name, **COST) for name in ("maml", "fomaml")]
    maml, fomaml = records(only(tables_of(run_of(rows), "Cost:")))
    assert (maml["technique"], maml["relative time (maml = 1)"]) == ("inner adam", "1")
    assert numbers(fomaml["relative time (maml = 1)"])[0] == pytest.approx(0.6, rel=0.02)
    assert "†" not in fomaml["relative time (maml = 1)"]


def test_a_technique_without_a_matched_plain_maml_is_marked(run_of, row):
    rows = [row(**COST), row(checkpoint=True, inner_steps=5, **COST)]
    table = only(tables_of(run_of(rows), "Cost:"))
    line = only(r for r in records(table) if r["technique"] != "none")
    assert line["relative memory (maml = 1)"] == "0.750 †"  # (1 + 5) · 0.25 / (1 + 1)
    assert "† not matched: compared with maml at inner steps 1, meta-batch 25, query 10." in table.notes


def test_batch_norm_modes_are_told_apart(run_of, row):
    rows = [row(batch_norm=mode) for mode in ("transductive", "one-query", "running")]
    for made, mode in zip(rows, ("transductive", "one-query", "running"), strict=True):
        made["quality"]["batch_norm"] = mode
    rows.append(row(0, "diverged", "nan", batch_norm="running", algorithm="fomaml"))
    folder = run_of(rows)
    found = records(only(tables_of(folder, "Cost and quality")))
    assert [(r["algorithm"], r["batch norm"]) for r in found] == [
        ("maml", "one-query"), ("maml", "running"), ("maml", "transductive"), ("fomaml", "running"),
    ]  # fmt: skip
    steps = only(tables_of(folder, "Quality by adaptation step"))
    assert [r["batch norm"] for r in records(steps)] == ["one-query", "running", "transductive"]
    assert tables_of(folder, "Techniques") == []  # a mode of evaluation is no technique
    assert "batch norm running" in only(records(only(tables_of(folder, "Failures"))))["setting"]


def test_growth_holds_algorithms_and_techniques_in_one_table(run_of, row):
    cells = [{}, {"checkpoint": True}, {"first_order": 1.0}, {"algorithm": "fomaml"}]
    rows = [row(**cell, inner_steps=n, **COST) for cell in cells for n in (1, 5)]
    table = only(tables_of(run_of(rows), "Memory with inner steps"))
    assert table.columns == ("algorithm", "engine", "technique", "growth", "law", "theory", "1", "5")
    assert [line[0] + ": " + line[2] for line in table.rows] == [
        "maml: none", "maml: checkpointed inner loop", "maml: first order", "fomaml: none",
    ]  # fmt: skip
    assert {line[3] for line in table.rows} == {"3.00"}
    checkpointed = table.rows[1]
    assert checkpointed[-2:] == ("195 KiB", "586 KiB")
    plain = only(
        tables_of(run_of([r for r in rows if not r["cell"]["checkpoint"] and not r["cell"]["first_order"]]), "Mem")
    )
    assert plain.columns == ("algorithm", "engine", "growth", "law", "theory", "1", "5")


def test_training_shapes_of_their_own_are_said_and_others_are_not(run_of, row):
    def rows(*trained):
        return [row(inner_steps=n, train_shots=shots, **COST) for n in (1, 2) for shots in trained]

    titles = [
        only(tables_of(run_of(rows(shots), name=str(shots)), "Time with inner steps")).title for shots in (10, 20)
    ]
    assert ["train shots" in title for title in titles] == [False, True] and "train ways" not in titles[1]
    both = only(tables_of(run_of(rows(10, 20)), "Time with inner steps"))
    assert [r["train shots"] for r in records(both)] == ["10", "20"] and "train shots" not in both.title


def test_runs_from_before_there_were_techniques_read_as_ever(synthetic):
    text = as_markdown(document(read_run(synthetic)))
    assert "Techniques" not in text
    assert "technique" not in text.partition("## ")[2]


RUNS = sorted(RESULTS.glob("*/*/tables.md"))


@pytest.mark.parametrize("committed", RUNS, ids=lambda file: file.parent.name)
def test_committed_tables_are_those_of_their_measurements(committed):
    found = as_markdown(document(read_run(committed.parent)))
    assert differences(found, committed.read_text(encoding="utf-8")) == []
