"""What the figure of phases shows is what the rows hold."""

import pytest

from drawn import check_texts
from metabench.record.timing import PHASES
from metabench.report.figures.phases import COLOURS
from metabench.report.frames import to_frame
from metabench.report.results import read_run

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


def test_bars_are_the_phases_of_the_rows_without_sampling(run, figure_of):
    figure = figure_of(run, "phases")
    first, second = (panel.rows for panel in figure.groups[0].panels)
    assert [panel.title for panel in figure.groups[0].panels] == ["inner steps 1", "inner steps 5"]
    assert list(first.implementation.unique()) == ["maml/native", "maml/vmap", "maml/loop"]
    assert list(second.implementation.unique()) == ["maml/vmap"] and "inner steps 5" in second.setting.iloc[0]
    loop = first.query("implementation == 'maml/loop'")
    assert dict(zip(loop.phase, loop.seconds, strict=True)) == pytest.approx({n: s * 0.02 for n, s in SHARES.items()})
    assert set(loop.total) == {"20.0 ms"} and set(loop.step_s) == {0.02}
    frame = to_frame(run).set_index("id")
    for entry in figure.frame.itertuples():
        column = f"phase_{entry.phase.replace(' ', '_').replace('-', '_')}_s"
        assert frame.loc[entry.cells, column] == entry.seconds


def test_a_phase_has_its_colour_and_its_number(run, figure_of):
    figure = figure_of(run, "phases")
    for panel in figure.groups[0].panels:
        scale = panel.layers[0]["encoding"]["color"]["scale"]
        assert scale["range"] == [COLOURS[name] for name in scale["domain"]]
    texts = check_texts(figure)
    used = [name for name in COLOURS if name in set(figure.frame.phase)]
    assert {f"{number} {name}" for number, name in enumerate(used, 1)} <= set(texts)
    assert "20.0 ms" in texts and str(1 + used.index("outer backward")) in texts


def test_without_phases_there_is_nothing_to_draw(synthetic, figure_of):
    assert figure_of(read_run(synthetic), "phases") is None


def test_phases_that_are_none_are_refused_by_name(run_of, row):
    good = row(0, measure=["phases"]) | {"phases": phases(0.02)}
    for change, why in (
        ({"step": {"median": 1.0, "low": 2.0, "high": 3.0}}, "outside of its interval"),
        ({"seconds": {"query": {"value": -1, "low": 0, "high": 0}}}, "'phases.seconds[...]'"),
        ({"seconds": {"query": {"value": 9, "low": 0, "high": 1}}}, "outside of its interval"),
    ):
        bad = good | {"phases": good["phases"] | change}
        found = read_run(run_of([good, bad]))
        assert len(found.measurements) == 1 and why in found.warnings[0]
