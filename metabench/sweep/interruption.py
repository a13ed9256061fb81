"""Ctrl-C and SIGTERM: the first lets what runs end, the second ends it at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def interruptible(go_on: str) -> Iterator[Event]:
    """An event that the first signal sets, with `go_on` on standard error; the next raises `KeyboardInterrupt`."""
    asked = Event()
    sentence = f"stopping when what runs has ended; interrupt again to end it at once. {go_on}"

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, f"\nmetabench: {sentence}\n".encode())  # whatever was being printed, this cannot wait for it

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
