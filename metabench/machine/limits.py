"""A limit on the memory that this process may take from here on."""

import re
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import psutil
import torch

from metabench.errors import Unsupported, UserError
from metabench.machine.groups import group_free

SIZE = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(?:([KMGT])(i?))?B\s*", re.IGNORECASE)

SPARED = 0.1
"""Share of the free memory that is left to all else: a system without any ends programs, often the wrong one."""

ELEMENTS_A_THREAD = 1 << 15
"""Torch gives a thread at least as many elements of a tensor (`at::internal::GRAIN_SIZE`)."""

OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "std::bad_alloc", "RESOURCE_EXHAUSTED")


def parse_size(text: str) -> int:
    """Bytes of `500MiB` or `2GB`; raises `UserError`."""
    number, letter, binary = found.groups() if (found := SIZE.fullmatch(text)) else ("0", "", "")
    size = int(Decimal(number) * (1024 if binary else 1000) ** (" KMGT".index(letter.upper()) if letter else 0))
    if not size:
        raise UserError(f"'{text}' is not a size of memory: give a number and its unit, such as 500MiB, 2GB or 1.5GiB")
    return size


def status_bytes(field: str) -> int:
    """A size that Linux gives for this process, such as `VmRSS`. Raises OSError, ValueError."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(errors="replace"), re.MULTILINE)
    if found is None:
        raise ValueError(f"no {field}")
    return int(found.group(1)) * 1024


def limit_memory(size: int, device: torch.device, foreign: bool = False) -> None:
    """Let this process take `size` bytes more than it holds now; what asks for more runs out of memory.

    On a processor, the limit is on private writable memory, touched or not. Libraries and what CUDA reserves do not
    count. Torch's threads are started first, so that their stacks do not count either; call `torch.set_num_threads`
    before. A lower limit that holds already stays. On CUDA, the limit is on torch's caching allocator.
    Raises `Unsupported` where there is none, and for `foreign` arrays on CUDA, which another library allocates.
    """
    if device.type == "cuda":
        if foreign:
            raise Unsupported("memory_limit on CUDA is of torch's allocator, and this engine brings its own")
        free_share = size / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, free_share), device)
        return
    if sys.platform != "linux":
        raise Unsupported(f"memory_limit on a processor needs Linux: {sys.platform} does not hold a process to one")
    import resource

    _start_threads()
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (before, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([status_bytes("VmData") + size, *limits]), hard))


def _start_threads() -> None:
    """Make torch start all of its threads, by an operation that is large enough for each to have a part.

    Torch starts them when it first needs them. Each takes a stack, usually of 8 MiB, which the limit would count: on
    many cores there would be no room left for tensors.
    """
    torch.ones(torch.get_num_threads() * ELEMENTS_A_THREAD)


def spare_the_system(processes: int = 1) -> None:
    """Hold this process, one of so many, to its share of the memory that is free now, where the system does that."""
    if sys.platform == "linux":
        free = min(psutil.virtual_memory().available, sys.maxsize if (group := group_free()) is None else group)
        with suppress(OSError, ValueError):  # some sandboxes do not say what a process holds
            limit_memory(int((1 - SPARED) * free / processes), torch.device("cpu"))


def ran_out(message: str) -> bool:
    """Whether a message says that there was no memory left, in the words of torch, C++, the C library or JAX."""
    return any(words in message for words in OUT_OF_MEMORY)


def lift_limit() -> None:
    """Remove the limit on a processor, so that a process that ran out of memory can still report it."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
