"""Instructions of an iteration, by counters that are made up, and by the processor's own where it has some."""

import errno
import os
import struct
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from metabench.measure import instructions
from metabench.measure.energy import NoCounter
from metabench.measure.instructions import CYCLES, INSTRUCTIONS, count_of, measure_instructions, processor_counter
from metabench.record.measurement import Instructions

EMULATED = Instructions(7.0, None, 4, "emulated")


def refuses(why):
    @contextmanager
    def refused(event):
        raise NoCounter(why)
        yield

    return refused


def test_an_iteration_is_the_median_of_windows(monkeypatch):
    """Whose third is a thousand times as long: something else ran in this process."""
    done = {INSTRUCTIONS: 0, CYCLES: 0}
    calls = 0

    def run():
        nonlocal calls
        calls += 1
        done[INSTRUCTIONS] += 100_000 if calls == 10 else 100
        done[CYCLES] += 250

    @contextmanager
    def counter(event):
        yield lambda: done[event]

    monkeypatch.setattr(instructions, "processor_counter", counter)
    found = measure_instructions(run, 4, lambda: EMULATED)
    assert (found.instructions, found.cycles, found.iterations) == (100, 250, 4)
    assert calls == 1 + 4 * instructions.WINDOWS


def test_without_counters_an_emulator_counts(monkeypatch):
    monkeypatch.setattr(instructions, "processor_counter", refuses("not allowed"))
    assert measure_instructions(lambda: None, 4, lambda: EMULATED) == EMULATED

    def none():
        raise NoCounter("no emulator")

    found = measure_instructions(lambda: None, 4, none)
    assert found == Instructions(None, None, None, "unavailable (not allowed; no emulator)")


def test_the_processor_counts_what_is_done_or_the_system_says_why_not():
    try:
        with processor_counter(INSTRUCTIONS) as read:
            counts = []
            for size in (20_000, 200_000):
                before = read()
                sum(range(size))
                counts.append(read() - before)
    except NoCounter as error:
        assert "counters" in str(error) and len(str(error)) > len("the processor's counters: ")
    else:
        assert 5 < counts[1] / counts[0] < 20


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOENT, "this machine has none that can be read, as most virtual machines"),
        (errno.EACCES, "set kernel.perf_event_paranoid to 2 or lower"),
        (errno.EMFILE, "too many open files"),
    ],
)
def test_the_system_s_error_is_told_in_words_that_help(monkeypatch, code, says):
    monkeypatch.setattr(instructions.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syscall=lambda *_: -1))
    monkeypatch.setattr(instructions.ctypes, "get_errno", lambda: code)
    with pytest.raises(NoCounter, match=says):
        instructions._opened(298, INSTRUCTIONS, 1)
    monkeypatch.setattr(instructions.ctypes, "get_errno", lambda: errno.ESRCH)
    with pytest.raises(ProcessLookupError):
        instructions._opened(298, INSTRUCTIONS, 1)


def test_a_counter_that_counted_a_part_of_the_time_is_none():
    assert count_of(struct.pack("=QQQ", 12345, 800, 800)) == 12345
    with pytest.raises(NoCounter, match="others count, too"):
        count_of(struct.pack("=QQQ", 12345, 800, 799))


def test_a_system_without_such_counters_says_so(monkeypatch):
    monkeypatch.setattr(instructions.platform, "system", lambda: "Darwin")
    with pytest.raises(NoCounter, match="on Linux alone"), processor_counter(INSTRUCTIONS):
        pass


@pytest.mark.skipif(not instructions.THREADS.exists(), reason="the counters are read on Linux alone")
def test_a_counter_that_cannot_be_opened_leaves_none_open(monkeypatch, tmp_path):
    """The second of two threads has ended before its counter is opened."""
    opened = []

    def of_thread(number, event, thread):
        if opened:
            raise NoCounter("no such process")
        opened.append(os.open(tmp_path, os.O_RDONLY))
        return opened[0]

    for name in ("1", "2"):
        (tmp_path / name).touch()
    monkeypatch.setattr(instructions, "THREADS", tmp_path)
    monkeypatch.setattr(instructions, "SYSCALLS", {instructions.platform.machine(): 0})
    monkeypatch.setattr(instructions, "_opened", of_thread)
    with pytest.raises(NoCounter, match="no such process"), processor_counter(INSTRUCTIONS):
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
