"""A mark that a user puts around a part of a step, so that its time is told apart."""

from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self


class Watch(Protocol):
    """What notes the beginning and the end of a part, such as `metabench.measure.marks.Marks`."""

    def enter(self, phase: str) -> None:
        """Begin a part."""
        ...

    def leave(self) -> None:
        """End the part that began last."""
        ...


WATCHED: ContextVar[Watch | None] = ContextVar("watched", default=None)
"""What notes the parts of a step that is being measured. Each thread has its own, and only the step's has one."""


class phase:  # noqa: N801 (it reads as a statement: `with phase("inner loop"):`)
    """Context in which the time of a step is that of the named part; without a measurement it does nothing.

    Parts may stand in each other: the time of an inner one is no part of the outer one's. In a thread that the step
    starts, it does nothing: parts divide the time of the thread that called the step.
    """

    __slots__ = ("name", "watch")

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"phase takes the name of a part, and not {name!r}")
        self.name = name
        self.watch: Watch | None = None

    def __enter__(self) -> Self:
        self.watch = WATCHED.get()
        if self.watch is not None:
            self.watch.enter(self.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.watch is not None:
            self.watch.leave()
