"""What the picture of phases shows is what the rows hold."""

import pytest
from matplotlib.colors import to_hex

from metabench.record.measurement import PHASES
from metabench.report.figures.phases import COLOURS, draw_phases, phase_panels, phases_picture
from metabench.report.results import read_run, to_frame
from plot_texts import check_texts

SHARES = {"inner forward": 0.2, "inner backward": 0.3, "query": 0.1, "outer backward": 0.35, "optimiser": 0.05}


def phases(seconds, shares=SHARES):
    """Phases of a meta-iteration, each known to a tenth of itself; sampling on top."""
    parts = {"sampling": 1.0, **shares}
    return {
        "step": {"median": seconds, "low": 0.9 * seconds, "high": 1.1 * seconds, "n": 9},
        "seconds": {
            n: {"value": s * seconds, "low": 0.9 * s * seconds, "high": 1.1 * s * seconds} for n, s in parts.items()
        },
    }


@pytest.fixture
def run(run_of, row):
    rows = [
        row(0, engine="loop", measure=["phases"]) | {"phases": phases(0.02)},
        row(0, engine="vmap", measure=["phases"]) | {"phases": phases(0.004)},
        row(0, engine="native", measure=["phases"]) | {"phases": phases(2e-4, {"meta-iteration": 1.0})},
        row(0, engine="vmap", inner_steps=5, measure=["phases"]) | {"phases": phases(0.01)},
        row(0, "incorrect", engine="compile", measure=["phases"]),
    ]
    return read_run(run_of(rows))


def test_colours_and_phases_are_the_same_names():
    assert set(COLOURS) == set(PHASES)
    assert len(set(COLOURS.values())) == len(PHASES)


def test_bars_are_the_phases_of_the_rows_without_sampling(run):
    first, second = phase_panels(run.measurements, {})
    assert [bar.name for bar in first.bars] == ["maml/native", "maml/vmap", "maml/loop"]
    assert [bar.name for bar in second.bars] == ["maml/vmap"]
    loop = first.bars[-1]
    assert {name: part.value for name, part in loop.parts} == pytest.approx({n: s * 0.02 for n, s in SHARES.items()})
    assert (loop.total, loop.step.value) == (pytest.approx(0.02), 0.02)
    assert "inner steps 5" in second.title


def test_the_picture_draws_its_data(run):
    picture = phases_picture(run)
    frame = to_frame(run).set_index("id")
    for entry in picture.data.itertuples():
        column = f"phase_{entry.phase.replace(' ', '_').replace('-', '_')}_s"
        assert frame.loc[entry.cells, column] == entry.seconds
    figure = picture.draw()
    drawn = [patch for axes in figure.get_axes() for patch in axes.patches]
    assert [patch.get_width() for patch in drawn] == pytest.approx([1e3 * s for s in picture.data.seconds])
    assert [to_hex(patch.get_facecolor()) for patch in drawn] == [COLOURS[name] for name in picture.data.phase]
    assert check_texts(figure) > 20


def test_without_phases_there_is_nothing_to_draw(synthetic):
    assert phases_picture(read_run(synthetic)) is None


def test_phases_that_are_none_are_refused_by_name(run_of, row):
    good = row(0, measure=["phases"]) | {"phases": phases(0.02)}
    for change, why in (
        ({"step": {"median": 1.0, "low": 2.0, "high": 3.0}}, "outside of its interval"),
        ({"seconds": {"query": {"value": -1, "low": 0, "high": 0}}}, "its 'phases.seconds.query.value' is not"),
        ({"seconds": {"query": {"value": 9, "low": 0, "high": 1}}}, "outside of its interval"),
    ):
        bad = good | {"phases": good["phases"] | change}
        found = read_run(run_of([good, bad]))
        assert len(found.measurements) == 1 and why in found.warnings[0]


def test_hostile_names_are_shown_as_written(run_of, row):
    made = row(0, engine="<b>$x$\n", measure=["phases"]) | {"phases": phases(0.02)}
    figure = draw_phases(phase_panels(read_run(run_of([made])).measurements, {}), "a $machine$")
    assert check_texts(figure)
