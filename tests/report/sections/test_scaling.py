"""Laws of growth of a run: what is fitted, what theory says, and the verdict."""

import numpy as np
import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.report.results import read_run, to_frame
from metabench.report.sections.growth import growing_lines
from metabench.report.sections.scaling import ORDERS, Theory, scaling_section, scalings, theory, verdict, verdict_text
from metabench.statistics.laws import fit

SIZES = {"mlp-40x2": 1761, "mlp-256x2": 66561}


def test_the_table_of_orders_is_that_of_the_algorithms():
    ours = {name: kind.order for name, kind in ALGORITHMS if kind.__module__.startswith("metabench.")}
    assert ours == ORDERS


def found_in(rows, axis, measure):
    return {
        (one.bundle.algorithm, one.bundle.cell["engine"]): one
        for name, lines in growing_lines(rows)
        if name == axis
        for one in scalings(axis, lines, measure, SIZES)
    }


def test_exponents_are_those_of_the_rounds_medians(synthetic):
    run = read_run(synthetic)
    frame = to_frame(run)
    found = found_in(run.measurements, "inner_steps", "time")
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
    one = found_in(read_run(synthetic).measurements, "inner_steps", "time")["fomaml", "loop"]
    assert verdict_text(one).startswith("agrees: a straight line, 5") and verdict_text(one).endswith(
        "smallest is fixed"
    )


def test_memory_that_grows_against_theory_differs(synthetic):
    found = found_in(read_run(synthetic).measurements, "inner_steps", "memory")
    assert found["maml", "vmap"].theory == Theory(1, "O(K)")
    assert verdict_text(found["maml", "vmap"]) == "agrees: a straight line, 50 % of the smallest is fixed"
    # made up: memory grows for all
    assert verdict_text(found["fomaml", "vmap"]) == "differs: grows more"


def test_memory_of_the_meta_batch_is_that_of_the_engine(synthetic):
    found = found_in(read_run(synthetic).measurements, "meta_batch", "memory")
    assert found["maml", "vmap"].theory == Theory(1, "O(B)")
    assert found["maml", "vmap"].law.exponent.value == 0  # made up
    assert verdict_text(found["maml", "vmap"]) == "differs: grows less; 100 % of the smallest is fixed"


CELL = {"algorithm": "maml", "engine": "loop", "model": "mlp-40x2"}


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
    found = theory({**CELL, **changes}, axis, measure, SIZES)
    assert (found.exponent if found else None) == exponent


def test_a_checkpointed_step_keeps_a_copy_of_the_parameters():
    expected = theory({**CELL, "checkpoint": True}, "inner_steps", "memory", SIZES)
    assert expected.each == 4 * 1761
    copies = fit({0: {k: 1e5 + 4 * 1761 * k for k in (5.0, 10.0, 20.0)}})
    assert verdict(copies, expected) == "agrees"
    assert verdict(fit({0: {k: 1e5 + 12 * 1761 * k for k in (5.0, 10.0, 20.0)}}), expected) == "differs"
    assert theory({**CELL, "checkpoint": True, "algorithm": "cavia"}, "inner_steps", "memory", SIZES) is None


@pytest.mark.parametrize(
    ("values", "exponent", "said"),
    [
        ((1.0, 2.02, 3.95), 1, "agrees"),
        ((1.0, 1.0, 1.0), 0, "agrees"),
        ((1.0, 1.0, 1.0), 1, "differs"),
        ((1.0, 4.0, 16.1), 1, "differs"),
        ((1.0, 1.3, 1.6), 0, "differs"),
        ((1.0, 4.0, 4.0), 1, "cannot tell"),
    ],
)
def test_verdicts_come_from_the_interval(values, exponent, said):
    law = fit({0: dict(zip((1.0, 2.0, 4.0), values, strict=True))})
    assert verdict(law, Theory(exponent, "")) == said


def test_two_sizes_in_one_round_cannot_tell():
    assert verdict(fit({0: {1.0: 1.0, 2.0: 2.0}}), Theory(1, "")) == "cannot tell"


def test_what_a_fixed_part_may_explain_is_not_called_different():
    two = fit({r: {1.0: 2.0 + 0.01 * r, 3.0: 4.0} for r in range(3)})
    assert two.exponent.interval.high < 1 and verdict(two, Theory(1, "")) == "cannot tell"
    noise = np.random.default_rng(0).normal(0, 0.08, (3, 3))
    rounds = {r: {k: (1 + k) * float(np.exp(noise[r, i])) for i, k in enumerate((1.0, 5.0, 10.0))} for r in range(3)}
    assert verdict(fit(rounds), Theory(1, "")) in ("cannot tell", "agrees")
    root = {r: {k: k**0.5 * (1 + 0.001 * r * i) for i, k in enumerate((1.0, 5.0, 10.0, 50.0))} for r in range(3)}
    assert verdict(fit(root), Theory(1, "")) == "differs"


def test_tables_name_what_they_fit(synthetic):
    section = scaling_section(read_run(synthetic).measurements, {})
    titles = [table.title for table in section.tables]
    assert titles[0].startswith("Time by inner steps: sinusoid, 10 points, mlp-40x2, query 10, meta-batch 25, cpu")
    assert any(title.startswith("Peak memory by tasks") for title in titles)
    assert any(title.startswith("Time by parameters") for title in titles)
    (row,) = [row for row in section.tables[0].rows if row[:2] == ("fomaml", "loop")]
    assert row[2] == "1, 2, 5, 10" and row[-2] == "O(K)"
    assert section.tables[0].notes and not section.tables[1].notes
    assert scaling_section([], {}).tables == ()
