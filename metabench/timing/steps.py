"""What can be timed: a function without arguments that does one iteration, or one that returns such a function."""

import inspect
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

from metabench.errors import UserError
from metabench.sources import find, is_path
from metabench.text import one_line

Step: TypeAlias = Callable[[], object]
LAZY = (
    (inspect.isgenerator, "a generator"),
    (inspect.iscoroutine, "a coroutine"),
    (inspect.isasyncgen, "an asynchronous generator"),
)
"""What a function may return that has done none of its work yet, with its name."""
ALONE = "a step is called without arguments, and does one iteration"


def labels(names: list[str]) -> list[str]:
    """Short names that tell steps apart: what stands behind the colon, or the whole name where two are alike."""
    short = [name.rpartition(":")[2] or name for name in names]
    return short if len(set(short)) == len(short) else [one_line(name) for name in names]


def step_named(name: str) -> Step:
    """The function that a name by path stands for. Raises `UserError`."""
    if not is_path(name):
        raise UserError(f"'{name}' does not say where the step is: name a file and a function in it, as in my.py:step")
    try:
        return checked(find(name))
    except UserError as error:
        raise UserError(f"step '{name}': {error}") from None


def checked(found: object) -> Step:
    """Give back what can be called without arguments. Raises `UserError` for anything else."""
    if not callable(found):
        raise UserError(f"it is an object of type {type(found).__name__}, which cannot be called: {ALONE}")
    if missing := _missing(found):
        raise UserError(
            f"it needs {', '.join(missing)}: {ALONE}; wrap it in a function that has its arguments at hand, and name it"
        )
    return found


def _missing(call: Callable[..., Any]) -> list[str]:
    """The arguments that must be given; none where that is not known."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # of some functions in C
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in optional]


class Ready(NamedTuple):
    """What is to be timed, after the first call."""

    step: Step
    made: bool
    """Whether the first call made it, and has not been a step itself."""


def after_first_call(called: Step, result: object) -> Ready:
    """What is timed: what the first call returned, if that can itself be called without arguments, or what was called.

    Raises `UserError` for a result that stands for work which is not done yet.
    """
    for is_lazy, what in LAZY:
        if is_lazy(result):
            raise UserError(f"it returns {what}, whose work is not done when the call returns: {ALONE}")
    own = result.forward if isinstance(result, torch.nn.Module) else result  # a module takes any arguments, to hand on
    if callable(own) and not isinstance(result, type) and not _missing(own):
        return Ready(result, True)  # type: ignore[arg-type]
    return Ready(called, False)


def said_by(error: BaseException, step: object) -> str:
    """A user's own error in one sentence: what was raised, and at which of the user's lines."""
    if isinstance(error, SystemExit):
        said = f"it ends the program (sys.exit({'' if error.code is None else repr(error.code)}))"
    else:
        said = f"{type(error).__name__}: {one_line(str(error)) or 'no message'}"
    return said + _place(error, step)


def _place(error: BaseException, step: object) -> str:
    """The innermost line of the file of the step, or else of any file that is no library's; empty if there is none."""
    every = traceback.extract_tb(error.__traceback__)
    code = getattr(inspect.unwrap(step) if callable(step) else step, "__code__", None)
    own = [frame for frame in every if code is not None and frame.filename == code.co_filename]
    frames = own or [frame for frame in every if not _of_a_library(frame.filename)]
    if not frames:
        return ""
    at = frames[-1]
    return f" ({at.filename.replace(chr(92), '/').rpartition('/')[2]}, line {at.lineno}, in {at.name})"


def _of_a_library(file: str) -> bool:
    """Whether a file belongs to an installed package, to Python or to metabench, by its place."""
    return file.startswith((*_LIBRARIES, "<frozen"))


_LIBRARIES = tuple(
    str(place)
    for place in {
        inspect.getfile(torch).rpartition("/torch/")[0],
        inspect.getfile(inspect).rpartition("inspect")[0],
        __file__.rpartition("timing")[0],
    }
    if place
)
