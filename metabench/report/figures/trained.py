"""What was meta-trained and judged in a run, setting by setting: what the figures of quality are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metabench.record.cell import DISTRIBUTION, Cell, varying
from metabench.record.quality import Quality as Judged
from metabench.report.axes import JUDGED, LINE_TECHNIQUES, TRAINING_AXES
from metabench.report.bundles import Bundle, by_axes, ending, telling_apart, time_key
from metabench.report.figures.style import Look, looks_of
from metabench.report.render.tables import axis_word, setting
from metabench.report.results import Run
from metabench.report.scores import Quality, judged, quality

MOST_DOTS = 5
"""Training seeds that a figure shows one by one."""
TASK = (*DISTRIBUTION, "ways", "shots")
GROUP_AXES = (*TASK, *JUDGED, "device", "precision", "world_size", "machine")
"""Axes of which each combination of values has a panel of its own."""
SIZES = ("model", "engine", "inner_steps", "meta_batch", "query", "train_ways", "train_shots", "threads")
TOLD = (*LINE_TECHNIQUES, *SIZES, *TRAINING_AXES, "outer")
"""What may tell two trainings of an algorithm apart; what is said with fewest words stands first."""


@dataclass(frozen=True)
class Trained:
    """An algorithm as it was meta-trained."""

    name: str
    """The algorithm, and what tells this training from another of it."""
    bundle: Bundle
    cost: Bundle
    """All rows whose meta-iterations cost the same."""
    quality: Quality

    @property
    def algorithm(self) -> str:
        return self.bundle.algorithm

    @property
    def dots(self) -> Mapping[int, Judged]:
        """What each training seed gave, to be drawn as a dot; empty of one seed, and of more than can be told apart."""
        found = {seed: row.quality for seed, row in sorted(judged(self.bundle).items()) if row.quality}
        return found if 1 < len(found) <= MOST_DOTS else {}

    @property
    def cells(self) -> str:
        """Ids of what was measured, with spaces between."""
        return " ".join(dict.fromkeys(row.id for row in self.bundle.rows))


@dataclass(frozen=True)
class TrainedSetting:
    """All that was judged on the same tasks."""

    title: str
    """The tasks that are judged."""
    sizes: str
    """What else all have in common."""
    metric: str
    trained: tuple[Trained, ...]
    failed: tuple[str, ...]
    """What has no quality, though it was asked for, and why."""

    @property
    def note(self) -> str:
        """What all have in common, with what failed."""
        return f"{self.sizes}. No figure: {', '.join(self.failed)}" if self.failed else self.sizes

    @property
    def heading(self) -> str:
        """The title, with what stands below it."""
        return f"{self.title}, {self.note}"


def trained_settings(run: Run) -> list[TrainedSetting]:
    """Every setting in which something was judged."""
    cost = {time_key(bundle.cell): bundle for bundle in run.timed}
    found = []
    for group in by_axes([bundle for bundle in run.trained if bundle.asked_for("quality")], GROUP_AXES):
        group.sort(key=lambda bundle: bundle.rank)
        names = _names(group)
        scored = [(name, bundle, quality(bundle)) for name, bundle in zip(names, group, strict=True)]
        trained = tuple(Trained(name, b, cost[time_key(b.cell)], q) for name, b, q in scored if q)
        metrics = {one.quality.metric for one in trained}
        if len(metrics) == 1:
            failed = tuple(f"{name} ({ending(bundle)})" for name, bundle, q in scored if not q)
            found.append(TrainedSetting(*_titles(trained, run.data_names), metrics.pop(), trained, failed))
    return found


def trained_looks(run: Run, trained: Sequence[Trained]) -> dict[str, Look]:
    """The look of each training, by its name: the algorithm's, hollow where a word tells it from another of that."""
    looks = looks_of(run).algorithms
    return {one.name: looks[one.algorithm].hollowed(one.name != one.algorithm) for one in trained}


def _titles(trained: Sequence[Trained], data: Mapping[str, str]) -> tuple[str, str]:
    cells = [one.bundle.cell for one in trained]
    common = [axis for axis in ("model", "engine") if not varying(cells, (axis,))]
    threads = [axis for axis in ("threads",) if not varying(cells, (axis,))]
    where = [axis for axis in GROUP_AXES if axis not in TASK]
    return setting(cells[0], TASK, data), setting(cells[0], (*common, *where, *threads), data)


def _names(group: Sequence[Bundle]) -> list[str]:
    """The algorithm of each, and the fewest axes that tell it from others of that algorithm."""
    names = []
    for bundle in group:
        alike = [other.cell for other in group if other.algorithm == bundle.algorithm]
        axes = telling_apart(alike, ("algorithm",), TOLD)
        alone = next((axis for axis in axes if len({str(cell[axis]) for cell in alike}) == len(alike)), None)
        told = [setting_of(bundle.cell, axis) for axis in ([alone] if alone else axes)]
        names.append(", ".join([bundle.algorithm, *(word for word in told if word)]))
    return names


def setting_of(cell: Cell, axis: str) -> str:
    """One axis of a cell in words; nothing for what goes without saying."""
    if axis == "preset":
        return str(cell[axis])
    if axis == "iterations":
        return f"{cell[axis]:,} iterations"
    return setting(cell, (axis,), {}) if cell[axis] is not None else f"no {axis_word(axis)}"
