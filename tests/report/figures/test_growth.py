"""What the figure of growth shows is what the tables say."""

import numpy as np
import pytest

from metabench.report.figures.style import looks_of
from metabench.report.frames import to_frame
from metabench.report.results import read_run
from metabench.report.sections.growth import growing_lines
from places import AVX2, EPYC


def scale_of(panel, channel):
    """What the marks of a panel have by name."""
    for layer in panel.layers:
        if channel in layer["encoding"]:
            scale = layer["encoding"][channel]["scale"]
            return dict(zip(scale["domain"], scale["range"], strict=True))
    return {}


def test_points_are_the_medians_and_the_line_is_the_law(synthetic, figure_of):
    run = read_run(synthetic)
    shown = figure_of(run, "growth").frame.query(
        "name == 'fomaml loop' and measure == 'time' and axis == 'inner_steps' and panel.str.contains('sinusoid')"
    )
    part = to_frame(run).query("algorithm == 'fomaml' and engine == 'loop' and task == 'sinusoid'")
    medians = np.exp(np.log(part.set_index("inner_steps").step_median_s).groupby("inner_steps").mean())
    assert dict(zip(shown["size"], shown.value, strict=True)) == pytest.approx(medians.to_dict())
    assert set(shown.form) == {"line"}  # the power law misses these figures, which have a fixed part
    assert np.polyval(np.polyfit(shown["size"], shown.law, 1), shown["size"]) == pytest.approx(shown.law)
    known = shown.dropna(subset="law_low")
    assert ((known.law_low <= known.law) & (known.law <= known.law_high)).all()


def test_a_power_law_is_drawn_where_it_passes_and_nothing_grows_where_nothing_does(synthetic, figure_of):
    groups = figure_of(read_run(synthetic), "growth").groups
    panels = [panel for group in groups for panel in group.panels]
    for form in ("power", "constant"):
        names = [(panel, name) for panel in panels for name in set(panel.rows.query(f"form == '{form}'").name)]
        assert names
        for panel, name in names:
            shown = panel.rows[panel.rows.name == name]
            slope = np.polyfit(np.log(shown["size"]), np.log(shown.law), 1)[0]
            assert slope == pytest.approx(0 if form == "constant" else shown.exponent.iloc[0], abs=1e-6)


def test_each_axis_has_its_heading_and_its_panels_short_titles(figure_of):
    figure = figure_of(read_run(EPYC / "default"), "growth")
    for group, word in zip(figure.groups, ("inner steps", "model size", "meta-batch size"), strict=True):
        assert group.title.startswith(f"{word.capitalize()} — ")
        found = [(panel.title, panel.note) for panel in group.panels]
        assert found and len(set(found)) == len(found)
        for panel in group.panels:
            measure = "Time" if set(panel.rows.measure) == {"time"} else "Peak memory"
            assert panel.title in {f"{measure} vs {word} — {task}" for task in ("sinusoid", "omniglot")}
            whole = f"{panel.title.partition(' — ')[2]}, {panel.note}, {group.title.partition(' — ')[2]}"
            assert sorted(panel.rows.panel.iloc[0].partition(": ")[2].split(", ")) == sorted(whole.split(", "))


def test_each_line_of_two_sizes_is_drawn(synthetic, figure_of):
    run = read_run(synthetic)
    lines = sum(len(lines) for _, lines in growing_lines(run))
    frame = figure_of(run, "growth").frame.query("measure == 'time'")
    assert len(frame[["panel", "name"]].drop_duplicates()) == lines


def test_what_ran_out_is_named_at_its_line(synthetic, figure_of):
    names = set(figure_of(read_run(synthetic), "growth").frame.name)
    assert "maml loop (timeout at 10)" in names and "maml (oom at mlp-4096x4)" in names


def test_engines_of_one_algorithm_have_their_own_looks(figure_of):
    run = read_run(EPYC / "engines")
    panel = figure_of(run, "growth").groups[0].panels[0]
    looks = looks_of(run).engines
    assert scale_of(panel, "color") == {name: looks[name].colour for name in dict.fromkeys(panel.rows.name)}
    shapes = scale_of(panel, "shape")
    assert len(set(shapes.values())) == len(shapes) > 5


def test_a_technique_has_a_hollow_mark(figure_of):
    groups = figure_of(read_run(AVX2 / "memory"), "growth").groups
    (panel,) = (each for group in groups for each in group.panels if {"maml", "fomaml"} <= {*each.rows.name})
    fills, strokes = scale_of(panel, "fill"), scale_of(panel, "stroke")
    assert fills["maml checkpointed inner loop"] != strokes["maml checkpointed inner loop"] == strokes["maml"]
    assert fills["maml"] == strokes["maml"]


def test_one_size_gives_no_figure(run_of, row, figure_of):
    assert figure_of(read_run(run_of([row(n) for n in range(3)])), "growth") is None


def test_a_size_whose_training_failed_keeps_its_point_and_says_so(run_of, row, figure_of):
    late = row(inner_steps=5) | {"quality": None, "status": "timeout", "phase": "quality", "seconds": 150.2}
    frame = figure_of(read_run(run_of([row(), late])), "growth").frame.query("measure == 'time'")
    assert dict(zip(frame["size"], frame["status"], strict=True)) == {1: "", 5: "timeout in quality after 150 s"}
