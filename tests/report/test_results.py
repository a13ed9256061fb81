"""Reading run folders, and the flat frames made of them."""

import json
import math

import pandas as pd
import pytest

from metabench.errors import UserError
from metabench.report.frames import configurations_frame, curves_frame, samples_frame, to_frame
from metabench.report.results import read_run
from runs import run


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        read_run(folder)
    return str(caught.value)


def test_no_folder_or_no_run_in_it(tmp_path):
    assert refusal(tmp_path / "nowhere") == f"there is no run folder '{tmp_path / 'nowhere'}'"
    assert refusal(tmp_path) == f"'{tmp_path}' is not a run folder: it has no measurements.jsonl"
    (tmp_path / "measurements.jsonl").mkdir()
    assert refusal(tmp_path).startswith("cannot read")


def test_the_frame_of_configurations_goes_by_the_ids_of_its_rows(row):
    """Rows of earlier versions have ids that their cells would not have today."""
    rows = [row(number, algorithm=name) for number in range(3) for name in ("maml", "fomaml")]
    found = run(rows)
    assert all(one.id != one.cell.id for one in found.measurements)
    frame = configurations_frame(found).set_index("id")
    assert frame.index.tolist() == [rows[0]["id"], rows[1]["id"]]
    assert frame["repetitions"].tolist() == [3, 3]
    medians = [math.log(one["time"]["step"]["median"]) for one in rows[::2]]
    assert frame["step_s"].iloc[0] == pytest.approx(math.exp(sum(medians) / 3))


def test_a_misspelt_folder_is_named_with_the_nearest_run(run_of, row, tmp_path):
    run_of([row()], name="baseline")
    (tmp_path / "basement").mkdir()  # no run
    misspelt, far = tmp_path / "baselin", tmp_path / "elsewhere"
    assert refusal(misspelt) == f"there is no run folder '{misspelt}': did you mean '{tmp_path / 'baseline'}'?"
    assert refusal(far) == f"there is no run folder '{far}'"


def test_a_run(synthetic):
    run = read_run(synthetic)
    assert (run.name, run.sweep, len(run.measurements)) == ("synthetic", "synthetic", 117)
    assert run.environment.summary == "Test CPU, 2 cores, torch 2.13"
    assert run.warnings == ("omniglot is not at hand, so glyphs stand in for it: no zips",)


def test_an_unfinished_last_line_is_left_out_with_a_warning(run_of, row):
    folder = run_of([row(seed=0), row(seed=1)])
    file = folder / "measurements.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-200])
    run = read_run(folder)
    assert [r.cell.seed for r in run.measurements] == [0]
    assert "unfinished" in run.warnings[0]
    file.write_bytes(content[:-1])  # whole but for the line break: nothing is missing
    assert [r.cell.seed for r in read_run(folder).measurements] == [0, 1]


def test_a_broken_line_is_left_out_by_name_and_the_others_stay(run_of, row):
    folder = run_of([row(seed=0), row(seed=1), row(seed=2)])
    file = folder / "measurements.jsonl"
    lines = file.read_text().splitlines()
    for broken, word in (
        (lines[1][:-50], "it is not JSON"),
        ("[]", "it is not a measurement"),
        ('{"schema": 1, "id": "x", "round": 0, "status": "ok"}', "it is not a measurement: it has no 'cell'"),
    ):
        file.write_text("\n".join([lines[0], broken, lines[2]]) + "\n")
        run = read_run(folder)
        assert [r.cell.seed for r in run.measurements] == [0, 2]
        assert run.warnings[0] == f"Line 2 of measurements.jsonl is left out: {word}."
        assert run.warnings[1] == "Resume the run to measure what was left out."


def test_a_line_of_a_newer_version_refuses_the_run(run_of, row):
    folder = run_of([row(seed=0), row(seed=1) | {"schema": 2}])
    assert refusal(folder).endswith("was written by a newer metabench (schema 2): update first")


def test_a_run_of_which_nothing_can_be_read(run_of):
    folder = run_of([["no"], ["measurement"]])
    assert refusal(folder).startswith(f"'{folder}' holds no measurement at all: Line 1 of measurements.jsonl")


def test_the_reference_is_in_no_frame(run_of, row, pairs):
    run = read_run(run_of([*pairs((1.0, 1.1), (1.0, 1.0)), row()]))
    assert (len(run.measurements), len(run.noise_rows)) == (1, 4)
    assert len(to_frame(run)) == 1
    assert set(samples_frame(run)["seconds"]) == {s for k in ("step", "sampling") for s in row()["time"][k]["samples"]}
    assert read_run(run_of([row()])).noise_rows == ()


def test_environment_missing_or_corrupt(run_of, row):
    folder = run_of([row()])
    (folder / "environment.json").unlink()
    run = read_run(folder)
    assert run.sweep == "run"
    assert "environment.json is missing" in run.warnings[0]
    (folder / "environment.json").write_text("{")
    assert "is not valid JSON" in refusal(folder)
    (folder / "environment.json").write_text("[]")
    assert "does not describe a machine" in refusal(folder)


def test_one_row_a_cell_and_round_and_none_left_out(synthetic):
    rows = [json.loads(line) for line in (synthetic / "measurements.jsonl").read_text().splitlines()]
    frame = to_frame(read_run(synthetic))
    assert list(zip(frame["id"], frame["round"], strict=True)) == [(r["id"], r["round"]) for r in rows]
    assert set(frame["status"]) == {
        *("ok", "incorrect", "diverged", "oom", "timeout", "crashed", "unsupported", "skipped")
    }


def test_every_figure_of_a_row_has_its_column(run_of, row):
    made = row(algorithm="fomaml", seed=3)
    seen = {"processor_share": 0.5, "others_cores": 1.5, "disturbed": {"reason": "others", "factor": 2.0}}
    made["time"] |= seen
    frame = to_frame(read_run(run_of([made])))
    found = frame.iloc[0].to_dict()
    for axis, value in made["cell"].items():
        assert found[axis] == ("time+memory+quality" if axis == "measure" else value)
    step, sampling, quality = made["time"]["step"], made["time"]["sampling"], made["quality"]
    assert {name: found[f"step_{name}_s"] for name in ("median", "low", "high", "iqr")} == {
        name: step[name] for name in ("median", "low", "high", "iqr")
    }
    assert (found["samples"], found["block"], found["noisy"]) == (21, 4, False)
    assert (found["processor_share"], found["others_cores"]) == (0.5, 1.5)
    assert (found["disturbed"], found["disturbed_factor"]) == ("others", 2.0)
    assert found["sampling_share"] == sampling["median"] / step["median"]
    assert (found["compile_s"], found["first_step_s"]) == (0.0, 0.01)
    assert (found["tracked_bytes"], found["resident_bytes"]) == (400_000, 5_000_000)
    assert pd.isna(found["nvml_bytes"])
    assert (found["data_name"], found["data_hash"], found["parameters"]) == ("sinusoid", "ab" * 32, 1761)
    assert (found["gate_engine_error"], found["gate_definition_error"]) == (3e-15, 2e-10)
    names = ("metric", "value", "tasks", "batch_norm", "iterations", "train_s")
    assert [found[f"quality_{name}"] for name in names] == [quality[name] for name in names]
    # a row without task scores has ± 0.03: its logarithm's interval
    assert (found["quality_low"], found["quality_high"]) == pytest.approx(
        (0.48 * math.exp(-0.03 / 0.48), 0.48 * math.exp(0.03 / 0.48))
    )
    assert found["quality_steps"] == 2
    assert (found["started"], found["seconds"]) == (made["started"], made["seconds"])


def test_a_cell_without_figures_has_empty_columns(run_of, row):
    found = to_frame(read_run(run_of([row(0, "skipped", "a smaller cell ran out of memory")]))).iloc[0]
    assert found["reason"] == "a smaller cell ran out of memory"
    for name in ("data_name", "parameters", "gate_engine_error", "step_median_s", "tracked_bytes", "quality_value"):
        assert pd.isna(found[name]), name


def test_a_run_without_rows_has_the_columns(run_of, row):
    empty = to_frame(read_run(run_of([])))
    full = to_frame(read_run(run_of([row()])))
    assert len(empty) == 0
    assert list(full.columns) == list(empty.columns)


def test_samples_and_curves(run_of, row):
    made = [row(), row(1), row(0, "oom", "no memory", seed=1)]
    run = read_run(run_of(made))
    samples = samples_frame(run)
    for i in range(2):
        for kind in ("step", "sampling"):
            mine = samples[(samples["round"] == i) & (samples["kind"] == kind)]
            assert list(mine["seconds"]) == made[i]["time"][kind]["samples"]
            assert list(mine["index"]) == list(range(len(mine)))
    assert len(samples) == 2 * (21 + 6)
    curves = curves_frame(run)
    assert list(curves["iteration"]) == [0, 1000]
    assert pd.isna(curves["loss"][0])
    assert list(curves.columns) == [
        *("id", "algorithm", "engine", "task", "seed", "iteration", "seconds", "loss", "value")
    ]


def test_the_intervals_of_the_csv_hold_the_noise_floor(run_of, row, pairs):
    alone, loud = (
        to_frame(read_run(run_of(rows))).iloc[0]
        for rows in ([row()], [row(), *pairs((1.0, 1.2), (1.3, 1.0), (1.0, 1.1))])
    )
    assert alone.step_median_s == loud.step_median_s
    assert loud.step_low_s < alone.step_low_s / 1.05 and loud.step_high_s > alone.step_high_s * 1.05
    assert (bool(alone.noisy), bool(loud.noisy)) == (False, True)


def test_the_csv_says_by_how_much_a_time_drifted(run_of, row):
    made = row()
    step = made["time"]["step"]
    rising = [1.0 + 0.02 * i for i in range(21)]
    made["time"]["step"] = step | {"samples": rising, "low": 1.0, "median": rising[10], "high": 1.4}
    assert to_frame(read_run(run_of([made]))).drift[0] == pytest.approx(1.4, rel=0.05)
    assert to_frame(read_run(run_of([row()]))).drift[0] == 1
