"""What a user is told when something they asked for cannot be done."""

from collections.abc import Iterable
from difflib import get_close_matches

from metabench.text import sentence

LONGEST_NAME = 200
NEAR = 0.5
"""How alike two names are, from 0 to 1, of which one may have been meant for the other."""


class UserError(Exception):
    """A mistake or a missing thing that the user can mend: shown as one sentence, exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))  # it may quote a file or a name that anyone wrote


class Unsupported(Exception):
    """A combination that cannot be run (a model that needs images, on sinusoids): becomes a row, not an error."""


class Incorrect(Exception):
    """An implementation that is not proved right: nothing of it is timed."""


class Diverged(Exception):
    """A direction, a loss or a score that is not finite, where nothing is known to be wrong."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a name that is not in `valid`, with the nearest valid choice."""
    name = name[:LONGEST_NAME]
    return UserError(f"unknown {kind} '{name}': {nearest(name, valid)}")


MEANT = {"gpu": "cuda"}
"""What a name stands for elsewhere, where another valid one is spelt more like it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The nearest valid choice as a question; all of them where none is near."""
    choices = sorted(valid)
    if not choices:
        return "there is nothing to choose from"
    meant = MEANT.get(name.lower())
    near = [meant] if meant in choices else get_close_matches(name, choices, n=1, cutoff=NEAR)
    return f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(choices)}"


def in_short(error: Exception) -> str:
    """One line for a published file: the message, or only its class where it names files of this machine."""
    return type(error).__name__ if "/" in str(error) or not str(error) else str(error).splitlines()[0]
