"""From rows whose truth is known to tables: laws and network are found again, and steps predicted without error."""

import copy
from dataclasses import astuple

import pytest

from metabench.errors import UserError
from metabench.forecast.breaks import TRIED, breaks, most_tasks
from metabench.forecast.checking import checks, fit_network
from metabench.forecast.hardware import find_hardware
from metabench.forecast.measured import lines
from metabench.forecast.predicting import predict
from metabench.forecast.tables import forecast_document, forecast_json, from_text
from metabench.forecast.text import two
from metabench.record.cell import identity
from metabench.report.document import as_markdown
from metabench.report.results import read_run


@pytest.fixture
def run(run_of, rows):
    return read_run(run_of(rows))


@pytest.fixture
def toy(hardware_file):
    return find_hardware(str(hardware_file()))


def tables(found):
    return {table.title: table for section in forecast_document(found).sections for table in section.tables}


def records(table):
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


def test_the_laws_of_a_line_are_found_again(run):
    small, large = sorted(lines(run.measurements), key=lambda line: line.direction_bytes)
    assert (small.direction_bytes, large.direction_bytes) == (4 * 1761, 4 * 66561)
    for line in (small, large):
        assert line.compute(5) == pytest.approx(11e-3)
        assert line.work.flops == 1e9 and line.work.bytes == 1e7
        assert line.work.calls(1) == pytest.approx(340) and line.work.calls(100) == pytest.approx(30_040)
        assert line.memory.at(8) and line.memory.each.value == pytest.approx(100_000)
        assert astuple(line.drawing) == pytest.approx((4e-5, 1e-5, 1e-6))
        assert line.drawing.seconds(2, 10) == pytest.approx(68e-6)
        assert len(line.shared) == 3


def test_what_no_process_was_seen_to_pass_over_is_taken_to_be_made(run_of, rows):
    alone = [one for one in rows if "world_size" not in one["cell"]]
    for line in lines(read_run(run_of(alone)).measurements):
        assert astuple(line.drawing) == pytest.approx((4e-5, 1e-5, 1e-5))
    for one in alone:
        one["time"]["sampling"] = None
    assert {line.drawing.seconds(1, 9) for line in lines(read_run(run_of(alone, "untimed")).measurements)} == {0.0}


def test_latency_bandwidth_and_wait_are_found_again(run):
    network = fit_network([(line, shared) for line in lines(run.measurements) for shared in line.shared])
    assert network.link.latency_s == pytest.approx(50e-6)
    assert network.link.bandwidth == pytest.approx(1e9) and network.wait == pytest.approx(0.1)
    assert fit_network([]) is None


def test_a_step_of_two_processes_is_predicted_from_steps_of_one(run):
    found = checks(lines(run.measurements))
    assert len(found) == 6
    assert [check.error for check in found] == pytest.approx([0.0] * 6, abs=1e-9)
    (odd,) = [check for check in found if check.shared.cell.meta_batch == 15 and check.line.direction_bytes < 1e4]
    assert odd.compute == pytest.approx(17e-3)  # eight of the fifteen tasks


def test_the_wait_for_a_task_more_is_counted_once(run, run_of, rows, toy):
    """The leading process has seven of fifteen tasks: in the all-reduce it waits for the eighth of the other one."""
    (line, _) = sorted(lines(run.measurements), key=lambda line: line.direction_bytes)
    odd, even = line.shared[1:]
    assert (odd.cell.meta_batch, even.cell.meta_batch) == (15, 16)
    assert odd.ahead_s == pytest.approx(2e-3) and even.ahead_s == 0.0
    assert odd.communication_s == pytest.approx(even.communication_s) == pytest.approx(even.all_reduce_s)
    notes = [table.notes for title, table in tables(predict(run, toy, [1])).items() if title.startswith("Predicted")]
    assert all(any("waits for a task more" in note for note in found) for found in notes)
    alike = [row for row in rows if row["cell"]["meta_batch"] != 15]
    notes = [table.notes for title, table in tables(predict(read_run(run_of(alike, "alike")), toy, [1])).items()]
    assert not any("waits for a task more" in note for found in notes for note in found)


def test_a_wait_that_is_longer_than_the_all_reduce_leaves_no_communication(run_of, rows):
    for row in rows:
        if row["cell"]["meta_batch"] == 15:
            row["time"]["communication_s"] = 1e-3
    found = [(line, shared) for line in lines(read_run(run_of(rows)).measurements) for shared in line.shared]
    assert {shared.communication_s for _, shared in found if shared.cell.meta_batch == 15} == {0.0}
    assert 0.0 <= fit_network(found).wait < 0.1


def test_a_step_that_takes_longer_than_predicted_is_an_error(run_of, rows):
    for row in rows:
        if row["cell"].get("world_size") == 2 and row["cell"]["meta_batch"] == 16:
            step = row["time"]["step"]
            step |= {name: 2 * step[name] for name in ("median", "low", "high")}
            step["samples"] = [2 * sample for sample in step["samples"]]
    found = predict(read_run(run_of(rows)), find_hardware("h200"), [1])
    # communication was not touched, and nothing is fitted to the time of a step
    assert sorted(check.error for check in found.checks)[:2] == pytest.approx([-0.5] * 2)
    facts = dict(forecast_document(found).facts)
    assert facts["model against measured"].endswith(
        "missed by 0 % in the median of 6 configurations, and by 50 % at the most"
    )
    (table,) = [table for title, table in tables(found).items() if title.startswith("Predicted") and "40x2" in title]
    assert [line["error"] for line in records(table)] == ["0 %", "0 %", "-50 %"]


def test_a_forecast_on_the_toy(run, toy):
    """Half to a tenth of 1 TFLOP/s: 2 to 10 ms a task of 1 GFLOP; 340 calls take less."""
    found = tables(predict(run, toy, [1, 8, 64]))
    (strong,) = [table for title, table in found.items() if title.startswith("Strong") and "mlp-40x2" in title]
    assert strong.title.endswith("inner steps 1, float32, meta-batch 16")
    one, eight, many = records(strong)
    assert one["compute"] == one["step time"] == "32 to 160 ms" and one["communication"] == "–"
    assert one["speed-up"] == "1.0" and one["efficiency"] == "100 %" and one["limited by"] == "arithmetic"
    # 7044 bytes: 6 steps of 1 µs and 1.761 µs within nodes, 2 of 10 µs and 8.805 µs between two of them
    assert eight["communication"] == "54 µs" and eight["tasks a device"] == "2" and eight["step time"] == "4.1 to 20 ms"
    assert many["limited by"] == "idle devices: 48 of 64; arithmetic" and many["tasks a device"] == "1"
    assert one["memory"] == "2.48 MiB" and "memory" not in many["limited by"]
    (weak,) = [table for title, table in found.items() if title.startswith("Weak") and "mlp-40x2" in title]
    assert [line["tasks"] for line in records(weak)] == ["16", "128", "1024"]
    assert (
        "call of an operator 1 µs" in weak.notes[0] and "share of the peak that is reached 10 to 50 %" in weak.notes[0]
    )


def test_what_one_process_reached(run, toy):
    """A step of 8 tasks takes 17 ms: 8 GFLOP of 200 GFLOP/s, 80 MB of 40 GB/s, 2440 calls."""
    (table,) = [
        table for title, table in tables(predict(run, toy, [1])).items() if "Reached" in title and "40x2" in title
    ]
    line = records(table)[1]
    assert (line["tasks"], line["operations"], line["calls"]) == ("8", "8000 M", "2440")
    assert line["share of the peak"] == "240 %"
    assert line["share of the bandwidth"] == "12 %" and line["time a call"] == "6.97 µs"


def test_a_device_whose_memory_is_too_small_says_so(run, hardware_file):
    small = find_hardware(str(hardware_file(memory=2.5e6)))
    found = tables(predict(run, small, [1]))
    (strong,) = [table for title, table in found.items() if title.startswith("Strong") and "mlp-40x2" in title]
    assert records(strong)[0]["limited by"] == "memory; arithmetic"
    assert {most_tasks(line, small) for line in lines(run.measurements)} == {15}


def test_what_breaks_first(run, hardware_file):
    """At 1 µs a call and without a limit of arithmetic, 40 of 340 calls are shared by no device."""
    slow = find_hardware(str(hardware_file(peak_float32=1e18, inside_latency_s=0.5e-6, wait=[0, 2])))
    line = min(lines(run.measurements), key=lambda line: line.direction_bytes)
    found = breaks(line, line.work, 16, slow)
    told = {(one.scaling, one.what.split(":")[0]): from_text(one) for one in found}
    assert told["strong", "devices are idle"] == "17"
    # with a wait of twice the compute any two devices are worse than one
    assert told["weak", "communication takes longer than compute"].startswith("2")
    assert told["weak", "efficiency is below 50 %"].startswith("2")
    # 40 µs, 10 µs for each of its own 16 tasks and 1 µs for each other: 8.4, 16.6 and 33 ms of 512, 1024 and 2048;
    # a step of 4840 calls, with the wait and the ring, takes 7.4 to 17.1, 10.0 to 19.7 and 15.1 to 24.8 ms
    assert told["weak", "drawing tasks takes longer than a step"] == "512 to 2048"
    firsts = [one.first or 2 * TRIED[-1] for one in found]
    assert firsts == sorted(firsts)


def test_devices_beyond_the_tasks_are_what_breaks_efficiency(run, toy):
    found = tables(predict(run, toy, [1]))
    (table,) = [table for title, table in found.items() if title.startswith("What would") and "40x2" in title]
    told = {(line["scaling"], line["what breaks"]): (line["from"], line["limited by"]) for line in records(table)}
    assert told["strong", "devices are idle: more of them than tasks"] == ("17", "idle devices")
    assert told["strong", "efficiency is below 50 %"] == ("32", "idle devices")
    assert table.notes[-1].endswith("maml/vmap 30.")  # 1 MB and 0.1 MB a task, of 4 MB


def test_rows_of_old_or_damaged_runs(run_of, rows, row, toy):
    for one in rows:
        one["cell"].pop("precision")
        one["id"] = identity(one["cell"])
    odd = row(0, meta_batch=0, measure=["time"])
    instant = copy.deepcopy(next(one for one in rows if one["cell"].get("world_size") == 2))
    instant["time"]["communication_s"] = 1e-300
    found = predict(read_run(run_of([*rows, odd, instant])), toy, [1])
    assert len(found.predicted) == 2 and len(found.checks) == 6


def test_what_was_not_counted_is_left_out_with_a_reason(run_of, rows, toy):
    for row in rows:
        if row["cell"]["model"] == "mlp-256x2":
            row.pop("work", None)
    found = predict(read_run(run_of(rows)), toy, [1])
    assert len(found.predicted) == 1 and len(found.checks) == 6
    (why,) = found.left_out
    assert why.startswith("No forecast for maml/vmap (sinusoid, 10 points, mlp-256x2") and "were not counted" in why
    for row in rows:
        row.pop("work", None)
    with pytest.raises(UserError, match="nothing of 'bare' can be forecast"):
        predict(read_run(run_of(rows, name="bare")), toy, [1])


def test_a_precision_that_is_not_assumed(run, hardware_file):
    double = find_hardware(str(hardware_file(peak_float32=None, peak_float64=1e12)))
    with pytest.raises(UserError, match="toy has no peak in float32"):
        predict(run, double, [1])


def test_numbers_for_programs(run, toy):
    found = forecast_json(predict(run, toy, [1, 8], meta_batch=32))
    assert found["hardware"] == "toy" and len(found["forecasts"]) == 8
    (strong,) = [
        one
        for one in found["forecasts"]
        if (one["scaling"], one["devices"], one["cell"]["model"]) == ("strong", 8, "mlp-40x2")
    ]
    assert (strong["tasks"], strong["own_tasks"]) == (32, 4)
    assert strong["step"]["low"] == pytest.approx(8e-3 + 54e-6, rel=1e-4)
    assert list(strong["limits"]) == ["arithmetic"]


def test_the_document_says_what_is_predicted_and_what_assumed(run, toy):
    text = as_markdown(forecast_document(predict(run, toy, [1])))
    assert "no confidence interval" in text and "Assumed: Toy" in text
    assert "| 10 to 50 % " in text


def test_two_digits():
    assert [two(value) for value in (0, 0.0123, 1.26, 12.6, 1260)] == ["0", "0.012", "1.3", "13", "1300"]
