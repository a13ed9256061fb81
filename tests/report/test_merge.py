"""Runs of several machines in one folder: every row is there, and none is mixed up with another machine's."""

import json
import math

import pandas as pd
import pytest

import metabench as mb
from drawn import check_texts
from metabench.errors import UserError
from metabench.record.cell import identity
from metabench.record.reading import MEASUREMENTS
from metabench.report.bundles import bundles, time_key, time_ratio_of
from metabench.report.document import as_text, document
from metabench.report.figures import figures
from metabench.report.frames import to_frame
from metabench.report.merge import apart, merge
from metabench.report.merge import merged as together
from metabench.report.noise import noise_floor
from metabench.report.results import read_run
from metabench.report.scores import quality
from runs import environment

FAST = {"processor": {"name": "Fast CPU", "usable_cores": 64}}
CALM, WILD = ((1.0, 1.01), (1.0, 0.99)), ((1.0, 1.3), (1.0, 0.8))


def timed(made, factor):
    """The row with all its times multiplied."""
    step = made["time"]["step"]
    for name in ("median", "low", "high", "iqr"):
        step[name] *= factor
    step["samples"] = [factor * sample for sample in step["samples"]]
    return made


@pytest.fixture
def folders(run_of, row, pairs):
    """The same two cells on a machine and on one ten times as fast, and further rounds on the first."""
    mine = [row(number, engine=engine) for number in range(3) for engine in ("loop", "vmap")]
    its = [
        timed(made, 0.1) for made in (row(number, engine=engine) for number in range(3) for engine in ("loop", "vmap"))
    ]
    later = [made | {"started": "2026-11-22T05:00:00Z"} for made in (row(0, engine="loop"), *pairs(*CALM))]
    return [
        run_of([*mine, *pairs(*CALM)], environment(), "slow"),
        run_of([*its, *pairs(*WILD)], environment(**FAST), "fast"),
        run_of(later, environment(), "again"),
    ]


@pytest.fixture
def merged(folders, tmp_path):
    merge(folders, tmp_path / "merged")
    return read_run(tmp_path / "merged")


def test_every_row_is_there_with_its_machine(merged, folders):
    frame = to_frame(merged)
    assert len(frame) == 13 and len(merged.noise_rows) == 12
    assert frame.groupby("machine").size().to_dict() == {
        "Fast CPU, 64 cores, 8 GiB, torch 2.13, Python 3.11": 6,
        "Test CPU, 2 cores, 8 GiB, torch 2.13, Python 3.11": 7,
    }
    assert all(row.id == row.cell.id == identity(row.cell.to_json()) for row in merged.measurements)
    lines = [json.loads(line) for line in (folders[0].parent / "merged" / MEASUREMENTS).read_text().splitlines()]
    assert {line["run"] for line in lines} == {f"{name} at aaaaaaaa" for name in ("slow", "fast", "again")}


def test_a_run_without_rows_keeps_its_machine(run_of, row, tmp_path):
    folders = [run_of([row(0)], environment(), "some"), run_of([], environment(**FAST), "none")]
    assert document(read_run(folders[1])).answer.ran == "nothing was measured"
    merge(folders, tmp_path / "both")
    summary = read_run(tmp_path / "both").environment.summary
    assert summary == "; ".join(read_run(folder).environment.machine_label for folder in folders)


def test_times_of_machines_are_never_in_one_ratio(merged):
    for bundle in bundles(merged.measurements, time_key):
        assert len({row.cell.machine for row in bundle.rows}) == 1
    loops = [b for b in bundles(merged.measurements, time_key) if b.cell.engine == "loop"]
    slow, fast = sorted(loops, key=lambda b: -b.step.value)
    assert slow.step.value / fast.step.value == pytest.approx(10, rel=0.1)
    assert sorted(number for _, number in slow.samples) == [0, 1, 2, 3]  # one more of the other run
    engines = [t for s in document(merged).sections if s.title == "Engines against loop" for t in s.tables]
    assert len(engines) == 2 and all(" on " in table.title for table in engines)


def time_of(found, algorithm):
    (bundle,) = [bundle for bundle in found.timed if bundle.algorithm == algorithm]
    return bundle


def test_repetitions_of_two_runs_are_never_pairs(run_of, row, tmp_path):
    """The machine was twice as slow on the second day, in every repetition."""
    names = ("maml", "fomaml")
    first = [row(number, algorithm="maml", measure=["time"]) for number in range(3)]
    second = [timed(row(number, algorithm="fomaml", measure=["time"]), 2) for number in range(3)]
    days = (
        run_of(first, environment(), "first"),
        run_of([one | {"started": "2026-11-22T05:00:00Z"} for one in second], environment(), "second"),
    )
    merge(days, tmp_path / "merged")
    found = read_run(tmp_path / "merged")
    maml, fomaml = (time_of(found, name) for name in names)
    ratio = time_ratio_of(fomaml, maml)
    # The repetitions of the synthetic machine differ by 1 : 1.5 : 0.8, which no pair of two days cancels out.
    assert ratio.value == pytest.approx(1.2, rel=0.02) and ratio.rounds == 0
    assert ratio.low < 0.6 and not ratio.differs
    assert ratio.high / ratio.value == pytest.approx(
        math.exp(math.hypot(*(math.log(one.step.high / one.step.value) for one in (maml, fomaml))))
    )
    assert " divided as two times. " in " ".join(document(found).how_to_read)
    # Within one run each repetition is a pair.
    together = read_run(run_of([*first, *second], environment(), "together"))
    paired = time_ratio_of(*(time_of(together, name) for name in reversed(names)))
    assert (paired.rounds, paired.low > 1.15) == (3, True)
    assert "divided as two times" not in " ".join(document(together).how_to_read)


def test_runs_of_one_name_get_rounds_of_their_own(run_of, row, tmp_path):
    folders = [
        run_of([row(number, algorithm=name) for number in range(3)], environment(), f"{name}/same")
        for name in ("maml", "fomaml")
    ]
    merge(folders, tmp_path / "merged")
    found = read_run(tmp_path / "merged").measurements
    assert len({row.run for row in found}) == 1 and len({row.repetition for row in found}) == 6


def test_of_two_trainings_of_one_seed_the_first_counts_and_a_warning_says_so(run_of, row):
    def day(name, began, score):
        rows = [row(0, seed=seed, measure=["quality"]) | {"started": began} for seed in range(3)]
        for made in rows:
            made["quality"] |= {"value": score, "low": score - 0.01, "high": score + 0.01}
        return read_run(run_of(rows, environment(), name))

    days = day("one", "2026-11-21T05:00:00Z", 0.4), day("two", "2026-11-22T05:00:00Z", 0.8)
    for runs in (days, days[::-1]):
        found = together(runs)
        (bundle,) = found.trained
        assert quality(bundle).score.value == pytest.approx(0.4) and quality(bundle).seeds == 3
        said = [sentence for sentence in document(found).warnings if "training seed" in sentence]
        assert said == [
            "3 scores of a training seed that has an earlier one in the same setting: left out of all means over seeds."
        ]
    assert not any("training seed" in sentence for sentence in document(days[0]).warnings)


def test_each_machine_has_a_table_of_costs_and_one_of_growth_of_its_own(run_of, row, tmp_path):
    rows = [row(inner_steps=n, measure=["time"]) for n in (1, 5)]
    machines = [(environment(), "slow"), (environment(**FAST), "fast")]
    merge([run_of(rows, found, name) for found, name in machines], tmp_path / "merged")
    tables = [t for section in document(read_run(tmp_path / "merged")).sections for t in section.tables]
    for kind in ("Cost", "Time with inner steps"):
        titles = [table.title for table in tables if table.title.startswith(kind)]
        assert [sum(name in title for title in titles) for name in ("Test CPU", "Fast CPU")] == [1, 1], titles


def test_the_table_of_machines_has_a_column_for_each(merged):
    (section,) = [section for section in document(merged).sections if section.title == "Machines"]
    (table,) = section.tables
    assert table.columns[2:] == (
        "Test CPU, 2 cores, 8 GiB, torch 2.13, Python 3.11",
        "Fast CPU, 64 cores, 8 GiB, torch 2.13, Python 3.11",
    )
    assert [line[0] for line in table.rows] == ["maml/loop", "maml/vmap"]
    assert all("on " not in line[1] for line in table.rows)


def test_the_noise_floor_is_the_highest(merged, folders):
    floors = [noise_floor(read_run(folder).noise_rows).ratio for folder in folders]
    assert noise_floor(merged.noise_rows).ratio == max(floors) == floors[1]
    said = as_text(document(merged))
    assert "run-to-run noise" in said and "the machine got" not in said


def test_a_machine_that_is_slower_on_another_day_did_not_drift_in_the_course_of_a_run(run_of, pairs, row):
    def day(name, began, slower):
        noise = pairs(*((slower, slower * (1 + 0.01 * (-1) ** i)) for i in range(6)))
        return read_run(run_of([made | {"started": began} for made in (row(0), *noise)], environment(), name))

    days = day("one", "2026-11-21T05:00:00Z", 1.0), day("two", "2026-11-22T05:00:00Z", 2.0)
    said = dict(document(together(days)).facts)["run-to-run noise"]
    assert "12 pairs" in said and "the machine got" not in said


def test_the_figure_shows_each_work_on_both_machines(merged):
    (figure,) = [figure for figure in figures(merged) if figure.name == "machines"]
    frame = to_frame(merged).set_index("id")
    assert len(figure.frame) == 2
    for mark in figure.frame.itertuples():
        assert mark.machine.startswith("Fast CPU") and mark.first_machine.startswith("Test CPU")
        own = frame.loc[mark.cells.split()]
        mine = own[own["machine"] == mark.machine]["step_median_s"]
        assert mine.min() <= mark.seconds <= mine.max()
    assert any(text.startswith("on Test CPU") for text in check_texts(figure))


def test_a_merged_run_can_be_merged_again(folders, run_of, tmp_path, merged):
    rows = [json.loads(line) for line in (folders[0] / MEASUREMENTS).read_text("utf-8").splitlines()]
    next_day = run_of([made | {"started": "2026-11-23T05:00:00Z"} for made in rows], environment(), "next")
    merge([tmp_path / "merged", next_day], tmp_path / "more")
    more = to_frame(read_run(tmp_path / "more"))
    assert len(more) == 19 and set(more["machine"]) == set(to_frame(merged)["machine"])
    assert not pd.DataFrame(more[["id", "round"]]).duplicated().any()


def test_a_merged_run_that_is_merged_again_names_each_part_and_its_warnings_once(run_of, row, tmp_path):
    for seconds, name in enumerate(("one", "two", "three")):
        run_of([row(0) | {"seconds": seconds}], environment() | {"warnings": [f"{name} was loud"]}, name)
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    merge([tmp_path / "both", tmp_path / "three"], tmp_path / "all")
    found = read_run(tmp_path / "all").environment
    assert found.sweep.title == "Runs merged: one, two, three"
    assert found.warnings == ["one: one was loud", "two: two was loud", "three: three was loud"]
    assert [part["run"] for part in found.runs] == ["one", "two", "three"]


def test_measurements_are_not_counted_twice(run_of, row, tmp_path):
    mine = [row(number) | {"started": f"2026-01-0{number + 1}T00:00:00Z", "seconds": 1.5} for number in range(3)]
    runs = [run_of(rows, environment(), name) for name, rows in (("one", mine), ("two", mine[:1]), ("three", mine[2:]))]
    merge(runs[1:], tmp_path / "both")
    for second in (runs[0], runs[1], tmp_path / "both"):
        with pytest.raises(
            UserError, match=rf"'one' and '{second.name}' hold the same measurements: name each run once"
        ):
            merge([runs[0], second], tmp_path / "new")
    with pytest.raises(UserError, match="hold the same measurements"):
        mb.load([runs[0], runs[0]])
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_written_over(folders, tmp_path):
    with pytest.raises(UserError, match="is there already"):
        merge(folders[:1], tmp_path)
    with pytest.raises(UserError, match="no run folder"):
        merge([tmp_path / "none"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_merged_run_is_taken_apart_again_and_nothing_counts_twice(folders, merged):
    runs = [read_run(folder) for folder in folders]
    for given in ([merged], [merged, *runs], [*runs, merged]):
        found = {run.name: run for run in apart(given)}
        assert list(found) == ["slow", "fast", "again"]
        for run in runs:
            again = found[run.name]
            assert again.environment.machine_label == run.environment.machine_label
            assert len(again.measurements) == len(run.measurements)
            assert len(again.noise_rows) == len(run.noise_rows)
    assert [run.name for run in apart([runs[0], runs[0]])] == ["slow"]
