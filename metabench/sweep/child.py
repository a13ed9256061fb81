"""What processes that measure share: each ends with the one that started it, and writes what it has found so far."""

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import to_builtins

from metabench.sources import digests

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
Record: TypeAlias = Callable[[dict[str, Any]], None]
"""Function that adds a part to what was found so far, and writes all of it."""


def die_with_parent() -> None:
    """Have Linux end this process with its parent, even while native code holds the interpreter's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _follow_parent() -> None:
    """End this process when the parent's end of standard input closes: a killed sweep leaves nothing running."""
    # Not through sys.stdin: a thread inside its buffer aborts the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os._exit(1)


def begin(job_file: Path) -> Any:
    """Tie this process to its parent, and read its job."""
    die_with_parent()
    threading.Thread(target=_follow_parent, daemon=True).start()
    return json.loads(job_file.read_text(encoding="utf-8"))


def recorder(result_file: Path) -> Record:
    """What writes the result of this process, part by part, with the digests of the user's files that it has loaded.

    Whatever ends the process, the parent knows how far it came.
    """
    state: dict[str, Any] = {"status": "crashed", "reason": ""}

    def record(part: dict[str, Any]) -> None:
        part = part | ({"sources": found} if (found := digests()) else {})
        # A number that JSON has no word for raises here: it ends this cell, not the run.
        text = json.dumps(to_builtins(state | part), allow_nan=False)
        state.update(part)
        temporary = result_file.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(result_file)

    return record
