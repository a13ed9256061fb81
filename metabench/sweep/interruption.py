"""Ctrl-C and SIGTERM: the first lets what runs end, the second ends it at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType


@contextmanager
def interruptible(tell: Callable[[], object]) -> Iterator[Event]:
    """An event that the first signal sets; the next raises `KeyboardInterrupt`.

    `tell` is called at the first signal, at once and in a thread of its own: the signal may have come in the middle of
    something being printed.
    """
    asked = Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        Thread(target=tell, daemon=True).start()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
