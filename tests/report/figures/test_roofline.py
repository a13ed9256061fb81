"""What the roofline shows is what the rows hold."""

import pytest

from metabench.report.figures.roofline import roofline_picture, roofs_of
from metabench.report.results import read_run
from plot_texts import check_texts

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


def test_points_are_operations_over_time_and_bytes(run):
    (roof,) = roofs_of(run.measurements, {})
    assert (roof.matmul, roof.convolution, roof.bandwidth) == (2e11, 1e11, 2e10)
    seconds = {
        row["cell"]["engine"]: row["time"]["step"] for row in run.measurements if row["cell"]["task"] == "sinusoid"
    }
    mine = [point for point in roof.points if "sinusoid" in point.work]
    assert sorted(point.engine for point in mine) == ["loop", "native", "vmap"]  # fomaml has no operations
    for point in mine:
        assert point.intensity == 2.0
        if point.engine != "vmap":
            assert point.rate.value == pytest.approx(1e7 / seconds[point.engine]["median"])
            assert point.rate.low == pytest.approx(1e7 / seconds[point.engine]["high"])
    assert [work.split(":")[1].split(",")[0] for work in roof.works] == [" sinusoid", " glyphs"]


def test_the_picture_draws_its_data_and_can_be_read(run):
    picture = roofline_picture(run)
    figure = picture.draw()
    (axes,) = figure.get_axes()
    points = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    drawn = [(line.get_xdata()[0], line.get_ydata()[0] * 1e9) for line in points]
    assert drawn == [
        pytest.approx(pair) for pair in zip(picture.data.flop_per_byte, picture.data.flop_per_s, strict=True)
    ]
    ceilings = [line.get_ydata()[1] for line in axes.lines if list(line.get_ydata())[:1] == list(line.get_ydata())[1:]]
    assert {100.0, 200.0} <= set(ceilings)
    assert check_texts(figure) > 10


@pytest.mark.filterwarnings("error")
def test_a_time_without_an_interval_is_drawn_as_a_point(run_of, row):
    few = row(0, engine="loop", measure=["time", "work"]) | {"work": {"flops": 1e7, "bytes": 5e6, "peaks": PEAKS}}
    few["time"]["step"]["samples"] = few["time"]["step"]["samples"][:3]
    picture = roofline_picture(read_run(run_of([few])))
    assert (picture.data.low[0], picture.data.high[0]) == (0, float("inf"))
    (axes,) = picture.draw().get_axes()
    rate = picture.data.flop_per_s[0] / 1e9
    assert axes.get_ylim()[0] > 0
    assert [rate, rate] in [list(line.get_ydata()) for line in axes.lines]


def test_without_bytes_there_is_no_intensity(run_of, row):
    work = {"flops": 1e7, "peaks": {k: v for k, v in PEAKS.items() if k != "bandwidth"}}
    assert roofline_picture(read_run(run_of([row(0, measure=["time", "work"]) | {"work": work}]))) is None
