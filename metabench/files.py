"""Files that hold data: read up to a size, written whole or not at all, and never through a link."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, get_args

import msgspec

from metabench.errors import UserError, unknown
from metabench.text import sentence

DATA = Path(__file__).with_name("data")
"""What comes with metabench: sweeps, claims, hardware."""
MEBIBYTE = 1 << 20
T = TypeVar("T", bound=msgspec.Struct)
_WORDS = {"object": "a table", "array": "a list", "float": "a number", "int": "a whole number", "str": "a text"}
_WORDS |= {"bool": "true or false", "null": "nothing"}
_WRONG_CHOICE = re.compile(r"Invalid enum value '(.*)' - at `\$\.(\w+)`", re.DOTALL)
_AS_IT_IS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # neither is on every system


def check_plain(file: Path, most: int) -> None:
    """Raise `UserError` for what is no plain file (a pipe would never end), or has more than `most` bytes.

    A file that does not exist is left to whoever opens it.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"cannot read '{file}': it is not a file")
    if file.exists() and file.stat().st_size > most:
        raise UserError(f"'{file}' is too large: {file.stat().st_size:,} bytes, where at most {most:,} are read")


def read_text(file: Path, most: int) -> str:
    """The text of a file of at most `most` bytes. Raises FileNotFoundError; `UserError` for whatever else is wrong."""
    try:
        check_plain(file, most)
        return file.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark before the text
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read '{file}': it is not text in UTF-8") from None
    except ValueError as error:  # a name that no file can have, with a NUL character in it
        raise UserError(f"cannot read '{file}': {error}") from None


def read_toml(file: Path, most: int, kind: str) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, a `kind` of at most `most` bytes, and what it says. Raises `UserError`."""
    try:
        text = read_text(file, most)
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise UserError(f"there is no {kind} '{file}'") from None
    except ValueError as error:  # not of the syntax alone: a number of thousands of digits, too
        raise UserError(f"'{file.name}' is not valid TOML: {error}") from None
    except RecursionError:
        raise UserError(f"'{file.name}' is not valid TOML: it is nested too deep") from None


def toml_lines(table: Mapping[str, Any]) -> str:
    """A table as lines of TOML, the tables in it inline. Raises `UserError` for what TOML has no word for."""
    return "".join(f"{_toml_key(name)} = {_toml_value(value)}\n" for name, value in table.items())


def _toml_key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return str(value).lower()  # nan and inf are TOML, too
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_toml_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml_key(name)} = {_toml_value(part)}' for name, part in value.items())}}}"
        case _:
            raise UserError(f"a sweep holds numbers, texts, lists and tables, not {type(value).__name__}")


def as_struct(table: Any, kind: type[T], word: str) -> T:
    """A table of a TOML file as a struct, whose names are called a `word`.

    Raises `UserError`, one sentence that names the field, and for a misspelt name or choice the nearest valid one.
    """
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name in table if isinstance(table, dict) else ():
        if name not in fields:
            raise unknown(word, name, fields)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        if found := _WRONG_CHOICE.fullmatch(str(error)):
            choices = [choice for choice in get_args(fields[found[2]]) if choice]
            raise unknown(found[2], found[1], choices) from None
        raise UserError(said_of(error)) from None


def said_of(error: msgspec.ValidationError) -> str:
    """What msgspec says of a value, with the types of TOML and JSON, and where the value is."""
    said, _, place = str(error).partition(" - at `$")
    place = place.removesuffix("`").removeprefix(".")
    said = said.replace("Object missing required field", "it has no").replace("Object contains", "it has an")
    said = said.replace(r"matching regex '\\S'", "that is not blank")
    said = re.sub("`(.*?)`", lambda found: _type_words(found[1]), said)
    said = said[0].lower() + said[1:]
    return sentence(f"'{place}': {said}" if place else said)


def _type_words(types: str) -> str:
    return " or ".join(_WORDS.get(word, f"'{word}'") for word in types.split(" | "))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to '{path}': {error.strerror or error}") from None


@contextmanager
def folder_for_results(folder: Path) -> Iterator[None]:
    """Make a folder before results are measured, so that none is lost; new ones in which nothing came are removed.

    Raises `UserError` when the disk refuses.
    """
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # one that holds something stays, and those above it
            for each in new:
                each.rmdir()


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of `file` once all of it is on disk; else `file` stays as it was.

    A link in its place is replaced, not followed. Raises `UserError` when the disk refuses.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")  # same folder, so that the replacement is atomic
    with writing(file):
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _AS_IT_IS, 0o666), "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file at once or not at all; its folder is made if need be. Raises `UserError`."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        stream.write(content)


def append(file: Path, content: bytes) -> None:
    """Add to the end of a file and wait until it is on disk. Whatever prevents that leaves the file as it was.

    Raises `UserError` when the disk refuses, or for a link.
    """
    with writing(file):
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _AS_IT_IS, 0o666)
        try:
            before = os.fstat(handle).st_size
            try:
                rest = memoryview(content)
                while rest:  # a disk that is almost full takes a part
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            except BaseException:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def expanded(path: str | Path, remedy: str = "write the whole path") -> Path:
    """The path with the folder in the place of `~` or `~someone`. Raises `UserError` where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"there is no home folder for '{path}': {remedy}") from None


def cache_dir() -> Path:
    """METABENCH_CACHE; else metabench/ in XDG_CACHE_HOME; else ~/.cache/metabench. It need not exist.

    Raises `UserError` where it lies in a home that there is not.
    """
    remedy = "set METABENCH_CACHE to the whole path of a folder for the cache"
    if own := os.environ.get("METABENCH_CACHE"):
        return expanded(own, remedy)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return expanded(shared, remedy) / "metabench"
    return expanded("~", remedy) / ".cache" / "metabench"


def make_cache_dir() -> Path:
    """The cache folder, made if need be; raises `UserError` where it cannot be written to."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"the cache folder {folder} cannot be written to: set METABENCH_CACHE to one that can")
    return folder
