"""What the documentation says is what happens."""

import re
import subprocess
import sys

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.contract import ALGORITHM_CLAUSES, MODEL_CLAUSES, TASK_CLAUSES
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.render.tables import escaped
from metabench.sweep.builtin import builtin_sweeps, find_sweep
from metabench.sweep.spec import load_sweep
from places import ROOT
from quote_tables import refreshed

CHECK = """
from metabench.correctness.verification import SETTINGS, comply, verify
verdicts = list(verify(["maml-prox"], ["loop", "vmap"], SETTINGS[:3]))
assert [v.word for v in verdicts] == ["ok"] * 6, verdicts
regression, images = comply(["maml-prox"])
assert {f.clause: f.reason for c in (regression, images) for f in c.findings if f.word == "incorrect"} == {}
assert [f.clause for f in regression.findings if f.word != "ok"] == ["running statistics"]
assert {f.word for f in images.findings} == {"ok"}
"""


def test_the_example_of_an_algorithm_is_right():
    text = (ROOT / "docs" / "add-an-algorithm.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) < 40
    done = subprocess.run([sys.executable, "-c", code + CHECK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PLUG_INS = """
from metabench.correctness.verification import comply_models, comply_tasks
(tasks,) = comply_tasks(["lines"])
assert (tasks.word, tasks.setting) == ("ok", "regression"), tasks
(model,) = comply_models(["shallow"], ["lines"])
assert (model.word, model.setting) == ("ok", "lines"), model
"""


def test_the_examples_of_a_model_and_a_task_distribution_keep_their_contracts():
    text = (ROOT / "docs" / "add-a-model-or-tasks.md").read_text(encoding="utf-8")
    model, tasks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", model + tasks + PLUG_INS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "clauses"),
    [
        ("add-an-algorithm", list(ALGORITHM_CLAUSES)),
        ("add-a-model-or-tasks", ["clause of models", *MODEL_CLAUSES, "clause of task distributions", *TASK_CLAUSES]),
    ],
)
def test_the_clauses_are_documented(page, clauses):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z, ]+) \|", text, re.MULTILINE)
    assert [clause for row in rows for clause in row.split(", ") if clause != "clause"] == clauses


def test_which_normalisations_are_exact_under_vmap():
    """The script of the documentation, and its table: another torch may print other digits, not other findings."""
    text = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {
        line[:32].strip(): [float(error) < 1e-8 for error in line[32:].split()] for line in done.stdout.splitlines()
    }
    table = {
        row.split("`")[1]: row.split("|")[2:5] for row in table_rows(text.partition("Relative errors with")[2])[1:]
    }
    assert found == {layer: [float(error) < 1e-8 for error in errors] for layer, errors in table.items()}
    assert [exact for _, exact, _ in found.values()] == [False, True, False, False, True]


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|:- ")]


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))])
def test_what_documents_quote_of_runs_is_what_make_docs_writes(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert refreshed(text, ROOT, document) == text


def test_the_readme_quotes_committed_runs():
    files = re.findall(r"<!-- from (\S+?)(?::[^\n]*)? -->", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(set(files)) >= 7


def test_the_readme_has_a_line_for_each_claim_of_the_folklore():
    """Of each source that is told of in surveys, at least one claim is quoted."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folklore = [claim for claim in read_claims(BUILTIN) if "survey" in claim.source or claim.rule != "interval"]
    quoted = {claim.source for claim in folklore if f"| {escaped(claim.says)} " in text}
    assert quoted >= {claim.source for claim in folklore if claim.metric != "mse"}


def test_every_algorithm_has_an_entry_and_is_trained():
    """Every algorithm with presets: in docs/algorithms.md, and in the sweeps over all algorithms, by its tasks."""
    # Other tests register algorithms of their own, and who tries one in the tree has no presets for it yet.
    here = {name: kind for name, kind in ALGORITHMS if kind.__module__.startswith("metabench.algorithms.")}
    ours = {name: kind for name, kind in here.items() if kind.presets}
    entries = re.findall(r"^### (.*)$", (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for entry in entries for name in entry.split(", ")) == sorted(ours)
    for sweep, kind in (("algorithms", "classification"), ("sinusoid", "regression")):
        trained = {cell.algorithm for cell in load_sweep(find_sweep(sweep), {}, 1).cells}
        assert trained == {name for name, algorithm in ours.items() if kind in algorithm.kinds}


def test_links_between_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_built_in_sweep_is_told_of():
    """In the help of the Makefile, and in the README's table of sweeps."""
    (bench,) = re.findall(r"^bench: .*SWEEP=([^)]*)\)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    names = {sweep.stem for sweep in builtin_sweeps()}
    assert {*re.split(r", | or ", bench)} == {*names, "a TOML file"}
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| sweep | what it measures |")[2]
    assert {row.split("`")[1] for row in table_rows(table.partition("\n\n")[0])} == names
