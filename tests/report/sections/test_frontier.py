"""Nothing on the frontier is beaten at both time and memory, and all that is off it is."""

import random

import pytest

from metabench.record.measurement import WORK_SPACE
from metabench.report.document import document
from metabench.report.frames import to_frame
from metabench.report.results import read_run
from metabench.report.sections.columns import memory_ratio


@pytest.fixture
def measured(row):
    """A measurement with that time in seconds and that peak in bytes."""

    def make(engine, seconds, peak, memory=None, **changes):
        made = row(engine=engine, measure=["time", "memory"], **changes)
        made["time"]["step"] |= {"median": seconds, "low": 0.99 * seconds, "high": 1.01 * seconds}
        made["memory"] |= {"tracked_bytes": peak, **(memory or {})}
        return made

    return make


def tables_of(folder):
    sections = document(read_run(folder)).sections
    return [table for section in sections if section.title == "Time against memory" for table in section.tables]


def lines_of(folder):
    (table,) = tables_of(folder)
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


def test_the_fastest_and_the_smallest_and_what_lies_between_are_on_the_frontier(run_of, measured):
    folder = run_of(
        [
            measured("loop", 8e-3, 1 << 10),
            measured("vmap", 2e-3, 1 << 20),
            measured("higher", 9e-3, 2 << 10),
            measured("compile", 1e-3, 1 << 19),
            measured("torchopt", 8e-3, 1 << 11),
            measured("loop", 16e-3, 1 << 8, checkpoint=True),
        ]
    )
    assert [(line["engine"], line["technique"], line["frontier"]) for line in lines_of(folder)] == [
        ("compile", "none", "●"),
        ("vmap", "none", ""),
        ("loop", "none", "●"),
        ("torchopt", "none", ""),
        ("higher", "none", ""),
        ("loop", "checkpointed inner loop", "●"),
    ]


def test_another_direction_does_not_push_this_one_off_its_own_frontier(run_of, measured):
    folder = run_of(
        [
            measured("loop", 8e-3, 1 << 12),
            measured("loop", 9e-3, 1 << 11, checkpoint=True),
            measured("vmap", 10e-3, 1 << 12),
            measured("loop", 2e-3, 1 << 10, first_order=1.0),
        ]
    )
    assert [(line["engine"], line["technique"], line["frontier"]) for line in lines_of(folder)] == [
        ("loop", "first order", "●"),
        ("loop", "none", "○"),
        ("loop", "checkpointed inner loop", "○"),
        ("vmap", "none", ""),
    ]


def test_a_work_space_that_is_kept_is_compared_with_one_that_is_taken_anew(run_of, measured):
    kept = {"tracked_method": f"peak of live tensor bytes{WORK_SPACE}"}
    folder = run_of([measured("loop", 8e-3, 1 << 11), measured("native", 1e-3, 1 << 10, memory=kept)])
    assert [(line["engine"], line["frontier"]) for line in lines_of(folder)] == [("native", "●"), ("loop", "")]
    (table,) = tables_of(folder)
    assert table.notes == (f"Peak memory of one meta-iteration, measured from {kept['tracked_method']}.",)
    by_engine = {bundle.cell.engine: bundle for bundle in read_run(folder).timed}
    assert memory_ratio(by_engine["native"], by_engine["loop"]) == "0.500"


def test_measures_that_cannot_be_compared_are_marked_and_kept_apart(run_of, measured):
    process = {"tracked_method": "unavailable", "resident_bytes": 1 << 20}
    folder = run_of(
        [
            measured("loop", 8e-3, 1 << 10),
            measured("vmap", 9e-3, 1 << 11),
            measured("jax", 1e-3, None, memory=process),
            measured("native", 5e-4, 0),
        ]
    )
    assert [(line["engine"], line["peak memory"], line["frontier"]) for line in lines_of(folder)] == [
        ("native", "0 B §", ""),
        ("jax", "1.00 MiB †", ""),
        ("loop", "1.00 KiB", "●"),
        ("vmap", "2.00 KiB", ""),
    ]
    (table,) = tables_of(folder)
    assert [note[0] for note in table.notes] == ["†", "§", "P"]
    assert "technique" not in table.columns


def test_work_that_was_done_in_one_way_alone_has_no_frontier(run_of, measured):
    others = [measured("jax", 1e-3, None), measured("native", 1e-3, 0)]
    assert tables_of(run_of([measured("loop", 1e-3, 1 << 10), *others])) == []
    alone = [measured("loop", 1e-3, 1 << 10), measured("vmap", 1e-3, 1 << 10, inner_steps=2)]
    assert tables_of(run_of(alone)) == []


def test_what_failed_stands_there_with_its_reason_and_no_mark(run_of, measured, row):
    refused = row(0, "unsupported", "no recomputing", engine="vmap", checkpoint=True, measure=["time", "memory"])
    ways = [measured("loop", 8e-3, 1 << 10), measured("vmap", 2e-3, 1 << 11), refused]
    *_, last = lines_of(run_of(ways))
    assert (last["status"], last["peak memory"], last["frontier"]) == ("unsupported: no recomputing", "–", "")


def test_every_mark_follows_from_the_csv_file(run_of, measured):
    generator = random.Random(0)
    ways = [("loop", {}), ("vmap", {}), ("compile", {}), ("native", {}), ("loop", {"checkpoint": True})]
    rows = [
        measured(engine, generator.randint(1, 9) * 1e-3, generator.randint(1, 9) << 10, inner_steps=steps, **technique)
        for steps in range(1, 11)
        for engine, technique in ways
    ]
    folder = run_of(rows)
    frame = to_frame(read_run(folder))
    marks = []
    for line in lines_of(folder):
        checkpoint = line["technique"] != "none"
        work = frame[frame["inner_steps"] == int(line["inner steps"])]
        plain = work["checkpoint"].astype("boolean").fillna(False)
        (own,) = work[(work["engine"] == line["engine"]) & (plain == checkpoint)].to_dict("records")
        time, peak = work["step_median_s"], work["tracked_bytes"]
        no_worse = (time <= own["step_median_s"]) & (peak <= own["tracked_bytes"])
        better = no_worse & ((time < own["step_median_s"]) | (peak < own["tracked_bytes"]))
        assert (line["frontier"] == "●") is not bool(better.any()), line
        marks.append(line["frontier"])
    assert 10 <= marks.count("●") < len(marks) == 50


def test_a_place_that_stands_on_a_disturbed_time_is_marked(run_of, measured):
    """Loop is the smallest, whatever time vmap took; that of vmap decides whether it is on the frontier."""
    ways = [measured("loop", 8e-3, 1 << 10), measured("vmap", 2e-3, 1 << 20), measured("compile", 1e-3, 1 << 21)]
    ways[1]["time"]["disturbed"] = {"reason": "others were busy", "factor": 3.0}
    (table,) = tables_of(run_of(ways))
    assert {line[1]: line[-1] for line in table.rows} == {
        "loop": "●",
        "vmap": "● (disturbed)",
        "compile": "● (disturbed)",
    }
    assert any(note.startswith("(disturbed): ") for note in table.notes)
