"""What the documentation says is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.contract import ALGORITHM_CLAUSES, MODEL_CLAUSES, TASK_CLAUSES
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.render.tables import escaped
from metabench.sweep.builtin import builtin_sweeps, find_sweep
from metabench.sweep.spec import load_sweep
from places import ROOT
from quote_tables import refreshed

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands under a heading of the second level, up to the next one."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", read(page), re.DOTALL | re.MULTILINE)
    return text


def example(page: str, heading: str) -> str:
    """The Python of a section."""
    (code,) = re.findall(r"```python\n(.*?)```", section(page, heading), re.DOTALL)
    return code


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
from pathlib import Path
from metabench import sources
sources.use(Path({folder!r}))
from metabench.correctness.settings import SETTINGS
from metabench.correctness.verification import comply, verify
verdicts = list(verify(["proximal.py:ProximalMAML"], ["loop", "vmap"], SETTINGS[:3]))
assert [v.word for v in verdicts] == ["ok"] * 6, verdicts
regression, images = comply(["proximal.py:ProximalMAML"])
assert {{f.clause: f.reason for c in (regression, images) for f in c.findings if f.word == "incorrect"}} == {{}}
assert [f.clause for f in regression.findings if f.word != "ok"] == ["running statistics"]
assert {{f.word for f in images.findings}} == {{"ok"}}
"""


def test_the_example_of_an_algorithm_is_right(tmp_path):
    (tmp_path / "proximal.py").write_text(example("extending.md", "An algorithm"), encoding="utf-8")
    python(CHECK.format(folder=str(tmp_path)))


PLUG_INS = """
from metabench.correctness.verification import comply_models, comply_tasks
(tasks,) = comply_tasks(["lines"])
assert (tasks.word, tasks.setting) == ("ok", "regression"), tasks
(model,) = comply_models(["shallow"], ["lines"])
assert (model.word, model.setting) == ("ok", "lines"), model
"""


def test_the_examples_of_a_model_and_a_task_distribution_keep_their_contracts():
    python(example("extending.md", "A model") + example("data.md", "A task distribution") + PLUG_INS)


TRIED = """
from metabench.correctness.settings import SETTINGS
from metabench.correctness.verification import verify
print(*(f"{v.word} {v.reason}" for v in verify(["maml"], ["engine.py:engine"], SETTINGS[:3])), sep="\\n")
"""
FIGURE = re.compile(r"\d\.\de[+-]\d+")


def test_the_example_of_an_engine_is_proved_right_and_found_wrong_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = example("extending.md", "A training step as an engine")
    Path("engine.py").write_text(code, encoding="utf-8")
    *right, images = python(TRIED).splitlines()
    assert [line.strip() for line in right] == ["ok", "ok"]
    assert images.startswith("unsupported the network does not fit the model")
    Path("engine.py").write_text(code.replace(", create_graph=True", ""), encoding="utf-8")
    first, *_ = python(TRIED).splitlines()
    failed = "engine.py:engine did not pass the correctness gate: "
    (shown,) = [row for row in read("extending.md").splitlines() if row.startswith(failed)]
    assert FIGURE.sub("#", first.removeprefix("incorrect ")) == FIGURE.sub("#", shown.removeprefix(failed))


def test_the_example_of_a_step_gives_steps():
    code = section("extending.md", "Time a step").partition("```python\n")[2].partition("```")[0]
    python(code + "plain(), fused(), make()()")


@pytest.mark.parametrize(
    ("page", "heading", "clauses"),
    [
        ("extending.md", "An algorithm", ALGORITHM_CLAUSES),
        ("extending.md", "A model", ["clause of models", *MODEL_CLAUSES]),
        ("data.md", "A task distribution", ["clause of task distributions", *TASK_CLAUSES]),
    ],
)
def test_the_clauses_are_documented(page, heading, clauses):
    rows = re.findall(r"^\| ([a-z, ]+) \|", section(page, heading), re.MULTILINE)
    assert [clause for row in rows for clause in row.split(", ") if clause != "clause"] == list(clauses)


def test_which_normalisations_are_exact_under_vmap():
    """The script of the documentation, and its table: another torch may print other digits, not other findings."""
    said = python(example("engines.md", "Normalisation under vmap"))
    found = {line[:32].strip(): [float(error) < 1e-8 for error in line[32:].split()] for line in said.splitlines()}
    rows = table_rows(read("engines.md").partition("Relative errors with")[2])[1:]
    table = {row.split("`")[1]: row.split("|")[2:5] for row in rows}
    assert found == {layer: [float(error) < 1e-8 for error in errors] for layer, errors in table.items()}
    assert [exact for _, exact, _ in found.values()] == [False, True, False, False, True]


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|:- ")]


@pytest.mark.parametrize("document", [file.relative_to(ROOT).as_posix() for file in PAGES])
def test_what_documents_quote_of_runs_is_what_make_docs_writes(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert refreshed(text, ROOT, document) == text


def test_results_quote_committed_runs():
    assert len(set(re.findall(r"<!-- from (\S+?)(?::[^\n]*)? -->", read("results.md")))) >= 7


def test_results_have_a_line_for_each_claim_of_the_folklore():
    """Of each source that is told of in surveys, at least one claim is quoted."""
    text = read("results.md")
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


def test_every_built_in_sweep_is_told_of():
    """In the help of the Makefile, and in the table of sweeps."""
    (bench,) = re.findall(r"^bench: .*SWEEP=([^)]*)\)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    names = {sweep.stem for sweep in builtin_sweeps()}
    assert {*re.split(r", | or ", bench)} == {*names, "a TOML file"}
    assert {row.split("`")[1] for row in table_rows(section("sweep-files.md", "Built-in sweeps"))[1:]} == names


def test_the_readme_is_short_and_shows_a_command_early():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert any(line.startswith("$ metabench run") for line in lines[:45])
    assert any(re.match(r"\$ make test( |$)", line) for line in lines), "whoever runs the tests finds the command there"
