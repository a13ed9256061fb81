"""Rows that measure the same work, taken together: what a row of a table stands on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from metabench.record.cell import Cell
from metabench.record.measurement import STATUSES, Mean, Measurement, Memory
from metabench.record.measurement import Quality as Trained
from metabench.report.render.tables import techniques
from metabench.statistics.ratios import Interval, over_seeds, step_interval, time_interval

TRAINING_AXES = (
    *("preset", "inner_lr", "outer_lr", "outer_decay", "outer_warmup", "iterations"),
    *("eval_steps", "eval_query", "eval_tasks", "batch_norm"),
)
"""Axes that change what is learned, and not what a meta-iteration costs."""
FIRST_ALGORITHMS = ("maml", "fomaml", "reptile", "anil")
REASON_LENGTH = 40  # the whole reason stands in the table of rows that are not ok


@dataclass(frozen=True)
class Peak:
    """A peak of memory, and how it was found."""

    bytes: int
    method: str


@dataclass(frozen=True)
class Bundle:
    """All rounds of all cells that are equal but for axes that do not matter to what is shown.

    Figures come from rows that are ok alone, and none from a cell that was found incorrect in any round.
    """

    cell: Cell
    """The first one's; of what differs inside the bundle nothing may be read from it."""
    rows: tuple[Measurement, ...]
    samples: Mapping[int, Sequence[float]]
    """Seconds per meta-iteration, by round, of all cells together."""
    step: Interval | None
    noisy: bool
    peak: Peak | None
    parameters: int | None

    @property
    def algorithm(self) -> str:
        return str(self.cell.algorithm)

    @property
    def rank(self) -> tuple[Any, ...]:
        """MAML and its kin first, `loop` before other engines."""
        return _rank(self.cell)

    @property
    def sound(self) -> list[Measurement]:
        """The rows whose figures may be shown."""
        return sound_rows(self.rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of its cells."""
        return tuple(sorted({str(row.id) for row in self.rows}))

    def asked_for(self, measure: str) -> bool:
        """Whether any row was to measure `time`, `memory` or `quality`."""
        return any(measure in row.cell.measure for row in self.rows)


@dataclass(frozen=True)
class Quality:
    """How well an implementation does after meta-training, over seeds."""

    metric: str
    score: Interval
    by_step: Mapping[int, Interval]
    seeds: int
    iterations: int
    train_s: float
    """Median over the seeds."""
    batch_norm: str


def time_key(cell: Cell) -> tuple[Any, ...]:
    """Equal for cells whose meta-iterations cost the same."""
    return axes_but(cell, "seed", "measure", *TRAINING_AXES)


def training_key(cell: Cell) -> tuple[Any, ...]:
    """Equal for cells that differ in their seed alone."""
    return axes_but(cell, "seed", "measure")


def axes_but(cell: Cell, *left_out: str) -> tuple[Any, ...]:
    """All axes of a cell but some, as a key. Axes that are not known here take part, so that none is mixed up."""
    return tuple(sorted((name, str(cell[name])) for name in cell.axes if name not in left_out))


def bundles(rows: Iterable[Measurement], key: Callable[[Cell], tuple[Any, ...]]) -> list[Bundle]:
    """The rows in bundles of equal key, in an order that does not depend on the order of measuring."""
    groups: dict[tuple[Any, ...], list[Measurement]] = {}
    for row in rows:
        groups.setdefault(key(row.cell), []).append(row)
    return sorted((_bundle(group) for group in groups.values()), key=lambda bundle: order(bundle.cell))


def order(cell: Cell) -> tuple[Any, ...]:
    """Sizes first, so that matched cells stand together; then MAML and its kin, `loop` before other engines, plain
    cells before techniques."""
    sizes = tuple(cell[axis] for axis in ("ways", "shots", "query", "inner_steps", "meta_batch"))
    return (*sizes, *_rank(cell), techniques(cell), axes_but(cell, "measure"))


def _rank(cell: Cell) -> tuple[Any, ...]:
    name = str(cell.algorithm)
    rank = FIRST_ALGORITHMS.index(name) if name in FIRST_ALGORITHMS else len(FIRST_ALGORITHMS)
    return (rank, name, cell.engine != "loop", cell.engine)


def _bundle(rows: list[Measurement]) -> Bundle:
    sound = sound_rows(rows)
    timed = [(row, row.time) for row in sound if row.time and row.time.step.samples]
    samples: dict[int, list[float]] = {}
    for row, time in sorted(timed, key=lambda pair: (pair[0].round, pair[0].id)):
        samples.setdefault(row.round, []).extend(time.step.samples)
    if len(timed) == 1:
        step: Interval | None = step_interval(timed[0][1].step)
    else:
        step = time_interval(samples)
    peaks = [peak for row in sound if (peak := _peak(row)) is not None]
    return Bundle(
        cell=rows[0].cell,
        rows=tuple(rows),
        samples=samples,
        step=step,
        noisy=any(time.noisy for _, time in timed),
        peak=max(peaks, key=lambda peak: peak.bytes) if peaks else None,
        parameters=next((row.parameters for row in rows if row.parameters is not None), None),
    )


def sound_rows(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows whose figures may be shown."""
    incorrect = {row.id for row in rows if row.status == "incorrect"}
    return [row for row in rows if row.status == "ok" and row.id not in incorrect]


def _peak(row: Measurement) -> Peak | None:
    """Live tensor bytes where they were tracked, else what CUDA's allocator says."""
    memory = row.memory or Memory()
    if memory.tracked_bytes is not None:
        return Peak(memory.tracked_bytes, memory.tracked_method or "tracked tensors")
    if memory.cuda_allocated_bytes is not None:
        return Peak(memory.cuda_allocated_bytes, "CUDA peak allocated")
    return None


def status(bundle: Bundle) -> str:
    """`ok`, or what happened: `oom`, or `timeout (1 of 3 rows)`."""
    bad = [row.status for row in bundle.rows if row.status != "ok"]
    if not bad:
        return "ok"
    words = ", ".join(sorted(set(bad), key=STATUSES.index))
    return words if len(bad) == len(bundle.rows) else f"{words} ({len(bad)} of {len(bundle.rows)} rows)"


def status_and_reason(bundle: Bundle, longest: int = REASON_LENGTH) -> str:
    """The status, and why if it is not ok, in so many characters at most."""
    word = status(bundle)
    reason = next((str(row.reason) for row in bundle.rows if row.status != "ok" and row.reason), "")
    if len(reason) > longest:
        reason = reason[: longest - 1].rstrip() + "…"
    return f"{word}: {reason}" if reason else word


def is_partial(bundle: Bundle) -> bool:
    """Whether some rows gave figures and others failed."""
    return status(bundle) != "ok" and (bundle.step is not None or bundle.peak is not None)


def quality(bundle: Bundle) -> Quality | None:
    """The quality over the seeds of a bundle of one training setting; None where none was measured."""
    parts = list(_quality_by_seed(bundle).values())
    if not parts:
        return None
    steps = set.intersection(*({point.step for point in part.by_step} for part in parts))
    return Quality(
        metric=parts[0].metric,
        score=over_seeds([_score(part) for part in parts]),
        by_step={
            step: over_seeds([_score(point) for part in parts for point in part.by_step if point.step == step])
            for step in sorted(steps)
        },
        seeds=len(parts),
        iterations=parts[0].iterations,
        train_s=median(part.train_s for part in parts),
        batch_norm=", ".join(sorted({part.batch_norm for part in parts})),
    )


def scores_by_seed(bundle: Bundle) -> dict[int, Interval]:
    """The final score of each training seed that has one, with its interval over held-out tasks."""
    return {seed: _score(part) for seed, part in _quality_by_seed(bundle).items()}


def _quality_by_seed(bundle: Bundle) -> dict[int, Trained]:
    return {row.cell.seed: row.quality for row in sound_rows(bundle.rows) if row.quality}


def _score(point: Mean) -> Interval:
    return Interval(point.value, point.low, point.high)


def ids_of(found: Iterable[Bundle | None]) -> tuple[str, ...]:
    """The ids of all cells of some bundles, each once."""
    return tuple(sorted({name for bundle in found if bundle for name in bundle.ids}))


def varying(cells: Sequence[Cell], axes: Iterable[str]) -> list[str]:
    """Those of the axes on which the cells differ."""
    return [axis for axis in axes if len({str(cell[axis]) for cell in cells}) > 1]


def telling_apart(cells: Sequence[Cell], labels: Sequence[str], axes: Sequence[str]) -> list[str]:
    """Those of the axes without which cells of equal `labels` could not be told apart."""
    alike: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        alike.setdefault(tuple(str(cell[label]) for label in labels), []).append(cell)
    found = {axis for same in alike.values() for axis in varying(same, axes)}
    return [axis for axis in axes if axis in found]


def model_sizes(rows: Iterable[Measurement]) -> dict[str, int]:
    """The fewest meta-parameters seen with each model: those of the network, where no algorithm learns more."""
    sizes: dict[str, int] = {}
    for row in rows:
        count, model = row.parameters, row.cell.model
        if count is not None:
            sizes[model] = min(count, sizes.get(model, count))
    return sizes
