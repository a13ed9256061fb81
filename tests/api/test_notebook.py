"""The notebook of the docs, executed by a kernel; and what progress shows in one."""

import json

import pytest
from msgspec.structs import replace

from metabench.api.watching import NotebookProgress
from metabench.record.cell import Cell
from metabench.sweep.jobs import Job
from metabench.sweep.spec import Settings
from places import ROOT
from runs import made

FILE = ROOT / "docs" / "notebook.ipynb"
MOST_LINES = 15


def code_cells() -> list[str]:
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_short_and_holds_no_output():
    lines = [line for cell in code_cells() for line in cell.splitlines() if line and not line.startswith("#")]
    assert 0 < len(lines) <= MOST_LINES
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")


def test_a_kernel_executes_the_notebook(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="pip install ipykernel")
    notebook = nbformat.read(FILE, 4)
    where = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    shown = [list(cell.outputs) for cell in done.cells if cell.cell_type == "code"]
    results = [outputs[-1]["data"] for outputs in shown if outputs and outputs[-1]["output_type"] == "execute_result"]
    kinds = [set(data) for data in results]
    assert len(results) == len(code_cells()) - 1
    assert "fomaml" in results[0]["text/html"] and "<table>" in results[0]["text/html"]
    assert "step_s" in results[1]["text/html"]
    assert any("image/svg+xml" in kind and "application/vnd.vegalite.v5+json" in kind for kind in kinds)
    assert "Fastest: " in results[3]["text/html"] and "checks passed" in results[4]["text/plain"]
    progress = shown[1][0]["data"]["text/plain"]
    assert progress.endswith("4 of 4") and len(shown[1]) == 2
    assert all(output["output_type"] != "stream" for outputs in shown for output in outputs)


class Output:
    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, data, raw):
        assert raw
        self.shown.append(data)


def test_progress_is_one_output_that_is_written_anew():
    output, cell = Output(), Cell(algorithm="maml", task="sinusoid")
    with NotebookProgress(lambda: output) as progress:
        progress.say("threads: 1")
        progress.begin([Job(cell, 0), Job(replace(cell, seed=1), 0)], 0, Settings())
        progress.began(Job(cell, 0))
        assert "0 of 2" in output.shown[-1]["text/plain"] and "maml/loop" in output.shown[-1]["text/plain"]
        progress.finished(made(cell, 0, "crashed", "it <b>fell</b>"))
        progress.interrupted()
        assert "waiting" in output.shown[-1]["text/plain"] or "stopping" in output.shown[-1]["text/plain"]
    last = output.shown[-1]
    assert last["text/plain"].startswith("threads: 1\n") and "1 of 2" in last["text/plain"]
    assert "it <b>fell</b>" in last["text/plain"] and "it &lt;b&gt;fell&lt;/b&gt;" in last["text/html"]
