"""Forecasts beside steps that were measured on the hardware they are for."""

import pytest

from metabench.errors import UserError
from metabench.forecast.against import work_key
from metabench.forecast.hardware import find_hardware
from metabench.forecast.predicting import predict
from metabench.forecast.tables import forecast_document
from metabench.report.results import read_run
from metabench.sweep.builtin import find_sweep
from metabench.sweep.spec import load_sweep
from places import H100


@pytest.fixture
def toy(hardware_file):
    """Half to a tenth of 1 TFLOP/s: 2 to 10 ms for a task of 1 GFLOP. Twice as fast in TF32."""
    return find_hardware(str(hardware_file(peak_tf32=2e12)))


@pytest.fixture
def measured(row, run_of):
    """Makes a run of a GPU whose cells take so many seconds, by meta-batch."""

    def make(seconds, name="gpu", **axes):
        rows = []
        for tasks, took in seconds.items():
            one = row(0, meta_batch=tasks, measure=["time"], device="cuda", **axes)
            one["time"]["step"] |= dict.fromkeys(("median", "low", "high"), took) | {"samples": [took] * 6}
            rows.append(one)
        return read_run(run_of(rows, name))

    return make


def test_a_step_within_its_range_and_steps_beyond_it(run_of, rows, toy, measured):
    gpu = measured({16: 0.1, 32: 0.64, 4: 4e-3})  # predicted: 32 to 160 ms, 64 to 320 ms, 8 to 40 ms
    found = predict(read_run(run_of(rows)), toy, [1], against=[gpu])
    assert [one.cell.meta_batch for one in found.compared] == [4, 16, 32]
    assert [one.beyond for one in found.compared] == pytest.approx([0.5, 1, 2])
    assert [one.calls for one in found.compared] == pytest.approx([1240, 4840, 9640])
    shown = forecast_document(found)
    assert dict(shown.facts)["forecast against measured"] == (
        "1 of 3 measured steps lie within their range, whose upper end is 5.0 times the lower one in the median; they "
        "take 0.22 to 4.5 times its geometric middle"
    )
    (table,) = [
        table
        for section in shown.sections
        for table in section.tables
        if table.title.startswith("Predicted and") and "Toy" in table.title
    ]
    assert table.title.startswith("Predicted and measured on Toy: sinusoid, 10 points, mlp-40x2, query 10")
    lines = [dict(zip(table.columns, line, strict=True)) for line in table.rows]
    assert [line["tasks"] for line in lines] == ["4", "16", "32"]
    assert [line["by the nearest end"] for line in lines] == ["0.50 times", "within", "2.0 times"]
    assert lines[1]["step time"] == "32 to 160 ms" and lines[1]["step time, measured"].startswith("100")
    assert lines[2]["time a call, measured"] == "66.4 µs"
    assert lines[1]["share of the peak, measured"] == "16 %"  # 16 GFLOP in 0.1 s, of 1 TFLOP/s


def test_numbers_of_as_many_bytes_have_the_same_work(run_of, rows, toy, measured):
    runs = [measured({16: 0.1}, "tf32", precision="tf32"), measured({16: 0.1}, "double", precision="float64")]
    (one,) = predict(read_run(run_of(rows)), toy, [1], against=runs).compared
    assert one.cell.precision == "tf32" and one.predicted.step.high == pytest.approx(0.08)


def test_a_run_of_other_cells(run_of, rows, toy, measured):
    with pytest.raises(UserError, match="no step that was timed in 'gpu' is of a configuration whose work was counted"):
        predict(read_run(run_of(rows)), toy, [1], against=[measured({16: 0.1}, inner_steps=3)])


def test_work_that_was_counted_and_not_timed_is_enough(run_of, rows, toy, measured):
    counted = [row | {"time": None, "memory": None} for row in rows if row.get("work")]
    found = predict(read_run(run_of(counted)), toy, [1], against=[measured({16: 0.1})])
    assert len(found.compared) == 1 and not found.checks
    titles = [section.title for section in forecast_document(found).sections]
    assert "What one process reached" not in titles and "Forecast" in titles


def test_the_sweep_counts_the_work_of_what_was_timed_on_a_gpu():
    counted = {work_key(cell) for cell in load_sweep(find_sweep("gpu-work"), {}, 1).cells}
    for name in ("gpu-images", "gpu-large"):
        rows = read_run(H100 / name).measurements
        timed = [row.cell for row in rows if row.time and row.cell.engine in ("loop", "vmap")]
        assert timed and {work_key(cell) for cell in timed} <= counted
