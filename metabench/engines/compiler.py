"""The C++ compiler that engines need."""

import os
import shutil

from metabench.errors import Unsupported


def compiler(engine: str) -> str:
    """Path of the compiler; raises `Unsupported`, in the engine's name, where there is none."""
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if found is None:
        raise Unsupported(f"{engine} needs a C++ compiler, and there is no g++ and no clang++: install one, or set CXX")
    return found
