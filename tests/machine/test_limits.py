"""Limits on memory: sizes in words, and processes that are held to them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from metabench.errors import Unsupported, UserError
from metabench.machine.limits import limit_memory, parse_size, ran_out

MIB = 1 << 20
THREADS = 16
"""As many as a machine with many cores has: their stacks alone would be more than these tests allow for."""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MiB", 500 * MIB),
        ("1.5GiB", 3 << 29),
        ("2GB", 2_000_000_000),
        ("0.5 kB", 500),
        ("64kib", 64 << 10),
        ("1TiB", 1 << 40),
        (" 7B ", 7),
    ],
)
def test_sizes_of_memory(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "500", "MiB", "-1GB", "1e3MB", "0GB", "0.1B", "1,5GB", "5 PB", "5iB", "٥MB"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="is not a size of memory: .* such as 500MiB"):
        parse_size(text)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
def test_a_process_gets_what_it_may_have_and_no_more():
    """Of 64 MiB a tensor of 48 is given and one of 80 is not, by torch, NumPy and Python alike; lifted, it is."""
    code = f"""
import numpy, torch
from metabench.machine.limits import lift_limit, limit_memory, ran_out
torch.set_num_threads({THREADS})
limit_memory(64 << 20, torch.device("cpu"))
torch.ones(48 << 18)
for ask in (lambda: torch.ones(80 << 18), lambda: numpy.ones(80 << 17), lambda: bytearray(80 << 20)):
    try:
        ask()
    except (RuntimeError, MemoryError) as error:
        print(type(error).__name__, isinstance(error, MemoryError) or ran_out(str(error)))
lift_limit()
print(len(torch.ones(80 << 18)) >> 18)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["RuntimeError", "True"],
        ["MemoryError", "True"],
        ["MemoryError", "True"],
        ["80"],
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
@pytest.mark.parametrize(
    ("free", "group", "processes"), [(100, None, 1), (1000, 100, 1), (200, None, 2)], ids=["system", "group", "shared"]
)
def test_what_is_free_is_never_taken_whole(free, group, processes):
    """Of 100 MiB a tensor of 80 is given, one of 95 is not, and a limit that asks for more does not raise it."""
    code = f"""
import psutil, torch
from types import SimpleNamespace
from metabench.machine import limits as limit
torch.set_num_threads({THREADS})
psutil.virtual_memory = lambda: SimpleNamespace(available={free} << 20)
limit.group_free = lambda: {group} and {group} << 20
limit.spare_the_system({processes})
limit.limit_memory(1 << 30, torch.device("cpu"))
print(len(torch.ones(80 << 18)) >> 18)
try:
    torch.ones(95 << 18)
except RuntimeError as error:
    print(limit.ran_out(str(error)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["80", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
def test_threads_are_started_before_the_limit_so_that_their_stacks_do_not_count():
    """Under a limit of less than one stack, work in all threads starts none."""
    code = f"""
import psutil, torch
from metabench.machine.limits import limit_memory
torch.set_num_threads({THREADS})
values = torch.empty(16 << 18)
limit_memory(4 << 20, torch.device("cpu"))
before = psutil.Process().num_threads()
values.mul_(2)
print(before >= {THREADS}, psutil.Process().num_threads() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]


@pytest.mark.parametrize(("size", "share"), [(2 << 30, 0.25), (100 << 30, 1.0)])
def test_on_cuda_it_is_a_share_of_the_allocator(monkeypatch, size, share):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *arguments: asked.append(arguments))
    limit_memory(size, torch.device("cuda"))
    assert asked == [(share, torch.device("cuda"))]
    with pytest.raises(Unsupported, match="this engine brings its own"):
        limit_memory(size, torch.device("cuda"), foreign=True)


def test_where_the_system_knows_no_such_limit_that_is_said(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="needs Linux: darwin does not hold a process to one"):
        limit_memory(MIB, torch.device("cpu"))


def test_words_for_no_memory():
    assert ran_out("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")
    assert ran_out("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not ran_out("ValueError: memory is a river")
