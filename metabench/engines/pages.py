"""Memory that compiled functions work in, in large pages where the system has them.

A processor remembers where a few thousand pages lie, and looks all others up in tables. Networks on images work in
hundreds of MiB: 200 MiB are fifty thousand pages of 4 KiB, and a hundred of 2 MiB.
"""

import mmap
from contextlib import suppress

import torch
from torch import Tensor

from metabench.files import MEBIBYTE

LARGE = 2 * MEBIBYTE
"""Bytes of a large page, on most processors."""
FEWEST = 4
"""Large pages from which on they are asked for: what takes less, a processor finds as fast in small ones."""


def working_memory(numbers: int, like: Tensor) -> Tensor:
    """Zeros of a tensor's type, on its device: many of them in large pages, where the system has such."""
    size = numbers * like.element_size()
    if size < FEWEST * LARGE or like.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_zeros(numbers)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # of a kernel that was built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype)
