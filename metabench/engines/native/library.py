"""Compiled libraries: one for each source, compiler and processor, kept in the cache folder."""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from metabench.engines.compiler import compiler
from metabench.errors import Unsupported
from metabench.files import cache_dir, make_cache_dir, writing
from metabench.machine.limits import ran_out

KEPT_LIBRARIES = "native"
"""Folder within the cache folder: it has a library for each source, compiler and processor."""
DIGEST = 16
"""Digits of the hash of a library that stand in its name: one that was exchanged, or cut off, is compiled anew."""
TARGET = "METABENCH_TARGET"
"""Variable with the processor that is compiled for, in the compiler's words; left out, the one at hand."""
UNFINISHED = ".compile-"
"""What the names of folders begin with in which a compiler is at work."""
ABANDONED_S = 24 * 3600
"""Seconds after which no compiler is at work in such a folder any more."""
NO_MEMORY = ("Killed", "out of memory", "virtual memory exhausted")
"""What compilers say where the system had no memory for them."""
OPENMP = re.compile(r"openmp|\bomp\.h|-l[gi]?omp", re.IGNORECASE)
"""What compilers and linkers say where there is no OpenMP for them."""
ASSOCIATIVE = ("-fassociative-math", "-fno-signed-zeros")
"""Options that let sums be taken in another order, as all libraries of linear algebra do."""


@lru_cache
def compiled(source: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The library of a source, from the cache folder where it was compiled before by the same compiler for the same
    processor; raises `Unsupported` with the compiler's first complaint, MemoryError, and `UserError` where the cache
    folder takes no library."""
    command = [*compiler("native"), *flags, *ASSOCIATIVE, _march()]
    name = hashlib.sha256("\0".join([source, *command, _target(compiler("native"), _march())]).encode()).hexdigest()
    kept = next((each for each in (cache_dir() / KEPT_LIBRARIES).glob(f"{name}-*.so") if _is_whole(each)), None)
    return ctypes.CDLL(str(kept or _compile(source, command, name)))


def _compile(source: str, command: list[str], name: str) -> Path:
    """Compile a source, and keep the library in the cache folder; raises as `compiled` does."""
    folder = make_cache_dir() / KEPT_LIBRARIES
    with writing(folder):
        folder.mkdir(exist_ok=True)
        _remove_unfinished(folder)
        place = tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder)
    with place:
        file, library = Path(place.name) / "iterate.cpp", Path(place.name) / "iterate.so"
        with writing(folder):
            file.write_text(source, encoding="utf-8")
        variables = {**os.environ, "LC_ALL": "C", "TMPDIR": place.name}
        result = subprocess.run(
            [*command, str(file), "-o", str(library)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
        )
        if result.returncode:
            with writing(folder):
                _raise_for(result.returncode, result.stderr)
        with writing(folder):
            return library.replace(folder / f"{name}-{_digest(library)}.so")


def _remove_unfinished(folder: Path) -> None:
    """Remove what a compiler has left that was killed."""
    for place in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):  # another process may remove it, too
            if time.time() - place.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(place)


def _raise_for(code: int, said: str) -> NoReturn:
    """Raise for what a compiler said that ended with that exit code.

    MemoryError and OSError are for what the system lacks, and `Unsupported` has the first error, or the last line.
    """
    if code == -signal.SIGKILL or ran_out(said) or any(words in said for words in NO_MEMORY):
        raise MemoryError("the C++ compiler ran out of memory while it compiled native's code")
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in said:
            raise OSError(number, os.strerror(number))
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [f"it says nothing, and ends with {code}"]
    complaint = next((line.partition("error: ")[2] for line in lines if "error: " in line), lines[-1])
    advice = "; it lacks OpenMP: install GCC, and set CXX to it" if OPENMP.search(said) else ""
    raise Unsupported(f"the C++ compiler does not take native's code: {complaint}{advice}")


def _is_whole(library: Path) -> bool:
    """Whether a library is what was compiled: its name ends in the hash of what it held then."""
    with suppress(OSError):  # it was removed, or may not be read
        return library.stem.endswith(f"-{_digest(library)}")
    return False


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
