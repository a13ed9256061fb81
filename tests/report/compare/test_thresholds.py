"""The gate: what makes it fail, and what does not."""

import pytest

from metabench.errors import UserError
from metabench.report.compare.runs import compare
from metabench.report.compare.thresholds import failures, parse_share
from runs import faster, run


def rounds(row, factor: float = 1.0):
    return [faster(row(0), factor + 0.001 * number) | {"round": number} for number in range(9)]


def reasons(base, new, share: float, **changes) -> list[str]:
    found = compare(run(base, pairing="x"), run(new, pairing="x", **changes))
    return [failure.reason for failure in failures(found, share)]


def test_a_time_fails_above_the_share_alone(row):
    base = rounds(row)
    assert reasons(base, rounds(row, 1.08), 0.05) == ["its time is 1.08 [1.08, 1.08] times the base's"]
    assert reasons(base, rounds(row, 1.08), 0.10) == []
    assert reasons(base, rounds(row, 0.5), 0.05) == []


def test_a_time_that_is_not_significant_does_not_fail(row):
    mixed = [
        faster(row(0), factor) | {"round": n} for n, factor in enumerate((1.5, 0.9, 1.6, 0.8, 1.4, 1.5, 0.7, 1.6, 1.5))
    ]
    found = compare(run(rounds(row), pairing="x"), run(mixed, pairing="x"))
    assert found.cells[0].time.ratio.value > 1.1
    assert failures(found, 0.05) == []


def test_times_of_different_machines_do_not_fail(row):
    elsewhere = {"processor": {"name": "Other CPU", "usable_cores": 8}}
    assert reasons(rounds(row), rounds(row, 3.0), 0.05, **elsewhere) == []


def test_memory_quality_and_statuses(row):
    def with_memory(bytes_: int):
        made = row()
        made["memory"]["tracked_bytes"] = bytes_
        return [made]

    assert reasons(with_memory(1000), with_memory(1051), 0.05) == ["its peak memory rose from 1000 to 1051 bytes"]
    assert reasons(with_memory(1000), with_memory(1050), 0.05) == []
    worse = row()
    worse["quality"] |= {"value": 4.0, "low": 3.97, "high": 4.03}
    assert reasons([row()], [worse], 0.05) == ["its score is worse"]
    assert reasons([worse], [row()], 0.05) == []
    assert reasons([row()], [row(0, "crashed")], 0.05) == ["it was ok and is crashed"]
    assert reasons([row(0, "crashed")], [row()], 0.05) == []


def test_the_share():
    assert parse_share("5%") == 0.05
    assert parse_share("0 %") == 0
    for wrong in ("5", "-1%", "x%", "nan%", "inf%", "%"):
        with pytest.raises(UserError, match="--fail-above takes a percentage such as 5%"):
            parse_share(wrong)
