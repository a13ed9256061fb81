"""Steps in processes of their own: every end is a row, and what was measured before it is kept."""

import textwrap

import pytest

from metabench import sources
from metabench.errors import UserError
from metabench.sweep.process import Ended
from metabench.timing.collecting import collect, timings_of
from metabench.timing.plain_data import as_json
from metabench.timing.running import Plan, Turn, run_from, turns
from metabench.timing.words import doubts
from timed_steps import run

STEPS = """
import sys, time
import torch

def mebibyte():
    print("what a step prints is not shown")
    return torch.ones(1 << 18)

def make():
    size = 1 << 17
    return lambda: torch.ones(size)

def wrong():
    return torch.zeros(2) + torch.zeros(3)

def leaves():
    sys.exit(3)

def hangs():
    time.sleep(1000)
"""
RUN = {"status": "ok", "reason": "", "phase": "timing"}


@pytest.fixture
def my_steps(tmp_path, monkeypatch):
    (tmp_path / "my.py").write_text(textwrap.dedent(STEPS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    return tmp_path


def test_every_end_of_a_step_is_a_row_and_the_others_are_measured(my_steps):
    names = tuple(f"my.py:{name}" for name in ("mebibyte", "make", "wrong", "leaves", "mebibite"))
    lines = []
    found = collect(Plan(names, rounds=1, seconds=0.02), None, lines.append).timings
    assert len(lines) == len(names) and found.pairs == 0
    assert [step.status for step in found] == ["ok", "ok", "crashed", "crashed", "unsupported"]
    said = {step.label: step.failed.reason for step in found if step.failed}
    line = STEPS.splitlines().index("def wrong():") + 2
    assert said["wrong"].startswith("RuntimeError: ") and said["wrong"].endswith(f"(my.py, line {line}, in wrong)")
    assert said["leaves"].startswith("it ends the program (sys.exit(3)) (my.py, line ")
    assert said["mebibite"] == "step 'my.py:mebibite': 'my.py' has no 'mebibite': did you mean 'mebibyte'?"
    assert found["mebibyte"].peak.bytes == 1 << 20 and found["make"].peak.bytes == 1 << 19
    assert found["make"].made and not found["mebibyte"].made
    assert list(found["make"].runs[0].sources) == ["my.py"]
    assert as_json(found)["steps"][1]["times_as_fast"]["value"] > 0


def test_what_became_of_the_twin_counts_for_the_baseline():
    plan = Plan(("a", "b"), rounds=3)
    twin = run("a", 0, 1e-3, time=None, status="crashed", reason="ValueError: no")
    found = timings_of(
        plan, [(Turn("a", 0), run("a", 0, 1e-3)), (Turn("a", 0, True), twin), (Turn("b", 0), run("b", 0, 1e-3))]
    )
    assert found["a"].status == "crashed" and len(found["a"].samples) == 1
    assert "a crashed: ValueError: no; what was measured before is shown" in doubts(found)


def test_steps_keep_their_numbers_where_an_interruption_left_some_out():
    plan = Plan(("a", "b", "c"), rounds=1)
    found = timings_of(plan, [(Turn("c", 0), run("c", 0, 1e-3)), (Turn("b", 0), run("b", 0, 1e-3))])
    assert [(step.label, step.number) for step in found] == [("b", 2), ("c", 3)]
    assert found.warnings == ("a was not measured: the other steps are compared with b",)
    assert timings_of(plan, [(Turn("a", 0), run("a", 0, 1e-3)), (Turn("c", 0), run("c", 0, 1e-3))]).warnings == ()
    with pytest.raises(KeyError, match="no step is called 'a': there are b, c"):
        found["a"]


def test_a_step_that_hangs_is_ended_at_its_time_limit(my_steps):
    (step,) = collect(Plan(("my.py:hangs",), rounds=3, time_limit_s=3), None, lambda line: None).timings
    assert step.status == "timeout" and len(step.runs) == 1  # it is not tried again
    assert step.failed.reason.endswith(" at the time limit of 3 s")


def test_names_that_are_all_wrong_are_one_sentence(my_steps):
    with pytest.raises(UserError, match="there is no file 'mine.py' in the current folder: did you mean 'my.py'?"):
        collect(Plan(("mine.py:step",), rounds=2, seconds=0.02), None, lambda line: None)


def test_the_baseline_is_timed_twice_in_each_repetition_of_a_comparison():
    found = turns(Plan(("a", "b", "c"), rounds=4))
    for number in range(4):
        here = found[4 * number : 4 * number + 4]
        assert {turn.round for turn in here} == {number}
        assert sorted((turn.step, turn.twin) for turn in here) == [
            ("a", False),
            ("a", True),
            ("b", False),
            ("c", False),
        ]
    assert len({tuple((t.step, t.twin) for t in found[4 * n : 4 * n + 4]) for n in range(4)}) > 1
    assert sorted(turn.step for turn in turns(Plan(("a", "b"), rounds=1))) == ["a", "b"]  # one pair says nothing
    assert turns(Plan(("a",), rounds=2)) == [Turn("a", 0), Turn("a", 1)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps": ("a", "b", "a")}, "a step is named twice: a"),
        ({"rounds": 0}, "rounds takes a number from 1 to 100, and 0 was given"),
        ({"seconds": 0.0}, "seconds takes"),
        ({"time_limit_s": 0.5}, "time limit takes"),
        ({"threads": -1}, "threads takes"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(given, says):
    with pytest.raises(UserError, match=says):
        Plan(**({"steps": ("a",)} | given))


@pytest.mark.parametrize(
    ("code", "messages", "status", "reason"),
    [
        (None, "", "timeout", "ended in phase 'timing' at the time limit of 60 s"),
        (-9, "", "oom", "killed in phase 'timing', most likely by the system for want of memory"),
        (-11, "Segmentation fault", "crashed", "ended in phase 'timing' with signal SIGSEGV: Segmentation fault"),
        (7, "", "crashed", "ended in phase 'timing' with exit code 7: no message"),
    ],
)
def test_a_process_that_says_nothing_is_a_row_too(code, messages, status, reason):
    found = run_from(Ended(code, messages, dict(RUN)), Turn("a", 2), 60)
    assert (found.status, found.reason, found.phase, found.round) == (status, reason, "timing", 2)
