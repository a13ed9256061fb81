"""Laws of growth of a run: what is fitted, what theory says, and the verdict."""

import re

import numpy as np
import pytest

from metabench.record.cell import Cell
from metabench.report.bundles import bundles, time_key
from metabench.report.frames import to_frame
from metabench.report.results import read_run
from metabench.report.sections.growth import growing_lines
from metabench.report.sections.laws import growth_tables, law_text, verdict_text
from metabench.report.sections.scaling import scalings, theory
from metabench.statistics.theory import Theory
from runs import made, run

SIZES = {"mlp-40x2": 1761, "mlp-256x2": 66561}


def found_in(run, axis, measure):
    return {
        (one.bundle.algorithm, one.bundle.cell["engine"]): one
        for name, lines in growing_lines(run)
        if name == axis
        for one in scalings(axis, lines, measure, run)
    }


def test_exponents_are_those_of_the_rounds_medians(synthetic):
    run = read_run(synthetic)
    frame = to_frame(run)
    found = found_in(run, "inner_steps", "time")
    one = found["fomaml", "loop"]
    part = frame.query("algorithm == 'fomaml' and engine == 'loop' and task == 'sinusoid' and status == 'ok'")
    part = part[part.model == "mlp-40x2"]
    table = part.groupby(["round", "inner_steps"]).step_median_s.median().unstack()
    slopes = [np.polyfit(np.log(table.columns), np.log(row), 1)[0] for _, row in table.iterrows()]
    assert one.law.sizes == (1, 2, 5, 10) and one.law.rounds == 3
    assert one.law.exponent.value == pytest.approx(np.mean(slopes))
    # the truth is (1 + K) / 2 · 2.4 ms · 5, slowed by the rounds' drift
    assert one.law.fixed.value / one.law.each.value == pytest.approx(1, rel=0.1)
    assert set(part.id) == set(one.cells)


def test_a_straight_line_agrees_with_linear_time_and_says_what_is_fixed(synthetic):
    one = found_in(read_run(synthetic), "inner_steps", "time")["fomaml", "loop"]
    # the truth is 6 ms + 6 ms a step, slowed by the rounds' drift: half of the value at one step
    assert re.fullmatch(r"intercept 7 ms \[.*\], slope 7 ms \[.*\]", law_text(one))
    assert re.fullmatch(r"O\(K\): agrees \(linear, intercept 5\d %\)", verdict_text(one))


def test_a_law_is_reported_where_it_fits(run_of, row):
    def memory_of(*peaks):
        rows = [row(inner_steps=n, measure=["memory"]) for n in (1, 2, 5, 10)[: len(peaks)]]
        for measured, peak in zip(rows, peaks, strict=True):
            measured["memory"]["tracked_bytes"] = peak
        (one,) = found_in(read_run(run_of(rows, name=str(peaks))), "inner_steps", "memory").values()
        return law_text(one), verdict_text(one)

    assert memory_of(1024, 1024, 1024) == ("constant", "O(K): differs (constant)")
    assert memory_of(1 << 10, 2 << 10, 5 << 10, 10 << 10) == ("exponent 1.00 [1.00, 1.00]", "O(K): agrees")
    assert memory_of(3000, 5000) == ("intercept 1000 B, slope 1.95 KiB", "O(K): cannot tell (two sizes)")
    assert memory_of(1000, 1000, 1000, 8000) == (
        "no simple law fits; last exponent 3.00",
        "O(K): cannot tell",
    )
    line = memory_of(9000, 12000, 21000, 36000)
    assert line[0] == "intercept 5.86 KiB [5.86, 5.86], slope 2.93 KiB [2.93, 2.93]"
    assert line[1] == "O(K): agrees (linear, intercept 67 %)"


def test_a_law_says_on_how_many_repetitions_it_stands(run_of, row):
    sizes = (1, 2, 5, 10)

    def law_of(name, *left_out):
        rows = [row(number, inner_steps=n, measure=["time"]) for number in range(3) for n in sizes]
        for one in rows:
            if (one["round"], one["cell"]["inner_steps"]) in left_out:
                one |= {"status": "crashed", "reason": "it fell", "time": None}
        (table,) = growth_tables(read_run(run_of(rows, name=name))).tables
        return table.rows[0][table.columns.index("law")], "\n".join(table.notes)

    whole, notes = law_of("whole")
    assert "repetitions)" not in whole and "stands on" not in notes and "(means)" not in notes
    some, notes = law_of("some", (0, 1))
    assert some.endswith(" (2 of 3 repetitions)") and "A law stands on the repetitions that have all sizes" in notes
    none, notes = law_of("none", (0, 1), (1, 2), (2, 10))
    assert none.endswith(" (means)") and "(means): no repetition has all sizes" in notes


def test_a_law_of_a_disturbed_time_is_marked(run_of, row):
    rows = [row(number, inner_steps=n, measure=["time", "memory"]) for number in range(3) for n in (1, 2, 5)]
    rows[-1]["time"]["disturbed"] = {"reason": "half of the samples took 9 times as long", "factor": 9.0}
    time, memory = growth_tables(read_run(run_of(rows))).tables
    assert time.rows[0][time.columns.index("law")].endswith(" (disturbed)")
    assert any(note.startswith("(disturbed): ") for note in time.notes)
    assert "(disturbed)" not in "".join(memory.rows[0])


def test_memory_that_grows_against_theory_differs(synthetic):
    found = found_in(read_run(synthetic), "inner_steps", "memory")
    assert found["maml", "vmap"].theory == Theory(1, "O(K)")
    assert verdict_text(found["maml", "vmap"]) == "O(K): agrees (linear, intercept 50 %)"
    # made up: memory grows for all
    assert verdict_text(found["fomaml", "vmap"]) == "O(1): differs (grows more)"


def test_memory_of_the_meta_batch_is_that_of_the_engine(synthetic):
    found = found_in(read_run(synthetic), "meta_batch", "memory")
    assert found["maml", "vmap"].theory == Theory(1, "O(B)")
    assert found["maml", "vmap"].law.exponent.value == 0  # made up
    assert verdict_text(found["maml", "vmap"]) == "O(B): differs (constant)"


@pytest.mark.parametrize(
    ("changes", "axis", "measure", "exponent"),
    [
        ({}, "inner_steps", "time", 1),
        ({"algorithm": "prototypical"}, "inner_steps", "time", 0),
        ({}, "inner_steps", "memory", 1),
        ({"first_order": 1.0}, "inner_steps", "memory", 0),
        ({"algorithm": "fomaml"}, "inner_steps", "memory", 0),
        ({"algorithm": "imaml"}, "inner_steps", "memory", 0),
        ({"algorithm": "imaml"}, "inner_steps", "time", 1),
        ({}, "model", "memory", 1),
        ({}, "meta_batch", "memory", 0),
        ({"engine": "vmap"}, "meta_batch", "memory", 1),
        ({"engine": "jax"}, "meta_batch", "memory", None),
        ({"algorithm": "of-a-plug-in"}, "inner_steps", "time", None),
        ({"first_order": 0.5}, "inner_steps", "memory", None),
    ],
)
def test_theory(changes, axis, measure, exponent):
    found = theory(bundle_of(**changes), axis, measure, SIZES)
    assert (found.exponent if found else None) == exponent


def bundle_of(implementation=None, **changes):
    """A measurement of a cell, which says of its implementation what is given, as a bundle."""
    cell = Cell(**{"algorithm": "maml", "engine": "loop", "task": "sinusoid", "model": "mlp-40x2", **changes})
    row = made(cell, **({"implementation": implementation} if implementation else {}))
    (bundle,) = bundles([row], time_key)
    return bundle


def test_an_algorithm_of_a_plug_in_has_the_theory_that_it_declares():
    known = {"family": "gradient-based", "order": "second", "concurrent_tasks": True}
    mine = bundle_of(known, algorithm="of-a-plug-in", engine="of-another")
    assert theory(mine, "inner_steps", "memory", SIZES) == Theory(1, "O(K)")
    assert theory(mine, "meta_batch", "memory", SIZES) == Theory(1, "O(B)")
    first = bundle_of(known | {"order": "first", "concurrent_tasks": None}, algorithm="of-a-plug-in")
    assert theory(first, "inner_steps", "memory", SIZES) == Theory(0, "O(1)")
    assert theory(first, "meta_batch", "memory", SIZES) is None


def test_a_checkpointed_step_keeps_a_copy_of_the_parameters():
    expected = theory(bundle_of(checkpoint=True), "inner_steps", "memory", SIZES)
    assert expected.each == 4 * 1761
    assert theory(bundle_of(checkpoint=True, algorithm="cavia"), "inner_steps", "memory", SIZES) is None


def test_the_size_of_a_network_is_that_on_the_tasks_of_its_line(run_of, row):
    """On images a network has other numbers of parameters than on sinusoids, and time may follow these alone."""
    sizes = {"sinusoid": (1_000, 10_000, 100_000), "glyphs": (30_000, 60_000, 900_000)}
    rows = []
    for task, parameters in sizes.items():
        for model, count in zip(("mlp-40x2", "mlp-160x2", "mlp-640x2"), parameters, strict=True):
            rows += [row(number, task=task, model=model, measure=["time"]) for number in range(3)]
            for made_ in rows[-3:]:
                made_["parameters"] = count
                made_["time"]["step"] |= dict.fromkeys(("median", "low", "high"), 1e-9 * count) | {"iqr": 0.0}
                made_["time"]["step"]["samples"] = [1e-9 * count] * 21
    run = read_run(run_of(rows))
    for axis, lines in growing_lines(run):
        assert axis == "model"
        for one in scalings(axis, lines, "time", run):
            assert one.law.sizes == sizes[one.bundle.cell.task]
            assert one.law.exponent.value == pytest.approx(1)
    heads = [table.columns[-3:] for table in growth_tables(run).tables]
    counts = ("1,000 or 30,000", "10,000 or 60,000", "100,000 or 900,000")
    models = ("mlp-40x2", "mlp-160x2", "mlp-640x2")
    assert tuple(f"{model} ({count})" for model, count in zip(models, counts, strict=True)) in heads


def test_tables_name_what_they_fit(synthetic):
    section = growth_tables(read_run(synthetic))
    titles = [table.title.partition(":")[0] for table in section.tables]
    assert titles == [
        f"{what} with {axis}"
        for axis in ("inner steps", "model size", "meta-batch size")
        for what in ("Time", "Memory")
    ]
    first = section.tables[0]
    assert first.title.endswith(": sinusoid, 10 points, mlp-40x2, query 10, meta-batch 25, cpu, float32, threads 2")
    (row,) = [row for row in first.rows if row[:2] == ("fomaml", "loop")]
    assert first.columns == ("algorithm", "engine", "growth", "law", "theory", "leaves its law at", "1", "2", "5", "10")
    assert row[3].startswith("intercept") and row[4].startswith("O(K): agrees") and row[5] == "–"
    assert sum(any(note.startswith("law: ") for note in table.notes) for table in section.tables) == 1
    assert growth_tables(run([])).tables == ()
