"""Advice from Python: the fastest engine, the frame of all, and how an interrupt ends it. Measurements are made up."""

import math

import pytest
from typer.testing import CliRunner

import metabench as mb
from metabench.api import advising
from metabench.cli.main import app
from metabench.statistics.intervals import summarise
from runs import made

SPREAD = [0.99, 1.01, 0.995, 1.005, 1.0, 0.992, 1.008, 0.997, 1.003]
SECONDS = {"loop": 0.02, "vmap": 0.002}
BYTES = {"loop": 1000, "vmap": 5000}


@pytest.fixture
def asked(monkeypatch):
    """The sweeps that were measured."""
    found = []

    def measure_briefly(sweep, data_dir, progress):
        found.append(sweep)
        for cell in sweep.cells:
            if cell.engine not in SECONDS:
                yield made(cell, 0, "unsupported", "not here")
                continue
            step = summarise([SECONDS[cell.engine] * share for share in SPREAD])
            time = {"step": step, "noisy": False, "compile_s": 0.0, "compile_cache": ""}
            yield made(cell, 0, time=time, memory={"tracked_bytes": BYTES[cell.engine]})

    monkeypatch.setattr(advising, "measure_briefly", measure_briefly)
    return found


def test_the_fastest_is_named_and_every_engine_is_a_row(asked):
    advice = mb.advise(
        "maml", engines=["loop", "vmap", "cudagraph"], memory_limit="2KiB", inner_steps=3, progress=False
    )
    assert (advice.fastest, advice.fastest_within_limit) == ("vmap", "loop")
    frame = advice.frame().set_index("engine")
    assert frame["status"].to_dict() == {"vmap": "ok", "loop": "ok", "cudagraph": "unsupported"}
    assert frame.loc["vmap", "step_s"] == pytest.approx(0.002) and frame.loc["loop", "peak_bytes"] == 1000
    assert frame.loc["vmap", "times_as_fast"] == pytest.approx(10, rel=1e-3)
    assert math.isnan(frame.loc["cudagraph", "step_s"]) and frame.loc["cudagraph", "reason"] == "not here"
    assert advice.frame().attrs == {"baseline": "loop"}
    assert advice.sentences[0] in repr(advice) and "<table>" in advice._repr_html_()
    assert {cell.inner_steps for cell in asked[0].cells} == {3}
    assert {(cell.task, cell.device) for cell in asked[0].cells} == {("sinusoid", "cpu")}


def test_advice_without_an_engine_that_runs_is_no_exception(asked):
    advice = mb.advise(engines="cudagraph", progress=False)
    assert advice.fastest is None and advice.fastest_within_limit is None
    assert "no engine" in repr(advice)


@pytest.mark.parametrize(("engine", "code"), [("mine.py:build", 1), ("loop", 0)])
def test_the_exit_code_tells_of_an_engine_of_ones_own_that_was_not_measured(asked, tmp_path, monkeypatch, engine, code):
    (tmp_path / "mine.py").write_text("from metabench.engines.loop import build\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["advise", "--algorithm", "maml", "--engines", "loop,cudagraph", "--with", engine])
    assert done.exit_code == code, done.output
    assert ("mine.py:build could not be measured" in done.stderr) == (code == 1)


def test_a_mistake_is_one_sentence(asked):
    for call, says in (
        (lambda: mb.advise("maml", inner_steps=[1, 20]), r"'inner_steps' takes one value, not \[1, 20\]"),
        (lambda: mb.advise("maml", engines="vmpa"), "unknown engine 'vmpa': did you mean 'vmap'?"),
        (lambda: mb.advise("maml", inner_step=3), "unknown axis 'inner_step': did you mean 'inner_steps'?"),
        (lambda: mb.advise("maml", memory_limit="much"), "much"),
    ):
        with pytest.raises(mb.UserError, match=says):
            call()
    assert asked == []


def test_an_interrupt_is_an_interrupt(monkeypatch):
    def measure_briefly(sweep, data_dir, progress):
        yield made(sweep.cells[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(advising, "measure_briefly", measure_briefly)
    with pytest.raises(KeyboardInterrupt, match="1 of 2 measurements were made"):
        mb.advise("maml", engines=["loop", "vmap"], progress=False)
