"""The command `search`: what it is given, prints and leaves behind. Its trainings are stand-ins."""

import json
import sys
from types import SimpleNamespace

import pytest

from metabench.cli.main import main
from metabench.record.environment import Machine
from metabench.record.searching import read_search
from metabench.search import running
from metabench.sweep.process import Ended

MAML = ("maml", "--task", "sinusoid", "--set", "model=mlp-40x2", "--set", "iterations=3")


@pytest.fixture
def search(tmp_path, monkeypatch, capsys):
    """Calls `metabench search` in an empty folder; a trial's error is its inner rate."""

    def run_job(job, *_, **__):
        error = job["parameters"]["inner_lr"]
        score = {"value": error, "low": error / 2, "high": 2 * error, "n": 2}
        return Ended(0, "", {"status": "ok", "reason": "", "score": score} | scores(error))

    def scores(error):
        return {"task_scores": {"unit": 1.0, "numbers": [error] * 2}, "train_s": 1.0}

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["metabench", "search", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metabench.cli.main.atexit.register", lambda function: function)
    monkeypatch.setattr("metabench.cli.main.guard_output", lambda: None)
    monkeypatch.setattr(running, "run_job", run_job)
    monkeypatch.setattr(running, "fingerprint", lambda threads: Machine())
    monkeypatch.setattr(running, "short_name", lambda machine: "a machine")
    monkeypatch.setattr(running, "warnings_for", lambda threads, on_gpu: [])
    return call


def test_it_prints_the_preset_and_the_command_that_confirms_it(search, tmp_path):
    found = search(*MAML, "--trials", 4, "--out", "s", "--first", "inner_lr=0.07")
    assert found.code == 0
    assert '"quick/sinusoid": Preset(' in found.out and "metabench run s/confirm.toml" in found.out
    assert "biased upwards, as the best of 4" in found.out
    trials = read_search(tmp_path / "s").trials
    assert len(trials) == 4 and trials[0].parameters["inner_lr"] == 0.07


def test_it_goes_on_where_it_stopped_and_repeats_what_a_file_asks_for(search, tmp_path):
    search(*MAML, "--trials", 3, "--out", "s")
    assert "add --resume" in search(*MAML, "--trials", 5, "--out", "s").err
    assert search(*MAML, "--trials", 5, "--out", "s", "--resume").code == 0
    assert search("s/search.toml", "--out", "again").code == 0
    first, again = (read_search(tmp_path / name) for name in ("s", "again"))
    assert [trial.parameters for trial in first.trials] == [trial.parameters for trial in again.trials]
    assert len(again.trials) == 5


def test_a_report_of_its_folder_writes_its_tables_anew(search, tmp_path, monkeypatch, capsys):
    printed = search(*MAML, "--trials", 2, "--out", "s").out
    written = {name: (tmp_path / "s" / name).read_text() for name in ("search.md", "confirm.toml")}
    for name in written:
        (tmp_path / "s" / name).unlink()
    monkeypatch.setattr(sys, "argv", ["metabench", "report", "s"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == printed
    assert {name: (tmp_path / "s" / name).read_text() for name in written} == written


def test_for_programs_it_prints_json_alone(search):
    found = json.loads(search(*MAML, "--trials", 2, "--json").out)
    assert found["best"]["number"] in (0, 1) and found["preset"].startswith('"quick/sinusoid"')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mamll",), "unknown algorithm 'mamll': did you mean 'maml'"),
        ((*MAML, "--resume"), "--resume needs --out"),
        (("maml", "--task", "sinusoids"), "unknown task 'sinusoids': did you mean 'sinusoid'"),
        ((*MAML, "--trials", 0), "trials"),
        (("none.toml",), "there is no search file 'none.toml'"),
        (("none.toml", "--ways", 5), "edit it instead"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(search, arguments, said):
    found = search(*arguments)
    assert found.code == 2 and said in found.err and len(found.err.splitlines()) == 1 and not found.out


def test_an_interrupt_says_how_to_go_on(search, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_job", interrupted)
    found = search(*MAML, "--trials", 2, "--out", "s")
    assert found.code == 130 and "--trials 2 --out s --resume" in found.err


def test_a_search_without_a_whole_training_ends_with_exit_code_1(search, monkeypatch):
    monkeypatch.setattr(running, "run_job", lambda *_, **__: Ended(-9, "", {"phase": "training"}))
    found = search(*MAML, "--trials", 2)
    assert found.code == 1 and "2 failed" in found.out and "no trial could be trained" in found.err
