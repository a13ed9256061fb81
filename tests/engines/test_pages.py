"""The memory that compiled functions work in, and the pages that it lies in."""

import mmap
import re
from pathlib import Path

import pytest
import torch

from metabench.engines import pages
from metabench.engines.pages import LARGE, working_memory
from metabench.machine.fingerprint import LARGE_PAGES

DOUBLE = torch.zeros((), dtype=torch.float64)
MAPPINGS = Path("/proc/self/smaps")
"""What Linux says of each stretch of this process's memory."""


def tells():
    """Whether the system has large pages, and says which memory they are wanted for."""
    return Path(LARGE_PAGES).exists() and MAPPINGS.exists() and "VmFlags" in MAPPINGS.read_text()


def flags_at(address):
    """The flags of the stretch in which an address lies."""
    for stretch in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", MAPPINGS.read_text()):
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", stretch):
            start, end = (int(bound, 16) for bound in bounds.groups())
            if start <= address < end:
                return re.search(r"(?m)^VmFlags:(.*)$", stretch)[1].split()
    raise AssertionError("the address lies nowhere")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("numbers", [0, 1, 4 * LARGE // 8, 9 * LARGE // 8 + 3])
def test_it_is_all_zero_and_can_be_written_to(numbers, dtype):
    memory = working_memory(numbers, torch.zeros((), dtype=dtype))
    assert memory.shape == (numbers,) and memory.dtype == dtype and not memory.any()
    assert memory.data_ptr() % 64 == 0
    memory.fill_(2)
    assert memory.sum() == 2 * numbers


@pytest.mark.skipif(not tells(), reason="only Linux tells, where it was built with large pages")
def test_large_pages_are_asked_for_where_there_is_much_memory():
    much, little = working_memory(LARGE, DOUBLE), working_memory(1000, DOUBLE)
    assert "hg" in flags_at(much.data_ptr() + LARGE)
    assert "hg" not in flags_at(little.data_ptr())


def test_a_system_without_them_gives_its_own(monkeypatch):
    class Refusing(mmap.mmap):
        def madvise(self, *arguments):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(pages.mmap, "mmap", Refusing)
    assert not working_memory(LARGE, DOUBLE).any()
    monkeypatch.delattr(pages.mmap, "MADV_HUGEPAGE", raising=False)
    monkeypatch.setattr(pages.mmap, "mmap", None)
    assert not working_memory(LARGE, DOUBLE).any()
