"""Verdicts on laws whose truth is known."""

import numpy as np
import pytest

from metabench.statistics.laws import fit
from metabench.statistics.theory import Theory, verdict


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


def test_what_does_not_grow_agrees_with_no_growth_alone():
    flat = fit({0: {4.0: 1e6, 8.0: 1e6}})
    assert (verdict(flat, Theory(0, "")), verdict(flat, Theory(1, ""))) == ("agrees", "differs")


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


def test_a_cost_for_each_unit_is_held_against_the_one_foreseen():
    expected = Theory(1, "", each=4 * 1761)
    copies = fit({0: {k: 1e5 + 4 * 1761 * k for k in (5.0, 10.0, 20.0)}})
    assert verdict(copies, expected) == "agrees"
    assert verdict(fit({0: {k: 1e5 + 12 * 1761 * k for k in (5.0, 10.0, 20.0)}}), expected) == "differs"
