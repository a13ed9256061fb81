"""Sentences in the words of Python: an option of the command is an argument there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from metabench.errors import UserError

ARGUMENTS = {"--resume": "resume=True", "--out": "out", "--set": "set", "--only": "only", "--data-dir": "data_dir"}
OPTION = re.compile(r"(?<![\w/-])(" + "|".join(ARGUMENTS) + r")(?![\w-])")


@contextmanager
def in_python() -> Iterator[None]:
    """Raise a `UserError` of the body with arguments in place of the options that it names."""
    try:
        yield
    except UserError as error:
        error.args = (OPTION.sub(lambda found: ARGUMENTS[found[0]], str(error)),)
        raise
