"""What the figure of engines shows is what results.csv and samples.csv say."""

from dataclasses import replace

import numpy as np
import pytest

from drawn import check_texts
from metabench.report.frames import samples_frame, to_frame
from metabench.report.results import read_run
from metabench.statistics.spread import Spread


@pytest.fixture
def peers(run_of, row):
    """`loop`, `vmap`, a peer, which is missing at one of two sizes, and an engine that cannot carry it."""
    rows = []
    for number in range(3):
        for size in (25, 100):
            for engine in ("loop", "vmap", "jax"):
                if (engine, size) != ("jax", 100):
                    made = row(number, engine=engine, meta_batch=size)
                    rows.append(made | ({"library": "jax 0.10.2"} if engine == "jax" else {}))
            rows.append(row(number, "unsupported", "not for this", engine="native", meta_batch=size))
    return read_run(run_of(rows))


def test_speed_ups_are_the_geometric_means_of_the_rounds_ratios(peers, figure_of):
    medians = (
        samples_frame(peers)
        .query("kind == 'step'")
        .merge(to_frame(peers)[["id", "round", "engine", "meta_batch"]], on=["id", "round"])
        .groupby(["meta_batch", "engine", "round"])["seconds"]
        .median()
    )
    figure = figure_of(peers, "engines")
    assert list(figure.frame.sizes.unique()) == ["meta-batch 25, loop: 21.3 ms", "meta-batch 100, loop: 84.9 ms"]
    timed = figure.frame.dropna(subset="speed_up")
    assert len(timed) == 3
    for bar in timed.itertuples():
        size = 100 if "100" in bar.sizes else 25
        assert bar.speed_up == pytest.approx(np.exp(np.log(medians[size, "loop"] / medians[size, bar.engine]).mean()))
        assert bar.low < bar.speed_up < bar.high
        assert float(bar.text.rstrip("×")) == pytest.approx(bar.speed_up, rel=0.05)
    assert {"21.3 ms", "84.9 ms"} <= {text.removeprefix("loop: ") for text in check_texts(figure)}


def test_the_fastest_stands_first_and_what_has_no_figure_says_why(peers, figure_of):
    (group,) = figure_of(peers, "engines").groups
    assert group.title == "maml on sinusoid, 10 points, cpu, float32, threads 2, mlp-40x2, inner steps 1, query 10"
    for panel in group.panels:
        assert list(panel.rows.implementation) == ["vmap", "jax 0.10.2", "native"]
    without = group.panels[1].rows.query("speed_up != speed_up")
    assert list(without.word) == list(without.text) == ["–", "unsupported"]


def test_what_is_no_difference_says_so(peers, figure_of, monkeypatch):
    for noise, word in ((Spread(0.01, 8), ""), (Spread(2.0, 8), "≈")):
        monkeypatch.setattr("metabench.report.results.Run.noise", noise)
        figure = figure_of(replace(peers), "engines")
        timed = figure.frame.dropna(subset="speed_up")
        assert set(timed.word) == {word}
        assert all(text.endswith(f"× {word}".rstrip()) for text in timed.text)
        assert ("≈: no difference" in figure.says) == bool(word)


def test_several_algorithms_stand_in_one_panel(synthetic, figure_of):
    frame = figure_of(read_run(synthetic), "engines").frame
    shown = frame[frame.setting.str.contains("sinusoid")]
    assert sorted(set(shown.implementation)) == ["fomaml vmap", "maml vmap"]


def test_without_loop_there_is_nothing_to_draw(run_of, row, figure_of):
    assert figure_of(read_run(run_of([row(engine="vmap"), row(engine="native")])), "engines") is None
    rows = [row(engine="loop"), row(0, "unsupported", "why", engine="native")]
    assert figure_of(read_run(run_of(rows)), "engines") is None


def test_a_cell_that_failed_after_its_timing_is_drawn_with_a_mark(run_of, row, figure_of):
    late = row(engine="vmap") | {"quality": None, "status": "timeout", "phase": "quality", "seconds": 150.2}
    figure = figure_of(read_run(run_of([late, row(engine="loop")])), "engines")
    (bar,) = figure.frame.itertuples()
    assert (bar.status, bar.text.endswith("× ‡")) == ("timeout in quality after 150 s", True)
    assert "‡: the configuration ended early or failed after its time was measured." in figure.says
