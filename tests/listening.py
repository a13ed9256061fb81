"""A listener to runs for tests."""

from typing import Any


class Silent:
    """Listens to a run, keeps what it was warned of, and says nothing."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begin(self, left: Any, done: int, settings: Any, pace: Any = None) -> None:
        self.total, self.done = len(left) + done, done

    def began(self, job: Any) -> None:
        pass

    def lost(self, job: Any) -> None:
        pass

    def finished(self, measurement: Any) -> None:
        pass

    def held(self, measurement: Any, sentence: str) -> None:
        self.warn(sentence)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
