"""Ctrl-C and SIGTERM: the first lets what runs end, the second ends it at once."""

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread, main_thread
from types import FrameType


@contextmanager
def interruptible(
    tell: Callable[[], object], signals: Collection[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
) -> Iterator[Event]:
    """An event that the first of the signals sets; the next raises `KeyboardInterrupt`.

    `tell` is called at the first signal, at once and in a thread of its own: the signal may have come in the middle of
    something being printed. In any thread but the main one, where no signal is heard, the event is never set.
    """
    asked = Event()
    if current_thread() is not main_thread():
        yield asked
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        Thread(target=tell, daemon=True).start()

    before = {number: signal.signal(number, hear) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
