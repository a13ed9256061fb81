"""What a cell would have needed, foreseen from smaller ones whose truth is known."""

import pytest

from metabench.report.sections.needed import needed_tables, needs
from runs import run

OOM = ("oom", "DefaultCPUAllocator: can't allocate memory")


def weighed(row, peak, *outcome, **axes):
    made = row(0, *outcome, measure=["memory"], **axes)
    if made["memory"]:
        made["memory"]["tracked_bytes"] = peak
    return made


def test_a_straight_line_is_foreseen_to_the_byte(row):
    rows = [weighed(row, 1000 + 500 * k, inner_steps=k) for k in (1, 2, 5, 10)]
    rows += [weighed(row, 0, *OOM, inner_steps=100), weighed(row, 0, "skipped", "memory ran out", inner_steps=200)]
    found = {one.bundle.cell["inner_steps"]: one for one in needs(run(rows))}
    assert {steps: one.bytes for steps, one in found.items()} == {100: 51_000, 200: 101_000}
    assert found[100].missed == pytest.approx(0)
    (table,) = needed_tables(run(rows)).tables
    line = dict(zip(table.columns, table.rows[0], strict=True))
    assert (line["status"], line["predicted peak"], line["error"]) == ("oom", "49.8 KiB", "0 %")
    assert line["from"] == "inner steps: 1, 2, 5, 10"
    assert len(table.cells[0]) == 5


def test_how_far_it_misses_is_known_from_cells_that_ran(row):
    rows = [weighed(row, 100 * k * k, inner_steps=k) for k in (1, 2, 4)] + [weighed(row, 0, *OOM, inner_steps=8)]
    (one,) = needs(run(rows))
    # from 1 and 2 the line says 1000 at 4, where it is 1600; from 2 and 4 it says 4000 at 8
    assert one.bytes == 4000 and one.missed == pytest.approx(600 / 1600)


def test_the_line_with_most_sizes_counts_and_two_sizes_say_nothing_of_their_error(row):
    rows = [weighed(row, 1000 * b, meta_batch=b, inner_steps=5) for b in (4, 8)]
    rows += [weighed(row, 10_000 * k, meta_batch=32, inner_steps=k) for k in (1, 2, 3)]
    rows.append(weighed(row, 0, *OOM, meta_batch=32, inner_steps=5))
    (one,) = needs(run(rows))
    assert one.axis == "inner_steps" and one.bytes == 50_000
    (other,) = needs(run([row for row in rows if row["cell"]["inner_steps"] == 5]))
    assert other.axis == "meta_batch" and other.bytes == 32_000 and other.missed is None


def test_further_rounds_that_are_skipped_hide_nothing(row):
    def needs_of(*statuses):
        rows = [weighed(row, 1000 * k, inner_steps=k) for k in (1, 2)]
        rows += [row(number, status, "why", inner_steps=5) for number, status in enumerate(statuses)]
        return [one.bytes for one in needs(run(rows))]

    assert needs_of("oom", "skipped", "skipped") == needs_of("oom", "oom", "skipped") == needs_of("oom") == [5000]
    assert needs_of("timeout", "skipped", "skipped") == needs_of("ok", "ok") == []


def test_nothing_is_foreseen_from_one_size_or_for_what_failed_otherwise(row):
    rows = [weighed(row, 1000, inner_steps=1), weighed(row, 0, *OOM, inner_steps=5)]
    assert needs(run(rows)) == []
    rows = [weighed(row, 1000 * k, inner_steps=k) for k in (1, 2)]
    assert needs(run([*rows, weighed(row, 0, "timeout", "too long", inner_steps=5)])) == []
    assert needed_tables(run(rows)).tables == ()
