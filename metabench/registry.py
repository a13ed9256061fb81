"""One small registry for everything that has a name: algorithms, engines, models, task distributions.

A module inside the registry's package registers itself on import, so a new file is all that is needed. A
package outside the tree registers through an entry point of the registry's group: either the object itself
(registered under the entry point's name) or a module that registers what it defines. What is in a file of the
user's own need not be registered: its name says where it is.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from metabench import sources
from metabench.errors import UserError, unknown

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(Generic[T]):
    """Names of one kind and what they stand for, filled on first use."""

    def __init__(self, kind: str, package: str, group: str = "", accept: Callable[[object], T] | None = None) -> None:
        """`accept` makes an entry of what a name by path stands for. Raises `UserError`: what it is, and should be."""
        self.kind = kind
        self.package = package
        self.group = group or package  # the entry-point group has the name of the package
        self.broken: dict[str, str] = {}  # plug-ins that failed to load, and why
        self._accept = accept
        self._entries: dict[str, T] = {}
        self._by_path: dict[str, tuple[object, T]] = {}
        self._homes: dict[str, dict[str, Any]] = {}
        self._origin: dict[str, str] = {}
        self._loaded = False

    def register(self, name: str, origin: str = "") -> Callable[[Registered], Registered]:
        """Decorator that files an object under `name`; the name must be free.

        Without `origin`, the object comes from the distribution of the module that calls this.
        """
        home = sys._getframe(1).f_globals
        origin = origin or _distribution(home["__name__"].partition(".")[0])

        def add(entry: Any) -> Any:
            before = self._homes.setdefault(name, home)
            anew = before is not home and before["__name__"] == home["__name__"]  # its module was loaded again
            if name in self._entries and self._entries[name] is not entry and not anew:
                raise UserError(f"two {self.kind}s are called '{name}': rename one of them")
            self._entries[name], self._homes[name] = entry, home
            self._origin.setdefault(name, origin)
            return entry

        return add

    def get(self, name: str) -> T:
        """The object of that name, or at that path; raises `UserError` with the nearest valid name."""
        self._load()
        if name in self._entries:
            return self._entries[name]
        if self._accept and sources.is_path(name):
            return self._at(name, self._accept)
        if name in self.broken:
            raise UserError(f"{self.kind} '{name}' comes from a package that failed to load: {self.broken[name]}")
        raise unknown(self.kind, name, self._entries)

    def _at(self, name: str, accept: Callable[[object], T]) -> T:
        """The entry for a name by path, made once for what the name stands for."""
        try:
            found = sources.find(name)
            if name not in self._by_path or self._by_path[name][0] is not found:
                self._by_path[name] = found, accept(found)
        except UserError as error:
            raise UserError(f"{self.kind} '{name}': {error}") from None
        return self._by_path[name][1]

    def names(self) -> list[str]:
        """All names: those of the tree by module, then the others in the order in which they were registered."""
        self._load()
        return list(self._entries)

    def known(self) -> dict[str, T]:
        """All objects by name, with those that names by path have given so far."""
        return {**dict(self), **{name: entry for name, (_, entry) in self._by_path.items()}}

    def origin(self, name: str) -> str:
        """The distribution that `name` comes from."""
        self._load()
        return self._origin[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load()
        return iter(list(self._entries.items()))

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        modules = [f"{self.package}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
        for module in modules:
            importlib.import_module(module)
        in_order = sorted(self._entries.items(), key=lambda entry: self._place(entry[0], modules))
        self._entries.clear()
        self._entries.update(in_order)
        for point in entry_points(group=self.group):
            self._load_plugin(point)

    def _place(self, name: str, modules: list[str]) -> int:
        """Where the module of an entry stands in the tree, not when it was imported; entries from elsewhere last."""
        home = self._homes[name]["__name__"]
        return next((n for n, module in enumerate(modules) if f"{home}.".startswith(f"{module}.")), len(modules))

    def _load_plugin(self, point: EntryPoint) -> None:
        # Whatever a plug-in raises must not take the rest of the suite down with it.
        try:
            entry = point.load()
            if not isinstance(entry, ModuleType):
                self.register(point.name, point.dist.name if point.dist else "plug-in")(entry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what ends the interpreter, too, and the panic of an extension
            ended = "" if isinstance(error, Exception) else "it ended the interpreter: "
            self.broken[point.name] = f"{ended}{type(error).__name__}: {error}"


@cache
def _distribution(package: str) -> str:
    """The distribution that names a top-level package in our entry points; the package itself where none does."""
    for distribution in distributions() if package != __package__ else ():
        for point in distribution.entry_points:
            if point.group.startswith(f"{__package__}.") and point.module.partition(".")[0] == package:
                return distribution.name
    return package


def described(found: object) -> str:
    """What an object is, in words, for a message on why it is of the wrong kind."""
    if isinstance(found, ModuleType):
        return "a module"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if inspect.isroutine(found):
        return f"the function {getattr(found, '__name__', '')}"
    return f"an object of type {type(found).__name__}"
