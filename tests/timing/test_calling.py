"""Timing from Python: live functions are measured in this process."""

import json

import pandas as pd
import pytest
import torch

from metabench import sources
from metabench.errors import UserError
from metabench.timing import measuring
from metabench.timing.calling import time


def ones(pages):
    return torch.ones(pages, 64, 64)


BRIEF = {"seconds": 0.02, "rounds": 2}


@pytest.fixture(autouse=True)
def few_recorded_calls(monkeypatch):
    monkeypatch.setattr(measuring, "RECORDED", 2)


def test_live_functions_are_compared_in_this_process(tmp_path):
    threads = torch.get_num_threads()
    found = time(lambda: ones(1), lambda: [ones(1), ones(1)], threads=1, out=tmp_path / "out", **BRIEF)
    assert torch.get_num_threads() == threads
    first, second = found
    assert (first.label, second.label) == ("lambda 1", "lambda 2") and found.in_process
    assert (first.peak.bytes, second.peak.bytes) == (1 << 14, 1 << 15)
    assert found.seconds == first.interval.value == found.interval.value
    assert [len(step.samples) for step in found] == [2, 2]
    table = found.table()
    assert repr(found) == table and " ".join(table.split()).endswith("2.00 times the memory.")
    assert "All repetitions are of this one process" in " ".join(table.split())
    written = json.loads((tmp_path / "out" / "timings.json").read_text())
    assert written["in_process"] and len(written["steps"]) == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "lambda 2: operators" in page and "1-flame" in page
    names = {file.name for file in (tmp_path / "out" / "plots").iterdir()}
    assert {"times.svg", "1-flame.svg", "2-memory.svg"} <= names
    drawn = pd.read_csv(tmp_path / "out" / "plots" / "times.csv").groupby("step", sort=False).first()
    for step, ends in zip(found, drawn.itertuples(), strict=True):
        assert (ends.low, ends.high) == pytest.approx((step.interval.drawn.low, step.interval.drawn.high))
    assert json.loads((tmp_path / "out" / "traces" / "2.json").read_text())["traceEvents"]


def test_what_a_live_function_raises_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        time(lambda: 1 / 0, **BRIEF)


def test_names_beside_live_functions_are_found(tmp_path, monkeypatch):
    (tmp_path / "its.py").write_text("def step():\n    return [0] * 10\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    found = time("its.py:step", lambda: None, seconds=0.01, rounds=1)
    assert [step.name for step in found] == ["its.py:step", "lambda"] and found["step"].seconds > 0


def test_names_are_of_the_current_folder_whatever_was_read_before(tmp_path, monkeypatch):
    for folder, number in (("here", 1), ("sub", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "its.py").write_text(
            f"def step():\n    return lambda: seen.append({number})\n\nseen = []\n"
        )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    sources.use(tmp_path / "sub")
    time("its.py:step", lambda: None, seconds=0.01, rounds=1)
    assert set(sources.find("its.py:seen")) == {1}


def test_a_file_that_times_itself_is_told_where_to_put_the_call(tmp_path, monkeypatch):
    call = "import metabench\n\nmetabench.time('its.py:step', lambda: None)\n"
    (tmp_path / "its.py").write_text(f"def step():\n    return [0] * 10\n\n{call}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    with pytest.raises(UserError, match=r"'its.py' calls metabench.time while it is loaded by name"):
        time("its.py:step", lambda: None, seconds=0.01, rounds=1)


@pytest.mark.parametrize(
    ("steps", "more", "says"),
    [
        ((), {}, "name a step to time"),
        ((3,), {}, "an object of type int"),
        ((lambda: None,), {"device": "cuba"}, "unknown device 'cuba': did you mean 'cuda'?"),
        ((lambda: None,), {"rounds": 0}, "^rounds takes"),
        ((lambda: None,), {"threads": -1}, "^threads takes a number from 1 to 4096, and -1 was given"),
        (("its.py:step",), {"threads": 0}, "^threads takes"),
    ],
)
def test_what_cannot_be_timed_is_one_sentence(steps, more, says):
    with pytest.raises(UserError, match=says):
        time(*steps, **more)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch finds no CUDA device"):
        time(lambda: None, device="cuda")
