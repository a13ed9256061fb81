"""A process that has loaded what cells need, and forks one for each: loading torch takes longer than a small cell.

It reads orders from its standard input, a JSON document a line, and writes an exit code for each to its standard
output. It runs no operator of torch and loads no plug-in: when it forks, it has no CUDA context and no threads, but
those of BLAS in NumPy, which gives them up around a fork.
"""

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from metabench.sweep.child import die_with_parent
from metabench.sweep.companions import WORKER

REGISTRIES = ("algorithms", "engines", "models", "tasks")
LATER = ("sympy",)
"""Modules that torch imports in the course of a first gradient under `vmap`."""


def main() -> None:
    """Serve until standard input closes."""
    die_with_parent()
    for package in REGISTRIES:
        for module in pkgutil.iter_modules(importlib.import_module(f"metabench.{package}").__path__):
            importlib.import_module(f"metabench.{package}.{module.name}")
    importlib.import_module(WORKER)
    for name in LATER:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # the collectors of cells need not look through all that
    replies = os.dup(1)
    os.dup2(2, 1)
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(told)
    with open(0, "rb", buffering=0, closefd=False) as orders:
        while line := orders.readline():
            code = _run(json.loads(line), (ended, told, replies))
            os.write(replies, f"{json.dumps(code)}\n".encode())
    os._exit(0)  # to take torch apart takes a third of a second, and nothing is left to be written


def _run(order: dict[str, Any], ours: tuple[int, int, int]) -> int | None:
    """Run the process of a cell; give its exit code, minus a signal's number, or None where it was ended from here.

    It is ended at its time limit, and where standard input closes. What is left of its group is ended with it: a cell
    may have started processes of its own.
    """
    listening, held = os.pipe()  # the process ends itself when the other end of its standard input closes
    process = os.fork()
    if not process:
        _become(order, listening, (held, *ours))
    os.close(listening)
    by_itself = _ends_by_itself(process, order["limit"], ours[0])
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)  # it may have had no time to make a group
    _, status = os.waitpid(process, 0)
    os.close(held)
    return os.waitstatus_to_exitcode(status) if by_itself else None


def _ends_by_itself(process: int, limit: float, ended: int) -> bool:
    """Wait for a process; gives whether it ended before the time limit, and before standard input closed.

    It still waits to be collected then, so that nobody else has its number. `ended` can be read when a process has
    ended.
    """
    deadline = time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([0, ended], [], [], left)
        if ended in ready:
            os.read(ended, 1024)
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        if 0 in ready:  # nothing is ordered meanwhile
            return False
    return False


def _become(order: dict[str, Any], listening: int, others: tuple[int, ...]) -> NoReturn:
    """Be the process of a cell, right after the fork."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(listening, 0)
        messages = os.open(order["messages"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(messages, 1)
        os.dup2(messages, 2)
        for descriptor in (listening, messages, *others):
            os.close(descriptor)
        sys.argv = ["", order["job"], order["result"]]
        gc.enable()
        importlib.import_module(order["worker"]).main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)
