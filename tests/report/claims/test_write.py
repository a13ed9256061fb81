"""The command's files, and that ours are of the committed runs."""

import json
from statistics import geometric_mean

import pandas as pd
import pytest

from alike import differences
from metabench.report.claims.judging import judge_claims
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.claims.tables import write_claims
from metabench.report.frames import to_frame
from metabench.report.results import read_run
from places import AVX2, RESULTS

COMMITTED = RESULTS / "epyc-2core"
RUNS = [
    line for line in (RESULTS / "claims-runs.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    found = judge_claims(read_claims(BUILTIN), [read_run(RESULTS / name) for name in RUNS])
    write_claims(found, folder)
    return folder


@pytest.mark.parametrize("name", ["claims.md", "claims.csv"])
def test_the_committed_files_are_what_the_command_writes(written, name):
    found, expected = ((folder / name).read_text(encoding="utf-8") for folder in (written, RESULTS))
    assert differences(found, expected) == []


def test_no_figure_has_more_digits_than_it_supports(written):
    figures = pd.read_csv(written / "claims.csv", dtype=str)[["measured_value", "measured_low", "measured_high"]]
    mantissas = [text.partition("e")[0].lstrip("-0.").replace(".", "") for text in figures.stack().dropna()]
    assert len(mantissas) > 100 and max(map(len, mantissas)) == 9


def test_figures_are_those_of_the_runs(written):
    lines = pd.read_csv(written / "claims.csv").set_index("id")
    results = to_frame(read_run(COMMITTED / "algorithms-conv4-32"))
    maml = results.query("algorithm == 'maml' and shots == 1 and batch_norm == 'transductive'")
    assert len(maml) == 3
    told = lines.loc["maml-5-way-1-shot"].query(
        "run == 'algorithms-conv4-32' and not setting.str.contains('batch norm')"
    )
    assert told["measured_value"].item() == pytest.approx(maml["quality_value"].mean())
    alike = "algorithm == 'maml' and second_order == 'reverse' and first_order == 0 and shots == 5"
    memory = to_frame(read_run(AVX2 / "memory")).query(alike)
    peaks = memory.set_index(["checkpoint", "inner_steps"])["tracked_bytes"]
    rises = [(peaks[flag, 50] - peaks[flag, 5]) / 45 for flag in (False, True)]
    told = lines.loc["checkpointing-steps"].query("setting.str.contains('5-shot')")
    assert told["measured_value"].item() == pytest.approx(rises[0] / rises[1])
    curve = [json.loads(line) for line in (COMMITTED / "sinusoid" / "measurements.jsonl").open(encoding="utf-8")]
    steps = [
        row["quality"]["by_step"][1]["value"]
        for row in curve
        if row["cell"]["algorithm"] == "maml" and row["cell"]["preset"] == "published"
    ]
    short = lines.loc["maml-sinusoid-step-1"].query("run == 'sinusoid'")
    assert short["measured_value"].item() == pytest.approx(geometric_mean(steps))
