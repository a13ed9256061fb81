"""Quotas and limits of control groups, from file trees that are made up: both versions, own group, and those above."""

from collections.abc import Mapping

import pytest

from metabench.machine import groups
from metabench.machine.groups import group_free, group_limit, quota_cores

V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = """
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V1_OWN = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice"
HOST = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
"""A container without a name space of its own: it sees its group as the root, and its path as the host has it."""
V1_CPU, V1_MEMORY = "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"


def quota(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    """A quota of version 1."""
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


def files_are(monkeypatch: pytest.MonkeyPatch, mounts: str, own: str, files: Mapping[str, str]) -> None:
    told = {groups.MOUNTS: mounts, groups.OWN: own, **files}
    monkeypatch.setattr(groups, "read_plain", told.get)


@pytest.mark.parametrize(
    ("mounts", "own", "files", "cores"),
    [
        # version 2: the group at the root, as in a container; the process's own; one above it; the lowest of several
        (V2, "0::/", {"/sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (V2, "0::/", {"/sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (V2, "0::/a.slice/job.scope", {"/sys/fs/cgroup/a.slice/job.scope/cpu.max": "150000 100000"}, 1.5),
        (V2, "0::/a.slice/job.scope", {"/sys/fs/cgroup/a.slice/cpu.max": "400000 200000"}, 2.0),
        (
            V2,
            "0::/a.slice/job.scope",
            {
                "/sys/fs/cgroup/a.slice/job.scope/cpu.max": "max 100000",
                "/sys/fs/cgroup/a.slice/cpu.max": "300000 100000",
                "/sys/fs/cgroup/cpu.max": "800000",
            },
            3.0,
        ),
        # another group's quota is none of ours
        (V2, "0::/a.slice/job.scope", {"/sys/fs/cgroup/a.slice/other.scope/cpu.max": "100000 100000"}, None),
        (V2, "0::/../other", {"/sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        # version 1
        (V1, V1_OWN, quota(V1_CPU, 200_000), 2.0),
        (V1, V1_OWN, quota(V1_CPU, -1), None),
        (V1, V1_OWN, quota(f"{V1_CPU}/docker/abc", 200_000) | quota(V1_CPU, -1), 2.0),
        (V1, V1_OWN, quota(f"{V1_CPU}/docker/abc", 400_000) | quota(f"{V1_CPU}/docker", 50_000, 50_000), 1.0),
        (HOST, "2:cpu:/docker/abc", quota("/sys/fs/cgroup/cpu", 250_000), 2.5),
        # nothing is told of mounts or groups: the usual places; and files that hold something else
        ("", "", quota("/sys/fs/cgroup/cpu", 200_000), 2.0),
        ("", "", {"/sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        ("damaged", "damaged", {"/sys/fs/cgroup/cpu.max": "many", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "few"}, None),
        ("", "", {"/sys/fs/cgroup/cpu.max": "1 0"}, None),
        ("", "", {}, None),
    ],
)
def test_the_lowest_quota_of_a_process_and_of_the_groups_above_it_holds(
    monkeypatch: pytest.MonkeyPatch, mounts: str, own: str, files: dict[str, str], cores: float | None
) -> None:
    files_are(monkeypatch, mounts, own, files)
    assert quota_cores() == cores


@pytest.mark.parametrize(
    ("mounts", "own", "files", "limit"),
    [
        (V2, "0::/", {"/sys/fs/cgroup/memory.max": "max"}, None),
        (V2, "0::/", {"/sys/fs/cgroup/memory.max": "2147483648"}, 2 << 30),
        (V2, "0::/job", {"/sys/fs/cgroup/job/memory.max": "4096", "/sys/fs/cgroup/memory.max": "8192"}, 4096),
        (V1, V1_OWN, {f"{V1_MEMORY}/memory.limit_in_bytes": "9223372036854771712"}, None),
        (V1, V1_OWN, {f"{V1_MEMORY}/docker/abc/memory.limit_in_bytes": "2048"}, 2048),
        ("", "", {f"{V1_MEMORY}/memory.limit_in_bytes": "1024"}, 1024),
        ("", "", {}, None),
    ],
)
def test_a_group_may_have_less_memory(
    monkeypatch: pytest.MonkeyPatch, mounts: str, own: str, files: dict[str, str], limit: int | None
) -> None:
    files_are(monkeypatch, mounts, own, files)
    assert group_limit() == limit


@pytest.mark.parametrize(
    ("mounts", "own", "folder", "names"),
    [
        (V2, "0::/a.slice/job.scope", "/sys/fs/cgroup/a.slice", ("max", "current", "inactive_file")),
        (V1, V1_OWN, f"{V1_MEMORY}/docker/abc", ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")),
    ],
)
def test_what_a_group_holds_is_not_free_but_for_files_not_in_use(monkeypatch, mounts, own, folder, names):
    limit, use, unused = names
    files = {f"{folder}/memory.{limit}": "4000", f"{folder}/memory.{use}": "3000"}
    stat = {f"{folder}/memory.stat": f"anon 2000\n{unused} 700\nx_{unused} 9\nactive_file 200"}
    for more, free in (({}, 1000), (stat, 1700), ({f"{folder}/memory.{use}": "5000"}, 0)):
        files_are(monkeypatch, mounts, own, files | more)
        assert group_free() == free
    files_are(monkeypatch, mounts, own, {f"{folder}/memory.{use}": "3000"})
    assert group_free() is None
