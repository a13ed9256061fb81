"""What a run does when it is stopped, when its disk is full, and when its folder is damaged: cells are stand-ins."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from msgspec import structs

from listening import Silent
from metabench.errors import UserError
from metabench.record.environment import Machine, Processor
from metabench.record.searching import ASKED
from metabench.sweep import checkpoints, environment, jobs, process
from metabench.sweep.folder import BROKEN
from metabench.sweep.interruption import interruptible
from metabench.sweep.runner import run_sweep
from metabench.sweep.spec import Settings, parse_sweep
from runs import made

TEXT = """
[run]
noise_pairs = 0
side_by_side = {together}
[[grid]]
task = "sinusoid"
algorithm = ["maml", "fomaml", "anil", "reptile"]
measure = ["{measure}"]
"""


class Run:
    """A sweep of four cells, and what its stand-ins do."""

    def __init__(self, folder, monkeypatch, measure="time", together=1):
        text = TEXT.format(measure=measure, together=together)
        self.sweep = parse_sweep("test", tomllib.loads(text), text, 1)
        self.folder, self.progress, self.measured = folder, Silent(), []
        self.then = {}
        """What else happens in the n-th cell."""
        monkeypatch.setattr(jobs, "run_cell", self.run_cell)
        monkeypatch.setattr(environment, "fingerprint", lambda threads: Machine())
        monkeypatch.setattr(environment, "short_name", lambda machine: "a machine")
        monkeypatch.setattr(environment, "warnings_now", lambda cells: [])

    def run_cell(self, cell, number, settings, data_dir, stop=None, **_):
        self.measured.append(cell.algorithm)
        self.then.get(len(self.measured), lambda: None)()
        return made(cell, number, "ok", "")

    def go(self, resume=False, stop=None):
        run_sweep(self.sweep, self.folder, resume=resume, data_dir=None, progress=self.progress, stop=stop)

    @property
    def rows(self):
        return [json.loads(line) for line in (self.folder / "measurements.jsonl").read_text().splitlines()]


@pytest.fixture
def run(tmp_path, monkeypatch):
    return Run(tmp_path / "run", monkeypatch)


def hear(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("status", ["timeout", "oom", "diverged"])
def test_a_training_that_was_ended_from_outside_goes_on_when_the_run_is_resumed(run, monkeypatch, status):
    """And one that ended by itself does not."""
    kept, first = run.folder / checkpoints.FOLDER, run.sweep.cells[0]

    def ends(cell, number, settings, data_dir, stop=None, **given):
        assert given["checkpoints"] == kept
        run.measured.append(cell.algorithm)
        if cell == first and run.measured.count(cell.algorithm) == 1:
            kept.mkdir()
            (kept / f"{cell.id}.pt").write_bytes(b"")
            return made(cell, number, status, "a reason", phase="quality")
        return made(cell, number, "ok", "")

    monkeypatch.setattr(jobs, "run_cell", ends)
    run.go()
    assert len(run.rows) == 4 and kept.exists() == (status != "diverged")
    run.go(resume=True)
    assert len(run.rows) == 4 and not kept.exists()
    assert {row["status"] for row in run.rows} == ({"ok"} if status != "diverged" else {"ok", "diverged"})
    assert len(run.measured) == (5 if status != "diverged" else 4)


def test_a_row_is_not_given_up_for_a_run_that_is_then_refused(run, monkeypatch):
    """Neither is one for a line that is blank, or has a byte order mark."""
    kept, first = run.folder / checkpoints.FOLDER, run.sweep.cells[0]

    def ends(cell, number, *_, **__):
        return made(cell, number, *(("timeout", "a reason") if cell == first else ("ok", "")), phase="quality")

    monkeypatch.setattr(jobs, "run_cell", ends)
    run.go()
    kept.mkdir(exist_ok=True)
    (kept / f"{first.id}.pt").write_bytes(b"")
    before = run.rows
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(environment, "fingerprint", lambda threads: Machine(processor=Processor(name="another")))
        with pytest.raises(UserError, match="another machine"):
            run.go(resume=True)
    assert run.rows == before
    file = run.folder / "measurements.jsonl"
    file.write_text("\ufeff\n" + file.read_text() + "\n")
    monkeypatch.setattr(jobs, "run_cell", run.run_cell)
    run.go(resume=True)
    rows = [json.loads(line) for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    assert [row["status"] for row in rows] == ["ok"] * 4


def test_a_run_does_not_begin_where_a_search_is(run):
    run.folder.mkdir()
    (run.folder / ASKED).write_text("")
    with pytest.raises(UserError, match="holds a search: choose another --out"):
        run.go()
    assert not (run.folder / "sweep.toml").exists()


def test_a_row_without_a_checkpoint_stays(run, monkeypatch):
    monkeypatch.setattr(jobs, "run_cell", lambda cell, number, *_, **__: made(cell, number, "timeout", "a reason"))
    run.go()
    run.go(resume=True)
    assert [row["status"] for row in run.rows] == ["timeout"] * 4


def test_a_training_that_the_time_limit_will_end_is_named_before_it_begins(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", monkeypatch, "quality")
    run.sweep = replace(run.sweep, cells=tuple(structs.replace(c, iterations=10**7) for c in run.sweep.cells))
    run.go()
    (said,) = run.progress.warnings
    assert said.startswith("time_limit_s ends each measurement after 10 min, and ") and "set time_limit_s = " in said
    assert "and 3 other trainings longer than that limit" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_row_be_finished(run, number):
    run.then[2] = hear(number)
    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    told = Event()
    with interruptible(told.set) as stop, pytest.raises(KeyboardInterrupt):
        run.go(stop=stop)
    assert len(run.rows) == 2  # the one in which it came is there
    assert told.wait(30)
    assert signal.getsignal(signal.SIGINT) is before
    run.go(resume=True)
    assert len(run.rows) == len(run.measured) == 4


def test_the_second_signal_ends_it_at_once(run):
    run.then[2] = lambda: (hear(signal.SIGTERM)(), hear(signal.SIGINT)())
    with interruptible(list) as stop, pytest.raises(KeyboardInterrupt):
        run.go(stop=stop)
    assert len(run.rows) == 1
    run.go(resume=True)
    assert len(run.rows) == 4


def test_a_signal_in_the_last_cell_stops_nothing(run):
    run.then[4] = hear(signal.SIGINT)
    with interruptible(list) as stop:
        run.go(stop=stop)
    assert len(run.rows) == 4


def test_side_by_side_what_runs_is_finished_and_what_waits_does_not_begin(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", monkeypatch, "quality", together=2)
    stop, other = Event(), Event()
    run.then = {1: lambda: other.wait(30), 2: lambda: (stop.set(), other.set())}
    with pytest.raises(KeyboardInterrupt):
        run.go(stop=stop)
    assert len(run.rows) == len(run.measured) == 2
    run.go(resume=True)
    assert len(run.rows) == len(run.measured) == 4


def test_a_disk_that_is_full_ends_the_run_between_two_rows(run, room):
    with ExitStack() as stack:
        run.then[2] = lambda: stack.enter_context(room((run.folder / "measurements.jsonl").stat().st_size + 100))
        with pytest.raises(UserError, match="cannot write to '.*measurements.jsonl': File too large"):
            run.go()
    assert len(run.rows) == 1
    run.go(resume=True)
    assert len(run.rows) == 4


def test_damaged_rows_are_measured_again_and_the_run_says_so(run):
    run.go()
    file = run.folder / "measurements.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    broken = lines[1].replace('"round": 0', '"round": "0"')
    file.write_text("".join([lines[0], broken, lines[2], lines[3][:-40]]))
    run.go(resume=True)
    assert len(run.rows) == 4 and len(run.measured) == 6
    assert {row["id"] for row in run.rows} == {cell.id for cell in run.sweep.cells}
    assert (run.folder / BROKEN).read_text() == broken + lines[3][:-40] + "\n"
    said = [
        "Line 2 of measurements.jsonl is left out: it is not a measurement: 'round': expected a whole number, got a "
        "text.",
        "Line 4 of measurements.jsonl is left out: it is unfinished, as a kill leaves it.",
        "What was left out stands in broken-lines.txt, and is measured again.",
    ]
    assert run.progress.warnings == said
    assert json.loads((run.folder / "environment.json").read_text())["warnings"] == said


def test_a_clock_that_jumps_changes_no_duration(run, monkeypatch):
    """Of a day back at each look: the time that a row took, and the limits of processes, are by another clock."""
    looks = iter(range(10**9))

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) - timedelta(days=next(looks))

    monkeypatch.setattr(process, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: -86400.0 * next(looks))
    monkeypatch.setattr(process, "_execute", lambda _, folder, *__: (folder / "messages").write_text("over") and 1)
    row = process.run_cell(run.sweep.cells[0], 0, Settings(), None)
    assert (row.status, row.reason) == ("crashed", "ended in phase 'start' with exit code 1: over")
    assert 0 <= row.seconds < 60
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            process._wait(waiting, 0.1, Event())
        waiting.kill()


@pytest.mark.parametrize(
    ("code", "messages", "status"),
    [
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'\n", "oom"),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::runtime_error'\n", "crashed"),
        (1, "std::bad_alloc\n", "crashed"),
        (-signal.SIGKILL, "", "oom"),
        (None, "", "timeout"),
    ],
)
def test_what_ended_a_process_by_its_code_and_last_words(code, messages, status):
    assert process._outcome(code, messages, {"phase": "timing"}, 60)[0] == status


def test_where_no_process_can_be_started_that_is_said(run, monkeypatch):
    def full(*arguments, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(
        UserError, match="a configuration's process cannot be started or heard: .* No space left on device"
    ):
        process.run_cell(run.sweep.cells[0], 0, Settings(), None)


def test_a_folder_without_a_run_to_go_on_with_is_told(run, monkeypatch):
    """Its name may be mistyped."""
    said = []
    monkeypatch.setattr(run.progress, "warn", said.append)
    run.go(resume=True)
    assert len(run.rows) == 4
    assert any("holds no run to go on with" in sentence and str(run.folder) in sentence for sentence in said)
    said.clear()
    run.go(resume=True)
    assert not any("no run" in sentence for sentence in said)
