"""Torch's profiler, which can run once at a time in a process and writes lines of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.profiler import profile  # torch.profiler's, which wraps it, imports torch's compiler to start


class StartedTwice(Exception):
    """What runs under the profiler starts torch's profiler, too: a second one ends the process with SIGSEGV."""

    def __init__(self) -> None:
        super().__init__("the step starts torch's profiler itself, which can run only once at a time")


def running() -> bool:
    """Whether torch's profiler runs in this thread."""
    return bool(getattr(torch.autograd, "_profiler_enabled", bool)())


@contextmanager
def quiet_kineto() -> Iterator[None]:
    """Keep the profiler from writing lines of its own about starting and stopping to stderr."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "99")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


@contextmanager
def the_only_one() -> Iterator[None]:
    """Have every other start of torch's profiler raise `StartedTwice` meanwhile. Enter it with the profiler running."""

    def refuse(_: Any) -> None:
        raise StartedTwice

    before = profile._prepare_trace
    profile._prepare_trace = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        profile._prepare_trace = before  # type: ignore[method-assign]
