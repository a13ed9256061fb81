"""What becomes of what a worker wrote before it ended."""

import json

from metabench.record.cell import Cell
from metabench.sweep.process import run_cell
from metabench.sweep.spec import Settings

STEP = {"median": 1e-3, "low": 1e-3, "high": 1e-3, "iqr": 0.0, "n": 6, "block": 1, "samples": [1e-3] * 6}
TIME = {"step": STEP, "compile_s": 0.0}


def outcome(monkeypatch, exit_code, result, messages=""):
    """The measurement of a process that wrote `result` and ended so."""

    def execute(command, folder, *rest):
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "messages").write_text(messages)
        return exit_code

    monkeypatch.setattr("metabench.sweep.process._execute", execute)
    return run_cell(Cell(algorithm="maml", task="sinusoid"), 0, Settings(time_limit_s=150), None)


def test_what_earlier_phases_measured_is_kept_with_the_phase_that_ended_it(monkeypatch):
    written = {"status": "crashed", "reason": "", "phase": "quality", "time": TIME}
    for code, status in ((None, "timeout"), (-9, "oom"), (-11, "crashed")):
        found = outcome(monkeypatch, code, written)
        assert (found.status, found.phase, found.ended_in) == (status, "quality", "quality")
        assert found.time.step.median == 1e-3
    diverged = outcome(monkeypatch, 0, written | {"status": "diverged", "reason": "the training loss is nan"})
    assert (diverged.ended_in, diverged.time.step.median) == ("quality", 1e-3)


def test_a_row_that_is_ok_has_no_phase(monkeypatch):
    found = outcome(monkeypatch, 0, {"status": "ok", "reason": "", "phase": "quality", "time": TIME})
    assert (found.status, found.phase, found.ended_in) == ("ok", "", "")
    assert "phase" not in found.to_json()


def test_a_part_that_is_no_figure_costs_none_of_the_others(monkeypatch):
    written = {"status": "ok", "reason": "", "phase": "quality", "memory": {"tracked_bytes": -1}, "time": TIME}
    found = outcome(monkeypatch, 0, written)
    assert (found.status, found.memory, found.time.step.median) == ("crashed", None, 1e-3)
    assert found.reason.startswith("what it measured as memory is no measurement")
