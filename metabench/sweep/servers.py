"""Servers of a run: each forks the processes of a repetition's cells, so that torch is loaded once for all of them."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self, TypeAlias

from metabench.sweep.companions import WORKER, python

START = "import gc; gc.disable(); from metabench.sweep.server import main; main()"
POLL_S = 0.2  # how soon a request to stop is heard
PATIENCE_S = 2.0  # that a server has to end what it runs
LOADING_S = 300.0  # that a server may take to load what it forks


class Server:
    """A process that has loaded torch, with the variables that cells shall have, and forks one cell at a time.

    Its cells share what processes draw at their start: the addresses of libraries, the seed of hashes.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self._process = subprocess.Popen(
            python(START),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=variables,
            start_new_session=True,
            bufsize=0,
        )

    def run(self, folder: Path, limit: float, stop: Event | None, worker: str = WORKER) -> int | None:
        """Run the job of a folder by `main` of the module `worker`; gives the process's exit code.

        It gives None where the time limit ended it.

        Raises `KeyboardInterrupt` once `stop` is set: close the server then, which ends what it runs.
        """
        assert self._process.stdin and self._process.stdout
        order = {"job": "job.json", "result": "result.json", "messages": "messages"}
        files = {name: str(folder / file) for name, file in order.items()}
        line = json.dumps(files | {"limit": limit, "worker": worker})
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
        latest = time.monotonic() + LOADING_S + limit
        while not select.select([self._process.stdout], [], [], POLL_S)[0]:
            if stop and stop.is_set():
                raise KeyboardInterrupt
            if time.monotonic() > latest:
                self._kill()
                return None
        if reply := self._process.stdout.readline():
            code: int | None = json.loads(reply)
            return code
        # The server itself has ended, and with it what it ran.
        self._messages.seek(0)
        with (folder / "messages").open("ab") as messages:
            messages.write(self._messages.read())
        return self._process.wait()

    @property
    def serves(self) -> bool:
        """Whether it can run a cell."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server, and what it runs."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._process.stdout.close()
        self._messages.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


Lend: TypeAlias = Callable[[Mapping[str, str]], AbstractContextManager[Server]]
"""Function that lends a server whose cells have those variables of the environment."""


class Servers:
    """Servers by repetition: a repetition never has one that another one had, or its times would depend on each other.

    Cells of a repetition that have the same variables share a server; those that run side by side have one each.
    """

    def __init__(self) -> None:
        self._idle: list[Server] = []
        self._repetition: Hashable = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close_all()

    def of(self, repetition: Hashable) -> Lend | None:
        """What lends servers to the cells of a repetition; None where processes cannot safely be forked."""
        return partial(self._lent, repetition) if sys.platform == "linux" else None

    @contextmanager
    def _lent(self, repetition: Hashable, variables: Mapping[str, str]) -> Iterator[Server]:
        server = self._taken(repetition, variables) or Server(variables)
        try:
            yield server
        except BaseException:
            server.close()
            raise
        with self._lock:
            if server.serves and repetition == self._repetition:
                self._idle.append(server)
                return
        server.close()

    def _taken(self, repetition: Hashable, variables: Mapping[str, str]) -> Server | None:
        with self._lock:
            if repetition != self._repetition:
                self._close_all()
                self._repetition = repetition
            found = next((server for server in self._idle if server.variables == variables and server.serves), None)
            if found:
                self._idle.remove(found)
            return found

    def _close_all(self) -> None:
        while self._idle:
            self._idle.pop().close()
