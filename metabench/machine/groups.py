"""What Linux's control groups allow this process: a container's quota of processors and its limit of memory.

A group is below others, and each of them may have a limit of its own: the lowest one holds. Version 1 has a tree of
groups for each kind of limit, and version 2 has one tree for all.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

OWN = "/proc/self/cgroup"
MOUNTS = "/proc/self/mountinfo"
USUAL = "/sys/fs/cgroup"
"""Where the trees are mounted where a system does not say it; in a container, the group itself is often their root."""
MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files with a group's limit of memory and with what it holds, and the word for files not in use in `memory.stat`: of
version 2, and of version 1."""
UNLIMITED = 2**60
"""Version 1 says that memory has no limit by a number beyond this one."""


def read_plain(path: str) -> str | None:
    """The text of a file of the system, without white space around it; None where it cannot be read."""
    with suppress(OSError, ValueError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return None


def quota_cores() -> float | None:
    """Cores that the lowest quota of processor time comes to; None where there is none."""
    found = []
    for folder in _folders("cpu"):
        with suppress(ValueError, ZeroDivisionError):  # a file that holds something else says nothing
            if both := read_plain(f"{folder}/cpu.max"):
                quota, _, period = both.partition(" ")
                found += [] if quota == "max" else [int(quota) / int(period or 100_000)]
            elif quota := read_plain(f"{folder}/cpu.cfs_quota_us") or "":
                found.append(int(quota) / int(read_plain(f"{folder}/cpu.cfs_period_us") or 100_000))
    return min((cores for cores in found if cores > 0), default=None)  # version 1 says "none" by -1


def group_limit() -> int | None:
    """Bytes that the group, or one above it, may hold; None where there is no limit."""
    return min((limit for _, _, limit in _limits()), default=None)


def group_free() -> int | None:
    """Bytes that the group may take beside what it holds; None where there is no limit.

    What it holds of files that are not in use counts as free: the system drops them when memory is wanted.
    """
    found = []
    for folder, (_, use, unused), limit in _limits():
        used = _bytes(read_plain(f"{folder}/{use}")) or 0
        kept = re.search(rf"^{unused} (\d+)$", read_plain(f"{folder}/memory.stat") or "", re.MULTILINE)
        found.append(max(0, limit - max(0, used - (int(kept.group(1)) if kept else 0))))
    return min(found, default=None)


def _limits() -> Iterator[tuple[str, tuple[str, str, str], int]]:
    """The folders of groups with a limit of memory, the names of their files, and the limit in bytes."""
    for folder in _folders("memory"):
        for names in MEMORY:
            limit = _bytes(read_plain(f"{folder}/{names[0]}"))
            if limit is not None and limit < UNLIMITED:
                yield folder, names, limit


def _bytes(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _folders(controller: str) -> list[str]:
    """The folders of this process's group and of all above it, in the trees that have a controller."""
    own = _own_groups()
    found: list[str] = []
    for root, mounted, controllers in _mounts():
        if controllers and controller not in controllers:
            continue
        group = own.get(controller if controllers else "")
        if group is not None:
            found += [f"{mounted}{below}" for below in _upwards(group, root)]
    return list(dict.fromkeys([*found, USUAL, f"{USUAL}/{controller}"]))


def _own_groups() -> dict[str, str]:
    """The group of this process by controller; that of version 2 stands under the empty name."""
    lines = (line.split(":", 2) for line in (read_plain(OWN) or "").splitlines())
    return {name: parts[2] for parts in lines if len(parts) == 3 for name in parts[1].split(",")}


def _mounts() -> Iterator[tuple[str, str, frozenset[str]]]:
    """What group each tree of groups shows as its root, where it is mounted, and its controllers: none in version 2."""
    for line in (read_plain(MOUNTS) or "").splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) > 4 and kind[:1] == ["cgroup2"]:
            yield place[3], place[4], frozenset()
        elif len(place) > 4 and len(kind) > 2 and kind[0] == "cgroup":
            yield place[3], place[4], frozenset(kind[-1].split(","))


def _upwards(group: str, root: str) -> list[str]:
    """The paths of a group and of all above it, below the mount of a tree that shows the group `root` as its root."""
    path = PurePosixPath(group)
    if not path.is_relative_to(root) or ".." in path.parts:  # what is mounted shows another part of the tree
        return [""]
    below = path.relative_to(root)
    return ["" if str(part) == "." else f"/{part}" for part in (below, *below.parents)]
