import os
import subprocess
import sys
import time
from collections import namedtuple
from itertools import count

import psutil
import pytest

from metabench.machine import conditions, load
from metabench.machine.load import Load, Look, load_between, load_warning, look

TICKS = 0.2
"""Seconds by which the system's counter of all processes, which goes by clock ticks, may differ from one process's."""


def test_others_are_all_less_ours() -> None:
    first = Look(at=100.0, busy=50.0, stolen=7.0, ours={1: 10.0, 2: 4.0, 3: 5.0})
    # 3 ended, after 0.0625 s more, and 1 has all that it used; 4 began.
    second = Look(at=100.5, busy=51.0, stolen=7.1, ours={1: 10.25 + 5.0625, 2: 4.125, 4: 0.125})
    assert load_between(first, second).others == pytest.approx((1.0 - 0.25 - 0.0625 - 0.125 - 0.125) / 0.5)
    assert load_between(first, second).stolen == pytest.approx(0.2)
    assert load_between(first, Look(100.5, 50.1, 7.0, {1: 19.2})) == Load(0.0, 0.0)  # the clocks tick apart


def test_idle_waiting_stolen_and_guest_time_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    linux = namedtuple("linux", fields)(100.0, 10.0, 20.0, 5000.0, 300.0, 1.0, 2.0, 40.0, 30.0, 5.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: linux)
    found = look()
    assert found.busy == pytest.approx(100 + 10 + 20 + 1 + 2)  # guests are in user and nice already
    assert found.stolen == 40.0
    mac = namedtuple("mac", fields[:4])(100.0, 10.0, 20.0, 5000.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: mac)
    assert (look().busy, look().stolen) == (130.0, 0.0)


def test_a_look_counts_this_process_and_its_children() -> None:
    """Held against what is counted just before and just after each look, since a busy machine may stop at any line."""

    def used() -> float:
        times = psutil.Process(child.pid).cpu_times()
        return times.user + times.system

    spin = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as child:
        try:
            began, outer = time.monotonic(), used()
            first = look()
            inner = used()
            while used() - inner < 0.5:
                time.sleep(0.01)
            inner = used() - inner
            second = look()
            outer, ended = used() - outer, time.monotonic()
        finally:
            child.kill()
    assert set(first.ours) >= {os.getpid(), child.pid}
    assert inner <= second.ours[child.pid] - first.ours[child.pid] <= outer
    assert second.busy - first.busy >= inner - TICKS
    assert second.busy - first.busy <= (psutil.cpu_count() or 1) * (ended - began) + TICKS
    assert began <= first.at < second.at <= ended


def test_a_busy_machine_gives_a_sentence_and_a_quiet_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count(1)

    def pretend() -> Look:
        number = next(looks)
        return Look(at=float(number), busy=0.87 * number, stolen=0.0, ours={})

    monkeypatch.setattr(load, "look", pretend)
    sentence = "other processes use 87 % of a core: timings will be noisy; close them or rerun later"
    assert load_warning(seconds=0.0) == sentence
    assert load_warning(seconds=0.0, threshold=0.9) is None


def test_a_system_that_does_not_tell_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied() -> None:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", denied)
    assert look() is None and load_warning(seconds=0.0) is None
    assert load_between(None, Look(1.0, 1.0, 0.0, {})) is None
    before = conditions.observe()
    assert before.look is None and conditions.disturbances(before, conditions.observe(), None) == []


def test_a_child_that_ended_between_two_looks_is_still_ours() -> None:
    began = sum(os.times()[:4])
    first = look()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    second = look()
    most, me = sum(os.times()[:4]) - began, os.getpid()
    rounding = 0.05
    assert 0.3 - rounding <= second.ours[me] - first.ours[me] <= most + rounding


def test_what_a_child_had_used_before_the_first_look_is_not_used_again_when_it_ends() -> None:
    spin = "import time\nwhile time.process_time() < 0.8: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE) as child:
        while sum(psutil.Process(child.pid).cpu_times()[:2]) < 0.6:
            time.sleep(0.01)
        first, before = look(), sum(os.times()[:2])
    second, after = look(), sum(os.times()[:2])
    assert child.pid in first.ours and child.pid not in second.ours
    ours = sum(second.ours.values()) - sum(first.ours.values())
    assert ours <= after - before + 0.4  # the rest of the child's life, and ticks; all of it is 0.6 more
