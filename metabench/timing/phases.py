"""A mark that a user puts around a part of a step, so that its time is told apart."""

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


class phase:  # noqa: N801 (it reads as a statement: `with phase("inner loop"):`)
    """Context in which the time of a step is that of the named part; without a measurement it does nothing.

    Parts may stand in each other: the time of an inner one is no part of the outer one's.
    """

    __slots__ = ("name", "watch")
    watched: Watch | None = None
    """What notes the parts of a step that is being measured."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.watch: Watch | None = None

    def __enter__(self) -> Self:
        self.watch = phase.watched
        if self.watch is not None:
            self.watch.enter(self.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.watch is not None:
            self.watch.leave()
