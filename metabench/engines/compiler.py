"""The C++ compiler that engines need."""

import os
import shlex
import shutil

from metabench.errors import Unsupported

KNOWN = ("g++", "clang++")
"""Compilers that are looked for, in this order, where CXX names none."""


def compiler(engine: str) -> tuple[str, ...]:
    """The command of the compiler: its path, and the options that CXX gives it.

    Raises `Unsupported`, in the engine's name, where there is none, or not the one that CXX names.
    """
    asked = os.environ.get("CXX", "").strip()
    for command in [_words(asked)] if asked else [(name,) for name in KNOWN]:
        if found := shutil.which(command[0]):
            return found, *command[1:]
    if asked:
        raise Unsupported(f"{engine} needs a C++ compiler, and CXX names '{asked}', which is not found: correct it")
    raise Unsupported(f"{engine} needs a C++ compiler, and there is no g++ and no clang++: install one, or set CXX")


def _words(asked: str) -> tuple[str, ...]:
    """A command as a shell reads it; a path with spaces in it is one word where it leads to a program."""
    if shutil.which(asked):
        return (asked,)
    try:
        return tuple(shlex.split(asked))
    except ValueError:  # a quotation mark without its partner
        return (asked,)
