"""Names by path, `FILE.py:NAME` or `MODULE:NAME`: things in files of the user's own, and the digests of these files.

Files are looked for in one folder, that of the sweep. The environment says which one it is, so that every process of
a run finds the same.
"""

import contextlib
import os
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from metabench.errors import LONGEST_NAME, UserError, nearest
from metabench.importing import SUFFIX, OwnModules

VARIABLE = "METABENCH_SOURCES"
"""Variable of the environment that names the folder."""


def is_path(name: str) -> bool:
    """Whether a name says where something is, and not what it is called."""
    return ":" in name or name.endswith(SUFFIX)


def folder() -> Path:
    """The folder in which files are looked for: the current one, unless `use` named another."""
    return Path(os.environ.get(VARIABLE) or Path.cwd())


def use(place: Path) -> None:
    """Look for files in a folder from now on, in this process and in those that it starts; load them anew.

    Raises `UserError` where the current folder is asked for, and was removed.
    """
    try:
        os.environ[VARIABLE] = str(place.absolute())
    except FileNotFoundError:
        raise UserError("the current folder was removed: change to another one") from None
    _forget()


def variables() -> dict[str, str]:
    """What the environment of a process elsewhere must hold, so that it finds the same files."""
    return {VARIABLE: str(folder().absolute())}


def find(name: str) -> object:
    """What a name by path stands for: the same object until the files are loaded anew. Raises `UserError`."""
    own = _own()
    if len(name) > LONGEST_NAME:
        raise UserError(f"it has more than {LONGEST_NAME} characters")
    if name not in _found:
        where, _, attribute = name.rpartition(":")
        _found[name] = _attribute(own, where, attribute)
    return _found[name]


def path_of(found: object) -> str:
    """The name by path, `MODULE:NAME`, of a class or a function. Raises `UserError` for anything that has none."""
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", "")
    if not module or not name.isidentifier():
        raise UserError("only classes and functions at the top of a file have a name: give that, as in FILE.py:NAME")
    return f"{module}:{name}"


def refuse_while_loading(call: str) -> None:
    """Raise `UserError` where a file that is being loaded by name begins what would load it again."""
    if _loading:
        guard = 'if __name__ == "__main__":'
        raise UserError(f"'{_loading[-1]}' calls {call} while it is loaded by name: put the call below {guard}")


def digests() -> dict[str, str]:
    """The SHA-256 of each file that was loaded from the folder, by its name relative to the folder."""
    return dict(sorted(_own().digests.items()))


def digest_of(file: Path) -> str | None:
    """The SHA-256 of a file as it is now; None where it cannot be read."""
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


_modules = OwnModules(Path())
_loading: list[str] = []
"""Files and modules that are being loaded by name."""
_found: dict[str, object] = {}


def _own() -> OwnModules:
    """The modules of the folder; nothing of another folder is kept."""
    if _modules.folder != folder():
        _forget()
    return _modules


def _forget() -> None:
    global _modules
    _modules.forget()
    _found.clear()
    _modules = OwnModules(folder())


def _attribute(own: OwnModules, where: str, attribute: str) -> object:
    if not where.strip() or not attribute.strip():
        file = where or attribute
        raise UserError(f"add a name that stands in it, as in {file if file.endswith(SUFFIX) else 'FILE.py'}:NAME")
    module = _load(own, _module_name(own, where) if where.endswith(SUFFIX) else where, where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UserError(f"'{where}' has no '{attribute}': {nearest(attribute, names)}") from None


def _module_name(own: OwnModules, where: str) -> str:
    """The module that a file of the folder is. Raises `UserError` where there is no such file."""
    path = Path(os.path.normpath(own.folder / where))
    if not path.is_relative_to(own.folder):
        raise UserError(f"the file is outside of {_shown(own.folder)}, and files are loaded from there alone")
    relative = path.relative_to(own.folder)
    if not (own.folder / relative).is_file():
        if f"{SUFFIX}:" in where:
            raise UserError("it names several things: give each by itself")
        folder = Path(relative.as_posix().replace("\\", "/")).parent
        names = [(folder / name).as_posix() for name in _python_files(own.folder / folder)] or _python_files(own.folder)
        raise UserError(f"there is no file '{where}' in {_shown(own.folder)}: {nearest(where, names)}")
    parts = relative.with_suffix("").parts
    if odd := next((part for part in parts if "." in part), None):
        raise UserError(f"'{odd}' has a dot in its name, which no module can have: rename it")
    return ".".join(parts)


def _python_files(place: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(file.name for file in place.iterdir() if file.suffix == SUFFIX)
    return []


def _shown(place: Path) -> str:
    here = Path.cwd()
    if place == here:
        return "the current folder"
    return f"'{place.relative_to(here) if place.is_relative_to(here) else place}'"


def _load(own: OwnModules, name: str, where: str) -> ModuleType:
    """The module of that name. Raises `UserError`, whatever the module does."""
    _loading.append(where)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a command prints is for its reader alone
            return own.load(name)
    except (UserError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}.") and not own.file_of(name):
            names = [file.removesuffix(SUFFIX) for file in _python_files(own.folder)]
            place = f"neither a file of {_shown(own.folder)} nor an installed module"
            raise UserError(f"'{name}' is {place}: {nearest(name, names)}") from None
        raise UserError(_failure(own, where, error)) from None
    except BaseException as error:  # what ends the interpreter, too, and the panic of an extension
        raise UserError(_failure(own, where, error)) from None
    finally:
        _loading.pop()


def _failure(own: OwnModules, where: str, error: BaseException) -> str:
    """The line at which a file cannot be loaded, and why."""
    if isinstance(error, SyntaxError):
        return (
            f"line {error.lineno} of '{own.relative(error.filename or '') or where}' is not valid Python: {error.msg}"
        )
    frames = traceback.extract_tb(error.__traceback__)
    at = next((frame for frame in reversed(frames) if own.relative(frame.filename)), None)
    place = f"line {at.lineno} of '{own.relative(at.filename)}'" if at else f"'{where}'"
    if isinstance(error, SystemExit):
        return f"{place} ends the program"
    return f"{place} raises {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
