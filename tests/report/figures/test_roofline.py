"""What the roofline shows is what the rows hold."""

import pytest

from drawn import check_texts
from metabench.report.results import read_run

PEAKS = {"matmul": 2e11, "convolution": 1e11, "bandwidth": 2e10, "noisy": False}


@pytest.fixture
def run(run_of, row):
    work = {"flops": 1e7, "bytes": 5e6, "peaks": PEAKS}
    images = {"task": "glyphs", "model": "conv4-64", "ways": 5, "shots": 1, "query": 1}
    return read_run(
        run_of(
            [
                row(0, engine="loop", measure=["time", "work"]) | {"work": work},
                row(0, engine="vmap", measure=["time"]),
                row(0, engine="native", measure=["time"]),
                row(0, algorithm="fomaml", measure=["time"]),
                row(0, engine="loop", measure=["time"], **images) | {"work": {**work, "bytes": 4.9e6}},
            ]
        )
    )


def test_points_are_operations_over_time_and_bytes(run, figure_of):
    frame = figure_of(run, "roofline").frame
    assert {(r.matmul, r.convolution, r.bandwidth) for r in frame.itertuples()} == {(2e11, 1e11, 2e10)}
    seconds = {row.cell.engine: row.time.step for row in run.measurements if row.cell.task == "sinusoid"}
    mine = frame[frame.work.str.contains("sinusoid")]
    assert sorted(mine.engine) == ["loop", "native", "vmap"]  # fomaml has no operations
    assert set(mine.flop_per_byte) == {2.0}
    for point in mine.query("engine != 'vmap'").itertuples():
        assert point.flop_per_s == pytest.approx(1e7 / seconds[point.engine].median)
        assert point.low == pytest.approx(1e7 / seconds[point.engine].high)


def test_the_roof_is_drawn_and_all_can_be_read(run, figure_of):
    figure = figure_of(run, "roofline")
    texts = check_texts(figure)
    assert {"matrix product: 200 GFLOP/s", "convolution: 100 GFLOP/s", "20 GB/s"} <= set(texts)
    assert {"loop", "vmap", "native"} <= set(texts)
    for work in set(figure.frame.work):
        assert (
            sum(text.startswith("maml: ") and set(text[6:].split(", ")) <= set(work[6:].split(", ")) for text in texts)
            == 1
        )
    layers = figure.groups[0].panels[0].layers
    lines = [layer["data"]["values"] for layer in layers if "strokeDash" in layer["mark"]]
    assert len(lines) == 3 and {line[1]["flop_per_s"] for line in lines} >= {1e11, 2e11}
    for line in lines:
        for end in line:
            assert end["flop_per_s"] == pytest.approx(min(2e10 * end["flop_per_byte"], end["flop_per_s"]))


@pytest.mark.filterwarnings("error")
def test_a_time_without_an_interval_is_drawn_as_a_point(run_of, row, figure_of):
    few = row(0, engine="loop", measure=["time", "work"]) | {"work": {"flops": 1e7, "bytes": 5e6, "peaks": PEAKS}}
    few["time"]["step"]["samples"] = few["time"]["step"]["samples"][:3]
    figure = figure_of(read_run(run_of([few])), "roofline")
    assert (figure.frame.low[0], figure.frame.high[0]) == (0, float("inf"))
    (panel,) = figure.groups[0].panels
    (point,) = [layer for layer in panel.layers if layer["mark"] == {"type": "point", "size": 50}]
    assert 0 < point["encoding"]["y"]["scale"]["domain"][0] < figure.frame.flop_per_s[0]
    (rule,) = [layer for layer in panel.layers if layer["mark"] == "rule"]
    assert rule["transform"] == [{"filter": "isValid(datum.high)"}]
    check_texts(figure)


def test_without_bytes_there_is_no_intensity(run_of, row, figure_of):
    work = {"flops": 1e7, "peaks": PEAKS}
    run = read_run(run_of([row(0, measure=["time", "work"]) | {"work": work}]))
    assert figure_of(run, "roofline") is None
