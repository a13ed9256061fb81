"""Imports from one folder of a user's: each file is compiled from the bytes that are hashed, and nothing is written."""

import importlib
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from metabench.errors import UserError

SUFFIX = ".py"


class OwnModules(MetaPathFinder):
    """The modules of a folder, found for files of the folder and for nobody else: no library gets a user's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests: dict[str, str] = {}
        """SHA-256 of each loaded file, by its name relative to the folder."""
        self._names: set[str] = set()

    def load(self, name: str) -> ModuleType:
        """The module of that name, of the folder if it has one, or else an installed one.

        Raises `UserError` where both are there; ImportError; whatever the module raises.
        """
        if self.file_of(name):
            self._make_room(name)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        return importlib.import_module(name)

    def forget(self) -> None:
        """Let all files be loaded anew by whoever asks for them next."""
        for name in self._names:
            sys.modules.pop(name, None)
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def relative(self, file: str | Path) -> str | None:
        """The name of a file relative to the folder; None for a file outside of it."""
        return Path(file).relative_to(self.folder).as_posix() if Path(file).is_relative_to(self.folder) else None

    def file_of(self, name: str) -> Path | None:
        """The file of the folder that is the module of that name, if there is one."""
        base = self.folder.joinpath(*name.split("."))
        files = (base.with_name(f"{base.name}{SUFFIX}"), base / f"__init__{SUFFIX}")
        ours = name.partition(".")[0] == __package__  # in a clone of it, too
        return None if ours else next((file for file in files if file.is_file()), None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The file or the folder of that name, where a file of the folder imports it."""
        own, directory = self.file_of(fullname), self.folder.joinpath(*fullname.split("."))
        if not self._asks() or not (own or directory.is_dir()):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        place = next((spec.origin for spec in found if spec and spec.origin), None)
        if own and place and not _same(place, own):
            raise self._taken(own)
        if not own and place:
            return None
        self._names.add(fullname)
        if own:
            return spec_from_file_location(fullname, own, loader=_Loader(fullname, str(own), self))
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(directory)]
        return spec

    def _asks(self) -> bool:
        """Whether an import is by a file of the folder, or by `load`."""
        return _importer() in {*self._names, __name__}

    def _make_room(self, name: str) -> None:
        """Take what somebody else has loaded from the same files out of the way. Raises `UserError` for any other."""
        parts = name.split(".")
        for part in (".".join(parts[: end + 1]) for end in range(len(parts))):
            if part in self._names or part not in sys.modules:
                continue
            own = self.file_of(part) or self.folder.joinpath(*part.split("."))
            there = sys.modules[part]
            places = [getattr(there, "__file__", None), *getattr(there, "__path__", ())]
            if not any(place and _same(place, own) for place in places):
                raise self._taken(own)
            del sys.modules[part]

    def _taken(self, own: Path) -> UserError:
        return UserError(
            f"'{self.relative(own)}' has the name of a module of Python or of an installed package: rename it"
        )


class _Loader(SourceFileLoader):
    """Loads a file from the bytes that are hashed: no compiled copy is read or written."""

    def __init__(self, name: str, file: str, of: OwnModules) -> None:
        super().__init__(name, file)
        self._of = of

    def get_code(self, fullname: str) -> CodeType:
        content = Path(self.path).read_bytes()
        self._of.digests[str(self._of.relative(self.path))] = sha256(content).hexdigest()
        code: CodeType = self.source_to_code(content, self.path)
        return code


def _importer() -> str:
    """Name of the module by which the caller's caller is asked, without those of the import system."""
    frame: FrameType | None = sys._getframe(3)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == "importlib":
        frame = frame.f_back
    return frame.f_globals.get("__name__", "") if frame else ""


def _same(one: str, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()
