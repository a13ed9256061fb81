"""Standard output and standard error that may be closed, full, or of an encoding that lacks characters."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from metabench.errors import UserError

READER_GONE = 141
"""The exit code of a command whose output nobody reads any more: 128 and the number of SIGPIPE, as a shell has it."""


class OutputLost(UserError):
    """What a command has to show cannot be written: the disk is full, the stream is closed, the reader is gone."""


class ReaderGone(OutputLost):
    """The program that read what a command shows has ended, as `head` does."""


class _Output(io.FileIO):
    """Standard output: that it cannot be written is told once, by an exception that nobody takes for another."""

    lost = False

    def write(self, data: Any) -> int:
        try:
            return len(data) if self.lost else super().write(data)
        except OSError as error:
            self.lost = True
            kind = ReaderGone if error.errno == errno.EPIPE else OutputLost
            raise kind(f"cannot write to standard output: {error.strerror or error}") from None


class _Messages(io.FileIO):
    """Standard error: what cannot be written is left out, since it must not end a run of hours."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def guard_output() -> None:
    """Have standard output and standard error replace characters that they lack, and fail as said above.

    Raises `OutputLost` where standard output is closed from the start: nothing has been measured then.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    else:
        sys.stderr = _guarded(sys.stderr, _Messages)
    if sys.stdout is None:
        # Otherwise the next file to be opened would take its number, and get whatever a library prints.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        raise OutputLost("standard output is closed: send it to a file, or to /dev/null")
    sys.stdout = _guarded(sys.stdout, _Output)


def _guarded(stream: Any, kind: type[io.FileIO]) -> Any:
    """A stream to the same file that replaces what its encoding lacks; one that is no file stays as it is."""
    try:
        number = stream.fileno()
    except (OSError, AttributeError):
        return stream
    buffer = io.BufferedWriter(kind(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, stream.encoding, "replace", line_buffering=stream.line_buffering)
