"""How many threads a cell has by default, and how long they spin."""

import os
import subprocess
import sys

import psutil
import pytest

from metabench.machine import cores, groups
from metabench.machine.cores import (
    ASKED_BY,
    OWN_CHOICE,
    available_cores,
    bounded_spinning,
    default_threads,
    threads_asked_for,
)
from metabench.machine.groups import quota_cores
from metabench.sweep.process import worker_environment


@pytest.mark.parametrize(
    ("physical", "usable", "quota", "expected"),
    [(8, 16, None, 8), (8, 4, None, 4), (8, 16, 1.5, 1), (8, 16, 0.5, 1), (48, 48, 2.0, 2), (None, 3, None, 3)],
)
def test_cores_are_those_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, usable: int, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: physical)
    monkeypatch.setattr(cores, "usable_cores", lambda: usable)
    monkeypatch.setattr(cores, "quota_cores", lambda: quota)
    assert available_cores() == expected


@pytest.mark.parametrize(
    "files",
    [
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        {groups.OWN: "0::/a/job.scope", "/sys/fs/cgroup/a/job.scope/cpu.max": "200000 100000",
         groups.MOUNTS: "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"},
    ],
)  # fmt: skip
def test_a_quota_of_two_on_a_machine_of_48_cores_gives_two_threads(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 48)
    monkeypatch.setattr(cores, "usable_cores", lambda: 48)
    monkeypatch.setattr(groups, "read_plain", files.get)
    for name in ASKED_BY:
        monkeypatch.delenv(name, raising=False)
    assert (quota_cores(), default_threads()) == (2.0, 2)


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"MKL_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": " 4,2 "}, 4),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": ""}, None),
    ],
)
def test_the_environment_may_ask_for_threads(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], threads: int | None
) -> None:
    assert threads_asked_for(variables) == threads
    for name in ASKED_BY:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cores, "available_cores", lambda: 7)
    assert default_threads() == (threads or 7)


@pytest.mark.parametrize(("limit", "threads"), [("2", 2), ("64", 7), ("0", 7), ("few", 7), ("", 7)])
def test_there_are_no_more_threads_than_the_limit_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, limit: str, threads: int
) -> None:
    for name in ASKED_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    monkeypatch.setattr(cores, "available_cores", lambda: 7)
    assert default_threads() == threads


def test_a_worker_has_all_the_threads_that_its_row_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("OMP_THREAD_LIMIT", "1"), ("OMP_DYNAMIC", "true")):
        monkeypatch.setenv(name, value)
    variables = worker_environment(3)
    assert variables["OMP_NUM_THREADS"] == "3"
    assert not {"OMP_THREAD_LIMIT", "OMP_DYNAMIC"} & set(variables)


def test_a_worker_spins_for_so_long_unless_the_user_has_said_how_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OWN_CHOICE:
        monkeypatch.delenv(name, raising=False)
    bounded = {name: worker_environment(2).get(name) for name in OWN_CHOICE}
    assert bounded == {"OMP_WAIT_POLICY": None, **bounded_spinning({})}
    assert bounded["GOMP_SPINCOUNT"] == "5000" and bounded["KMP_BLOCKTIME"] == "1"
    for name, value in (("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "7"), ("KMP_BLOCKTIME", "0")):
        monkeypatch.setenv(name, value)
        assert {name: worker_environment(2).get(name) for name in OWN_CHOICE if name in worker_environment(2)} == {
            name: value
        }
        monkeypatch.delenv(name)


@pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU's OpenMP on Linux")
def test_the_variables_of_a_worker_reach_openmp_before_torch_starts_its_threads() -> None:
    """OpenMP prints what it goes by when it is loaded, which torch does."""
    variables = {name: value for name, value in os.environ.items() if name not in OWN_CHOICE}
    found = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env={**variables, **bounded_spinning(variables), "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in found.stderr:
        pytest.skip("torch has another OpenMP here")
    assert "GOMP_SPINCOUNT = '5000'" in found.stderr
