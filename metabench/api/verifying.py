"""`metabench.verify`: the proofs of algorithms, engines and plug-ins, from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from metabench.api.display import ShownTable
from metabench.api.watching import said
from metabench.api.wording import in_python
from metabench.correctness.outcome import Word
from metabench.correctness.verification import HEADERS, Checked, Chosen, Names, Verdict, choose, lines
from metabench.errors import Unsupported
from metabench.machine.threads import torch_threads
from metabench.report.render.tables import Table
from metabench.sources import refuse_while_loading, use
from metabench.sweep.values import check, check_takers
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.text import counted

if TYPE_CHECKING:
    import pandas as pd

THREADS = 1
"""Threads of torch: all that is tried is so small that several would wait for each other."""
DIRECTION = "direction"
"""The clause of a check of an implementation."""


class Check(NamedTuple):
    """One thing that was tried, and what came of it."""

    name: str
    """Implementation, such as `maml/vmap`; or an algorithm, a model or a task distribution that has a contract."""
    setting: str
    """What it was tried on."""
    clause: str
    """`direction`, or the clause of the contract."""
    word: Word
    """`ok`, `incorrect` or `unsupported`."""
    figure: float
    """Relative error in float64, of a direction against `loop`; of a clause what its reason says, infinite where it has
    no number."""
    reason: str
    """One sentence where the word is not `ok`."""


@dataclass(frozen=True, repr=False)
class Verification(Sequence[Check]):
    """All that was tried, a sequence of `Check`. Notebooks show it as a table, `print` and `repr` as text."""

    found: tuple[Checked, ...]
    """Verdicts on implementations, and what came of each contract."""
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is incorrect."""
        return not self.incorrect

    @property
    def incorrect(self) -> tuple[Check, ...]:
        """Checks that found a mistake."""
        return tuple(check for check in self.checks if check.word == "incorrect")

    def frame(self) -> pd.DataFrame:
        """Give a row for each check: name, setting, clause, word, figure (a relative error, without unit), reason."""
        import pandas as pd

        return pd.DataFrame(self.checks, columns=list(Check._fields))

    def table(self) -> ShownTable:
        """Give the table that the terminal shows: implementations and contracts, and each clause that is broken."""
        rows = tuple(line for each in self.found for line in lines(each))
        says = f"{self._summary} Errors are relative, in float64."
        return ShownTable("Verification", Table("Verification", says, HEADERS, rows))

    def __len__(self) -> int:
        return len(self.checks)

    @overload
    def __getitem__(self, place: int) -> Check: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Check, ...]: ...
    def __getitem__(self, place: int | slice) -> Check | tuple[Check, ...]:
        return self.checks[place]

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    @property
    def _summary(self) -> str:
        tried = sum(check.word != "unsupported" for check in self.checks)
        wrong = len(self.incorrect)
        return f"{wrong} of {counted(tried, 'check')} failed." if wrong else f"All {counted(tried, 'check')} passed."


@in_python()
def verify(
    algorithms: Names = (),
    engines: Names = (),
    *,
    models: Names = (),
    tasks: Names = (),
    path: str | PathLike[str] | None = None,
    split: str | None = None,
    image_size: int | None = None,
    data_dir: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Verification:
    """Prove implementations right, and hold plug-ins to their contracts, as `metabench verify` does.

    Each argument takes a name, a list of names, or `"all"`; a class or a function of yours is named by itself or by its
    path. The direction of each algorithm is held against finite differences of its definition, and each engine against
    `loop`: by default the engines that need no compiler. Models are tried on inputs of the `tasks`, or of all. `path`,
    `split` and `image_size` are axes of tasks of images. Where nothing is named, everything is tried, which takes
    minutes.

    What is wrong is a check whose word is `incorrect`, not an exception. Raises `UserError` for a name that is not
    there.
    """
    refuse_while_loading("metabench.verify")
    use(Path())
    folder = Path(data_dir) if data_dir is not None else None
    given = {"path": None if path is None else fspath(path), "split": split, "image_size": image_size}
    given = {axis: value for axis, value in given.items() if value is not None}
    tried = chosen(algorithms, engines, models, tasks, given, folder)
    found: list[Checked] = []
    with torch_threads(THREADS), said(progress) as say:
        for each in tried.checks(
            folder,
            lambda name, setting: say(f"{counted(len(found), 'check')} done; now {name}: {setting}"),
        ):
            found.append(each)
    return Verification(tuple(found), tuple(check for each in found for check in _checks(each)))


def chosen(
    algorithms: Names, engines: Names, models: Names, tasks: Names, given: Mapping[str, Any], data_dir: Path | None
) -> Chosen:
    """What is to be tried, with the axes that are `given` for tasks. Raises `UserError` for what cannot be found."""
    found = choose(algorithms, engines, models, tasks)
    for axis, value in given.items():
        check(axis, value)
        check_takers(axis, [value], found.inputs if tasks else ())
    for source in () if tasks == "all" or not tasks else map(TASKS.get, found.tasks):
        with suppress(Unsupported):  # its row says so
            if source.axes:
                source.on(EpisodeShape(1, 1, 1), data_dir, given)
    return replace(found, choices=tuple(given.items()))


def _checks(found: Checked) -> Iterator[Check]:
    if isinstance(found, Verdict):
        figure = found.gate.engine_error if found.gate else float("nan")
        yield Check(found.implementation, str(found.setting), DIRECTION, found.word, figure, found.reason)
    elif not found.findings:
        yield Check(found.name, found.setting, "contract", found.word, float("nan"), found.reason)
    else:
        for finding in found.findings:
            yield Check(found.name, found.setting, finding.clause, finding.word, finding.figure, finding.reason)
