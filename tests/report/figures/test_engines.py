"""What the picture of engines shows is what results.csv and samples.csv say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from metabench.report.figures.engines import draw_engines, engine_groups
from metabench.report.figures.style import engine_colour
from metabench.report.noise import NoiseFloor
from metabench.report.results import read_run, samples_frame, to_frame

JAX = {"engine": "jax", "algorithm": "maml"}


def groups_of(folder):
    return engine_groups(read_run(folder).measurements, {}, None)


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
    return run_of(rows)


def test_speed_ups_are_the_geometric_means_of_the_rounds_ratios(peers):
    run = read_run(peers)
    medians = (
        samples_frame(run)
        .query("kind == 'step'")
        .merge(to_frame(run)[["id", "round", "engine", "meta_batch"]], on=["id", "round"])
        .groupby(["meta_batch", "engine", "round"])["seconds"]
        .median()
    )
    (group,) = groups_of(peers)
    assert [panel.title for panel in group.panels] == ["meta-batch 25\nloop: 21.3 ms", "meta-batch 100\nloop: 84.9 ms"]
    seen = 0
    for panel, size in zip(group.panels, (25, 100), strict=True):
        for bar in panel.bars:
            if bar.speed_up:
                ratio = np.log(medians[size, "loop"] / medians[size, bar.engine]).mean()
                assert bar.speed_up.value == pytest.approx(np.exp(ratio))
                assert bar.speed_up.low < bar.speed_up.value < bar.speed_up.high
                seen += 1
    assert seen == 3


def test_the_fastest_stands_first_and_what_has_no_figure_says_why(peers):
    (group,) = groups_of(peers)
    assert group.title == "maml on sinusoid, 10 points, cpu, float32, threads 2, mlp-40x2, inner steps 1, query 10"
    for panel in group.panels:
        assert [(bar.label, bar.ours) for bar in panel.bars] == [
            ("vmap", True),
            ("jax 0.10.2", False),
            ("native", True),
        ]
    assert [bar.word for bar in group.panels[1].bars if not bar.speed_up] == ["–", "unsupported"]


def test_what_is_drawn_is_the_data(peers):
    (group,) = groups_of(peers)
    figure = draw_engines([group], "a machine")
    drawn = [axes for axes in figure.get_axes() if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in drawn] == [panel.title for panel in group.panels]
    for axes, panel in zip(drawn, group.panels, strict=True):
        assert axes.get_xscale() == "log"
        timed = [(row, bar) for row, bar in enumerate(panel.bars) if bar.speed_up]
        for patch, (row, bar) in zip(axes.patches, timed, strict=True):
            assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx((1, bar.speed_up.value))
            assert patch.get_y() + patch.get_height() / 2 == pytest.approx(row)
            assert to_hex(patch.get_facecolor()) == engine_colour(bar.engine)
        (one, *whiskers) = axes.lines
        assert list(one.get_xdata()) == [1, 1]
        for line, (row, bar) in zip(whiskers, timed, strict=True):
            assert list(line.get_xdata()) == [bar.speed_up.low, bar.speed_up.high]
            assert list(line.get_ydata()) == [row, row]
        words = [text.get_text() for text in axes.texts]
        for word, bar in zip(words, panel.bars, strict=True):
            assert float(word.rstrip("×")) == pytest.approx(bar.speed_up.value, rel=0.05) if bar.speed_up else bar.word
    names = [label.get_text() for label in drawn[0].get_yticklabels()]
    assert names == [bar.label for bar in group.panels[0].bars]
    assert [label.get_fontweight() for label in drawn[0].get_yticklabels()] == ["bold", "normal", "bold"]


def test_no_text_is_cut_off_or_covers_another(synthetic, peers, readable):
    for folder in (synthetic, peers):
        readable(draw_engines(groups_of(folder), "a machine"), 20)


def test_what_is_no_difference_says_so(peers):
    rows = read_run(peers).measurements
    (group,) = engine_groups(rows, {}, NoiseFloor(2.0, pairs=8))  # over three rounds it hides 1.49 times
    assert {bar.word for bar in group.panels[0].bars if bar.speed_up} == {""}
    (group,) = engine_groups(rows, {}, NoiseFloor(1e3, pairs=8))
    assert {bar.word for bar in group.panels[0].bars if bar.speed_up} == {" ≈"}
    figure = draw_engines([group], "a machine")
    assert [text.get_text()[-3:] for text in figure.get_axes()[0].texts[:2]] == ["× ≈", "× ≈"]
    assert "≈: no difference" in figure.texts[-1].get_text()


def test_several_algorithms_stand_in_one_panel(synthetic):
    found = [group for group in groups_of(synthetic) if "sinusoid" in group.title]
    labels = [bar.label for group in found for bar in group.panels[0].bars]
    assert sorted(labels) == ["fomaml vmap", "maml vmap"]


def test_without_loop_there_is_nothing_to_draw(run_of, row):
    assert groups_of(run_of([row(engine="vmap"), row(engine="native")])) == []
    assert groups_of(run_of([row(engine="loop"), row(0, "unsupported", "why", engine="native")])) == []
