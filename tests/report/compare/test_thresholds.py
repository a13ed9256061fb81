"""Thresholds: what exceeds one, what does not, and what none can vouch for."""

import pytest

from metabench.errors import UserError
from metabench.report.compare.runs import compare
from metabench.report.compare.tables import comparison_document
from metabench.report.compare.thresholds import blind, failures, missing, parse_share
from metabench.report.document import as_markdown
from runs import faster, run


def rounds(row, factor: float = 1.0):
    return [faster(row(0, measure=["time"]), factor + 0.001 * number) | {"round": number} for number in range(9)]


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
    assert reasons([row()], [row(0, "crashed")], 0.05) == []
    assert reasons([row(0, "crashed")], [row()], 0.05) == []


def test_instructions_fail_above_the_share_on_any_machine(row):
    def counted(count):
        made = row(0, measure=["instructions"]) | {"time": None, "memory": None, "quality": None}
        return [made | {"instructions": {"instructions": count, "cycles": None, "iterations": 4, "method": "counted"}}]

    elsewhere = {"processor": {"name": "Other CPU", "usable_cores": 8}}
    assert reasons(counted(1e6), counted(1.03e6), 0.02, **elsewhere) == [
        "its instructions rose from 1,000,000 to 1,030,000"
    ]
    assert reasons(counted(1e6), counted(1.01e6), 0.02) == []
    assert blind(compare(run(counted(1e6)), run(counted(1e6)))) == ""
    found = as_markdown(comparison_document(compare(run(counted(1e6)), run(counted(1.004e6)))))
    assert "1.0040  | the same" in found and "0 of 1 configurations changed by more than 0.5 %" in found
    assert lost(counted(1e6), counted(None)) == ["the base has its instructions, and the new run did not measure it"]


def lost(base, new) -> list[str]:
    return [failure.reason for failure in missing(compare(run(base), run(new)))]


def test_figures_of_the_base_that_the_new_run_has_not(row):
    both, other = row(), row(algorithm="anil", measure=["time"])
    assert lost([both, other], [both]) == [
        "the base has its time, and the new run has no such configuration: "
        "the nearest differs in algorithm (anil; maml)"
    ]
    assert lost([both], [both, other]) == []
    assert lost([row()], [row(0, "crashed", "out of luck")]) == [
        "the base has its time and peak memory, and the new run: crashed: out of luck",
        "the base has its score, and the new run: crashed: out of luck",
    ]
    assert lost([both, row(0, "crashed", algorithm="anil")], [both]) == []


def blindness(base, new, **changes) -> str:
    return blind(compare(run(base), run(new, **changes)))


def test_a_comparison_in_which_nothing_could_exceed_a_threshold(row):
    elsewhere = {"processor": {"name": "Other CPU", "usable_cores": 8}}
    times = rounds(row)
    assert blindness(times, times) == ""
    assert "can call no difference of time" in blindness(times[:2], times)
    assert blindness([row()], [row()]) == ""  # its memory could
    assert "of different machines" in blindness(times, times, **elsewhere)
    assert blindness([row(0, "crashed")], [row(0, "crashed")]) == "no figure is in both runs"


def test_the_share():
    assert parse_share("5%") == 0.05
    assert parse_share("0 %") == 0
    for wrong in ("5", "-1%", "x%", "nan%", "inf%", "%"):
        with pytest.raises(UserError, match="--fail-above takes a percentage such as 5%"):
            parse_share(wrong)
