"""`metabench.load`, and what it and `metabench.run` give: the results of run folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metabench.api.wording import in_python
from metabench.errors import UserError, nearest
from metabench.report.results import Run, read_run

if TYPE_CHECKING:
    import pandas as pd

    from metabench.api.display import ShownAnswer, ShownFigure, ShownTable
    from metabench.record.environment import Environment
    from metabench.record.measurement import Measurement
    from metabench.report.document import Document

WIDTH = 110  # characters of the text of an answer
MOST_NAMED = 5

# What analyses a run loads SciPy, and a frame pandas: `load` must not wait for them.


def load(folders: str | PathLike[str] | Iterable[str | PathLike[str]]) -> Results:
    """Read a run folder, or several as one: no ratio mixes their machines, and equal cells are further repetitions.

    Raises `UserError`: no such folder, no measurements in it, a newer schema.
    """
    given = [folders] if isinstance(folders, (str, PathLike)) else folders
    try:
        places = tuple(map(Path, given))
    except TypeError:
        raise UserError(f"load takes a run folder, or several, not {folders!r}") from None
    if not places:
        raise UserError("load takes at least one run folder")
    runs = [read_run(place) for place in places]
    if len(runs) == 1:
        return Results(places, runs[0])
    from metabench.report.merge import merged

    return Results(places, merged(runs))


class Results:
    """What was measured. Notebooks show its answer, with tables; `print` gives what the terminal prints."""

    def __init__(self, folders: Sequence[Path], run: Run) -> None:
        self.folders = tuple(folders)
        """Run folders that were read."""
        self.run = run
        """Rows and environment, typed; the names below derive from it."""

    @property
    def folder(self) -> Path:
        """Run folder. Raises `UserError` for results of several folders: see `folders`."""
        if len(self.folders) > 1:
            raise UserError(f"these results are of {len(self.folders)} folders: take .folders")
        return self.folders[0]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Rows of `measurements.jsonl`, typed: one for each configuration and repetition, failed ones included."""
        return self.run.measurements

    @property
    def environment(self) -> Environment:
        """Machine, versions and revision of metabench, as `environment.json` has them."""
        return self.run.environment

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what makes figures doubtful: other programs, noise, a data set that stood in for another."""
        return self._document.warnings

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences on what failed, one for each kind; empty where everything is ok."""
        return self.answer.answer.failures

    def frame(self, per: Literal["repetition", "configuration"] = "repetition") -> pd.DataFrame:
        """Give all rows as a tidy pandas frame, failed ones included: their `status` is not `ok`, `reason` says why.

        There is a row for each configuration and repetition, as in `results.csv`; or one for each configuration, with
        `step_s` in place of `step_median_s`, and all repetitions in its 95 % interval from `step_low_s` to
        `step_high_s`. Names of columns end in their unit; `attrs["units"]` has it for every column that has one, and
        `attrs["meaning"]` says what each column is.
        """
        from metabench.report.columns import MEANINGS, UNITS
        from metabench.report.frames import configurations_frame, to_frame

        if per not in ("repetition", "configuration"):
            raise UserError(f"frame takes per='repetition' or per='configuration', not {per!r}")
        frame = to_frame(self.run) if per == "repetition" else configurations_frame(self.run)
        if len(self.folders) > 1 and per == "repetition":
            frame.insert(2, "run", [row.run for row in self.measurements])
        frame.attrs = {
            "units": {name: UNITS[name] for name in frame.columns if name in UNITS},
            "meaning": {name: MEANINGS[name] for name in frame.columns if name in MEANINGS},
        }
        return frame

    @property
    def answer(self) -> ShownAnswer:
        """What the terminal prints at the end of a run: its question, matched tables and conclusions."""
        from metabench.api.display import ShownAnswer
        from metabench.report.render.terminal import answer_text

        found = self._document.answer
        assert found is not None  # a run has one
        return ShownAnswer(found, answer_text(self._document, None, WIDTH))

    @cached_property
    def tables(self) -> tuple[ShownTable, ...]:
        """All tables of the report, in its order."""
        from metabench.api.display import ShownTable

        return tuple(ShownTable(part.title, table) for part in self._document.sections for table in part.tables)

    def table(self, name: str) -> ShownTable:
        """Give the table of that title, or that section, if it has one alone; the beginning of a title is enough.

        Raises `UserError` where no table or more than one is meant: it names those that there are.
        """
        wanted = name.casefold()
        titles = [(each.title.casefold(), each) for each in self.tables]
        sections = [(each.section.casefold(), each) for each in self.tables]
        for names in (titles, sections):
            found = [each for own, each in names if own == wanted]
            found = found or [each for own, each in names if own.startswith(wanted)]
            if len(found) == 1:
                return found[0]
            if found:
                listed = "; ".join(f"'{each.title}'" for each in found[:MOST_NAMED])
                more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
                raise UserError(f"{len(found)} tables are called '{name}': {listed}{more}")
        raise UserError(f"there is no table '{name}': {nearest(name, {each.section for each in self.tables})}")

    @cached_property
    def figures(self) -> tuple[ShownFigure, ...]:
        """All figures of the report, in its order."""
        from metabench.api.display import ShownFigure
        from metabench.report.figures import figures

        return tuple(map(ShownFigure, figures(self.run)))

    def figure(self, name: str) -> ShownFigure:
        """Give the figure of that name, such as `pareto` or `engines`.

        Raises `UserError` where the run has nothing for it, with the nearest name that there is.
        """
        found = {each.name: each for each in self.figures}
        if name not in found:
            raise UserError(f"there is no figure '{name}': {nearest(name, found)}")
        return found[name]

    @in_python()
    def report(self, out: str | PathLike[str] | None = None) -> Path:
        """Write report.html, tables.md, tables.tex, CSVs and plots/, and give the path of report.html.

        They are written into the run folder, or into `out`. Results of several folders need an `out` that is new: all
        their rows are written there, too, as `metabench merge` does. Raises `UserError` where nothing can be written.
        """
        from metabench.report.merge import merge
        from metabench.report.write import write_report

        place = Path(out) if out is not None else self.folder
        if len(self.folders) > 1:
            merge(self.folders, place)
        write_report(place if len(self.folders) > 1 else self.folder, place)
        return place / "report.html"

    def __len__(self) -> int:
        return len(self.measurements)

    def __str__(self) -> str:
        return str(self.answer)

    def __repr__(self) -> str:
        return f"{self.answer}\n\nResults of {', '.join(map(str, self.folders))}: {len(self)} rows"

    def _repr_html_(self) -> str:
        return self.answer._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.answer._repr_markdown_()

    @cached_property
    def _document(self) -> Document:
        from metabench.report.document import document

        return document(self.run)
