"""Tables of what is timed apart from the meta-iteration, on rows whose truth is known."""

import pytest

from metabench.report.apart import seconds_of
from metabench.report.frames import samples_frame, to_frame
from metabench.report.results import read_run
from metabench.report.sections.apart import apart_tables
from runs import run, timed_apart

PHASES = {"measure": ["time", "phases"]}
HELD_OUT = {"measure": ["adaptation"]}
NETWORK = {"measure": ["double_backward"]}


def lines(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def value(text):
    """The figure before its interval."""
    return float(text.split(" ")[0])


def test_the_backward_pass_by_inner_steps_with_the_power_by_which_it_grows(row):
    """On vmap it grows with the square of the steps, on loop with the steps; rounds differ by a factor of two."""
    power, slower = {"vmap": 2, "loop": 1}, (1.0, 2.0, 0.5)
    rows = [
        timed_apart(
            row(number, engine=engine, inner_steps=steps, **PHASES), 1e-3 * slower[number] * steps ** power[engine]
        )
        for number in range(3)
        for engine in power
        for steps in (1, 2, 4)
    ]
    rows.append(row(0, algorithm="fomaml", inner_steps=1, **PHASES))  # nothing was marked in it
    (table,) = apart_tables(run(rows)).tables
    assert table.title.startswith("Backward pass with inner steps: sinusoid, 10 points, mlp-40x2, query 10")
    loop, vmap = sorted(lines(table), key=lambda line: line["engine"])
    assert (loop["engine"], loop["1"].split(" [")[0], loop["4"].split(" [")[0]) == ("loop", "1 ms", "4 ms")
    assert [value(line["exponent"]) for line in (loop, vmap)] == [1.0, 2.0]
    assert set(table.cells[0]) | set(table.cells[1]) == {made["id"] for made in rows[:-1]}


def test_one_repetition_has_the_interval_of_its_phase(row):
    (bundle,) = run([timed_apart(row(**PHASES), 2.0)]).timed
    found = seconds_of(bundle, "backward")
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.8, 2.2))


@pytest.fixture
def held_out(row):
    """MAML takes 8 ms at 5 test steps and 2 ms at one, ANIL a quarter of it, whatever engine and inner steps train."""
    slower = (1.0, 2.0, 0.5)
    rows = []
    for number in range(3):
        for name, steps, seconds in (("maml", 5, 8e-3), ("anil", 5, 2e-3), ("maml", 1, 2e-3), ("anil", 0, 1e-3)):
            took = seconds * slower[number]
            made = row(number, algorithm=name, eval_steps=steps, inner_steps=1 if name == "maml" else 3, **HELD_OUT)
            rows.append(timed_apart(made, task=(took, 0.75 * took, 0.25 * took)))
    return rows


def test_a_held_out_task_against_the_baseline_with_as_many_steps(held_out):
    (table,) = apart_tables(run(held_out)).tables
    assert table.title.startswith("One held-out task: sinusoid, 10 points, mlp-40x2")
    assert "engine" not in table.columns and "inner steps" not in table.columns
    found = {(line["algorithm"], line["test steps"]): line for line in lines(table)}
    ratio = {key: line["relative time (maml = 1)"] for key, line in found.items()}
    assert ratio["maml", "5"] == ratio["maml", "1"] == "1"
    assert value(ratio["anil", "5"]) == 0.25
    assert ratio["anil", "0"] == "–"  # of two baselines, none is its own
    line = found["maml", "5"]
    assert [value(line[name]) for name in ("a task", "adaptation", "predictions")] == [8.0, 6.0, 2.0]
    assert "status" not in table.columns


def test_engines_and_seeds_of_a_training_are_no_lines_of_their_own(row):
    rows = [
        timed_apart(row(engine=engine, seed=seed, **HELD_OUT), task=(1.0, 0.5, 0.5))
        for engine, seed in (("loop", 0), ("vmap", 1))
    ]
    (table,) = apart_tables(run(rows)).tables
    assert len(table.rows) == 1 and len(table.cells[0]) == 2


def test_what_was_disturbed_or_failed_says_so(row):
    rows = [
        timed_apart(row(**HELD_OUT), task=(1.0, 0.5, 0.5), disturbed="others were busy"),
        row(0, "timeout", "ended at the time limit", algorithm="anil", **HELD_OUT),
    ]
    (table,) = apart_tables(run(rows)).tables
    maml, anil = lines(table)
    assert maml["a task"].endswith("(disturbed)") and anil["a task"] == "–"
    assert anil["status"] == "timeout: ended at the time limit"
    assert any("(disturbed)" in note for note in table.notes)


def test_a_network_differentiated_twice_against_once(row):
    """Rounds differ by a factor of two, and the ratio does not; neither algorithm nor engine makes a line."""
    rows = [
        timed_apart(
            row(number, algorithm=name, engine=engine, model=model, **NETWORK), derivatives=(took, factor * took)
        )
        for number, took in enumerate((1.0, 2.0, 0.5))
        for name, engine, model, factor in (
            *(("maml", "vmap", "mlp-40x2", 3.0), ("fomaml", "loop", "mlp-40x2", 3.0)),
            ("maml", "vmap", "mlp-256x2", 25.0),
        )
    ]
    (table,) = apart_tables(run(rows)).tables
    assert table.title.startswith("Double backward: ") and table.title.endswith(", 60 examples")
    found = {line["network"]: line for line in lines(table)}
    assert {name: value(line["ratio"]) for name, line in found.items()} == {"mlp-40x2": 3.0, "mlp-256x2": 25.0}
    assert all(line["ratio"].count("[") == 1 and "?" not in line["ratio"] for line in found.values())


def test_runs_without_them_have_no_such_table(row):
    assert apart_tables(run([row(), row(algorithm="anil")])).tables == ()


def test_frames_have_the_times_with_their_intervals_and_every_sample(row, run_of):
    made = [
        timed_apart(row(number, **HELD_OUT), task=(4.0, 3.0, 1.0), disturbed="others were busy") for number in range(2)
    ]
    made.append(timed_apart(row(**NETWORK, meta_batch=4), derivatives=(1.0, 3.0)))
    loaded = read_run(run_of(made))
    found = to_frame(loaded)
    first, last = found.iloc[0], found.iloc[-1]
    assert (first["adaptation_s"], first["adaptation_support_s"], first["adaptation_query_s"]) == (4.0, 3.0, 1.0)
    assert first["adaptation_low_s"] <= 4.0 <= first["adaptation_high_s"]
    assert first["adaptation_disturbed"] == "others were busy" and first["adaptation_steps"] == 2
    assert (last["double_backward_once_s"], last["double_backward_twice_s"]) == (1.0, 3.0)
    assert last["double_backward_examples"] == 60
    kinds = samples_frame(loaded).groupby("kind").size()
    expected = ("adaptation", "adaptation_query", "adaptation_support")
    assert {name: kinds[name] for name in expected} == dict.fromkeys(expected, 18)
    assert kinds["double_backward_once"] == kinds["double_backward_twice"] == 9
