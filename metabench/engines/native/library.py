"""Compiled libraries: one for each source, compiler and processor, kept in the cache folder."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from metabench.engines.compiler import compiler
from metabench.errors import Unsupported
from metabench.files import cache_dir, make_cache_dir

KEPT_LIBRARIES = "native"
"""Folder within the cache folder: it has a library for each source, compiler and processor."""
DIGEST = 16
"""Digits of the hash of a library that stand in its name: one that was exchanged, or cut off, is compiled anew."""
TARGET = "METABENCH_TARGET"
"""Variable with the processor that is compiled for, in the compiler's words; left out, the one at hand."""
ASSOCIATIVE = ("-fassociative-math", "-fno-signed-zeros")
"""Options that let sums be taken in another order, as all libraries of linear algebra do."""


@lru_cache
def compiled(source: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The library of a source, from the cache folder where it was compiled before by the same compiler for the same
    processor; raises `Unsupported` with the compiler's first complaint."""
    command = [*compiler("native"), *flags, *ASSOCIATIVE, _march()]
    name = hashlib.sha256("\0".join([source, *command, _target(compiler("native"), _march())]).encode()).hexdigest()
    folder = make_cache_dir() / KEPT_LIBRARIES
    kept = next((library for library in folder.glob(f"{name}-*.so") if _is_whole(library)), None)
    if kept is None:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=folder) as place:
            file, library = Path(place) / "iterate.cpp", Path(place) / "iterate.so"
            file.write_text(source, encoding="utf-8")
            result = subprocess.run([*command, str(file), "-o", str(library)], capture_output=True, text=True)
            if result.returncode:
                raise Unsupported(f"the C++ compiler does not take native's code: {_complaint(result.stderr)}")
            kept = library.replace(folder / f"{name}-{_digest(library)}.so")
    return ctypes.CDLL(str(kept))


def _complaint(said: str) -> str:
    """The first error that a compiler reports, and what to do where it is a lack of OpenMP."""
    error = next((line.partition("error: ")[2] for line in said.splitlines() if "error: " in line), "no error is named")
    missing = "openmp" in error or "omp.h" in error
    return error + ("; it lacks OpenMP: install GCC, and set CXX to it" if missing else "")


def _is_whole(library: Path) -> bool:
    """Whether a library is what was compiled: its name ends in the hash of what it held then."""
    return library.stem.endswith(f"-{_digest(library)}")


def _digest(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()[:DIGEST]


def _march() -> str:
    """The option that says which processor is compiled for."""
    return f"-march={os.environ.get(TARGET) or 'native'}"


@lru_cache
def _target(compiler: tuple[str, ...], march: str) -> str:
    """What tells compilers and processors apart: the macros that are defined for this one."""
    command = [*compiler, march, "-E", "-dM", "-x", "c++", "-"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def kept_libraries() -> int:
    """How many compiled libraries the cache folder holds."""
    return sum(1 for _ in (cache_dir() / KEPT_LIBRARIES).glob("*.so"))
