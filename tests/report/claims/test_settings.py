"""Our claims against the presets and the sweeps that are to decide them: no two of them name different protocols."""

from functools import cache
from types import SimpleNamespace

import pytest

from metabench.report.claims.claim import MEASURED_BY
from metabench.report.claims.judging import ALIKE
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.claims.selection import as_usual, deviations, fits, with_defaults
from metabench.sweep.builtin import builtin_sweeps, find_sweep
from metabench.sweep.spec import load_sweep

CLAIMS = read_claims(BUILTIN)
BY_PRESET = "papers-omniglot"
"""The sweep whose cells are those of published presets, as many as its machine has hours for."""
CHOSEN = ("model", "batch_norm")
"""Axes that a sweep sets where a preset has something else: networks of comparisons, both modes of Reptile's tests."""


def published(claim, folder):
    """The cell of a published preset for what a claim is about."""
    axes = {name: values[0] for name, values in claim.of.items()}
    axes |= {name: claim.setting[name][0] for name in CHOSEN if name in claim.setting}
    lines = [f"{name} = {value!r}" for name, value in axes.items()]
    file = folder / "published.toml"
    file.write_text("\n".join(["[[grid]]", 'preset = "published"', 'measure = ["quality"]', *lines]), encoding="utf-8")
    (cell,) = load_sweep(file, {}, 1).cells
    return cell


def differences(claim, cell):
    return deviations(SimpleNamespace(cell=cell, parameters=None), {**claim.setting, **as_usual(claim)})


@cache
def cells_of(sweep):
    return load_sweep(find_sweep(sweep), {}, 2).cells


def of_cells(claim, cells, wanted):
    """The cells that a claim is about; how many parameters they have, only a run knows."""
    wanted = {axis: values for axis, values in with_defaults(wanted, claim.figure).items() if axis != "parameters"}
    measure = MEASURED_BY.get(claim.figure, claim.figure)
    return [cell for cell in cells if measure in cell.measure and fits(SimpleNamespace(cell=cell), wanted)]


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.sweep == BY_PRESET], ids=lambda claim: claim.id)
def test_published_presets_are_the_settings_that_claims_name(claim, tmp_path):
    assert differences(claim, published(claim, tmp_path)) == []


def test_a_sweep_that_is_to_decide_a_claim_has_its_cells():
    names = {file.stem for file in builtin_sweeps()} - {BY_PRESET}
    for claim in (claim for claim in CLAIMS if claim.sweep in names):
        mine = of_cells(claim, cells_of(claim.sweep), claim.of)
        repeating = [cell for cell in mine if not differences(claim, cell)]
        assert repeating, claim.id
        if claim.against:
            others = of_cells(claim, cells_of(claim.sweep), {**claim.of, **claim.against})
            axes = [axis for axis in (*ALIKE, "engine", "inner_steps") if axis not in claim.against]
            pairs = [a for a in repeating for b in others if all(a[axis] == b[axis] for axis in axes)]
            assert pairs, f"{claim.id} has nothing to compare with"
        if claim.rule == "exponent":
            axis = "model" if claim.along == "parameters" else claim.along
            assert len({cell[axis] for cell in mine}) >= (2 if claim.figure == "memory" else 3), claim.id
