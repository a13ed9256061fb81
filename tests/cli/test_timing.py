"""`metabench time`, on runs with times that were chosen."""

import json

import pytest
import torch
from typer.testing import CliRunner

from metabench.cli.main import app
from metabench.timing import collecting
from timed_steps import run

SECONDS = {"my.py:a": 2e-3, "my.py:b": 1e-3}


@pytest.fixture(autouse=True)
def chosen(monkeypatch):
    """Each process gives a time that was chosen; a step that has none fails."""

    def measured(plan, out, tell):
        for turn in collecting_turns(plan):
            tell(f"now {turn.step}")
            failed = {"time": None, "status": "crashed", "reason": "ValueError: no (my.py, line 3, in c)"}
            more = {} if turn.step in SECONDS else failed
            yield turn, run(turn.step, turn.round, SECONDS.get(turn.step, 1.0), 1024, **more)

    from metabench.timing.running import turns as collecting_turns

    monkeypatch.setattr(collecting, "measured", measured)
    monkeypatch.setattr(collecting, "warnings_for", lambda threads, on_gpu: [])


def command(*words):
    return CliRunner().invoke(app, ["time", *words])


def test_the_answer_stands_last():
    done = command("my.py:a", "my.py:b", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "b: 2.000 [2.000, 2.000] times as fast as a, the same memory."
    assert done.stdout.startswith("Time of a, b on cpu, 1 thread: ")
    assert "now my.py:b" in done.stderr and "now my.py:b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_figures_are_printed_as_json():
    found = json.loads(command("my.py:a", "my.py:b", "--json").stdout)
    assert [step["seconds"]["value"] for step in found["steps"]] == pytest.approx([2e-3, 1e-3])
    assert found["steps"][1]["times_as_fast"]["value"] == pytest.approx(2)
    assert found["steps"][1]["peak_bytes"] == 1024 and len(found["steps"][0]["runs"]) == 3
    assert found["sentences"][-1].startswith("b: 2.000")


def test_a_folder_gets_the_page_and_the_figures(tmp_path):
    done = command("my.py:a", "--out", str(tmp_path / "timed"))
    assert done.exit_code == 0, done.output
    assert f"report: {tmp_path / 'timed' / 'report.html'}" in done.stdout
    assert json.loads((tmp_path / "timed" / "timings.json").read_text())["steps"][0]["label"] == "a"
    assert "<title>Time of a on cpu" in (tmp_path / "timed" / "report.html").read_text()


def test_the_folder_of_a_run_is_left_alone(tmp_path):
    (tmp_path / "measurements.jsonl").write_text("")
    done = command("my.py:a", "--out", str(tmp_path))
    assert str(done.exception) == f"'{tmp_path}' holds the run of a sweep: choose another folder"
    assert [file.name for file in tmp_path.iterdir()] == ["measurements.jsonl"]


def test_a_step_that_fails_is_told_and_ends_the_command_with_1():
    done = command("my.py:a", "my.py:c")
    assert done.exit_code == 1
    assert "c crashed: ValueError: no (my.py, line 3, in c)" in " ".join(done.stdout.split())
    assert "Traceback" not in done.output


def test_an_interruption_keeps_what_is_there(monkeypatch):
    whole = collecting.measured

    def interrupted(plan, out, tell):
        yield next(iter(whole(plan, out, tell)))
        raise KeyboardInterrupt

    monkeypatch.setattr(collecting, "measured", interrupted)
    done = command("my.py:a")
    assert done.exit_code == 130 and "interrupted after 1 of 3 processes" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("a: 2.00 ms")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["my.py:a", "--device", "cuba"], "unknown device 'cuba': did you mean 'cuda'?"),
        (["my.py:a", "--device", "cuda"], "torch finds no CUDA device"),
        (["my.py:a", "my.py:a"], "a step is named twice: my.py:a"),
        (["my.py:a", "--seconds", "0"], "seconds takes a number from 0.01 to 3600, and 0 was given"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words, says, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = command(*words)
    assert done.exit_code != 0 and says in str(done.exception)
