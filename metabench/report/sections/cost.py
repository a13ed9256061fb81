"""What an algorithm costs against MAML, and what it gives for it: a table for each setting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    Quality,
    bundles,
    ids_of,
    model_sizes,
    quality,
    status_and_reason,
    telling_apart,
    time_key,
    training_key,
    varying,
)
from metabench.report.noise import NoiseFloor, ratio_text, same_notes
from metabench.report.numbers import NOTHING, bytes_text, duration_text, exact, quality_text, time_text
from metabench.report.render.tables import (
    TECHNIQUE_AXES,
    Section,
    Table,
    axis_word,
    setting,
    technique_text,
    techniques,
    without_empty_columns,
)
from metabench.report.sections.device import TITLES, device_columns, device_notes
from metabench.statistics.ratios import ratio_interval

REFERENCE = "maml"
GROUP_AXES = ("task", "ways", "shots", "model", "engine", "device", "precision", "threads", "world_size", "machine")
"""One table for each combination of these."""
TECHNIQUES = tuple(axis for axis in TECHNIQUE_AXES if axis not in GROUP_AXES)
OWN_AXES = ("outer", *TRAINING_AXES)
"""Each algorithm has its own; shown only where they alone tell two rows apart."""
NOISY = " (noisy)"
UNMATCHED = " †"
_OWN_COLUMNS = {"Cost": ("iterations",), "Cost and quality": ("iterations", "batch_norm")}
"""What tells rows apart without a column of its own among the settings: quality's columns say it."""
METRIC_WORDS = {"accuracy": "accuracy", "mse": "MSE"}


@dataclass(frozen=True)
class _Line:
    """A row of a table: whose status and quality, whose time and memory."""

    own: Bundle
    cost: Bundle
    quality: Quality | None


_Column: TypeAlias = tuple[str, Callable[[_Line], str]]


def cost_section(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> Section:
    """For each setting: the cells that were to measure quality, their quality step by step, and all other cells."""
    cost = {time_key(bundle.cell): bundle for bundle in bundles(rows, time_key)}
    groups: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in bundles(rows, training_key):
        groups.setdefault(tuple(bundle.cell[axis] for axis in GROUP_AXES), []).append(bundle)
    sizes = model_sizes(rows)
    with_quality: list[Table] = []
    without: list[Table] = []
    for group in sorted(groups.values(), key=lambda group: _group_order(group[0].cell, sizes)):
        keys = {time_key(bundle.cell): None for bundle in group}
        asking = [
            _Line(bundle, cost[time_key(bundle.cell)], quality(bundle))
            for bundle in group
            if bundle.asked_for("quality")
        ]
        shown = {time_key(line.own.cell) for line in asking}
        others = [_Line(cost[key], cost[key], None) for key in keys if key not in shown]
        references = [cost[key] for key in keys if cost[key].algorithm == REFERENCE]
        if asking:
            with_quality.append(_table("Cost and quality", asking, references, data, floor))
            with_quality += _by_step(asking, data)
        if others:
            without.append(_table("Cost", others, references, data, floor))
    return Section("Cost and quality", (*with_quality, *without))


def _group_order(cell: Cell, sizes: Mapping[str, int]) -> tuple[Any, ...]:
    engine = cell.engine
    size = sizes.get(cell.model, 0)
    rest = tuple(str(cell[axis]) for axis in GROUP_AXES)
    return (cell.task, cell.ways, cell.shots, size, cell.model, engine != "loop", engine, rest)


def _table(
    kind: str,
    lines: Sequence[_Line],
    references: Sequence[Bundle],
    data: Mapping[str, str],
    floor: NoiseFloor | None,
) -> Table:
    sizes = _size_axes(lines[0].own.cell)
    cells = [line.own.cell for line in lines]
    changing = varying(cells, sizes)
    fixed = [axis for axis in sizes if axis not in changing]
    # a row without a match is rather divided by what stands in the same table
    references = sorted(references, key=lambda other: all(line.cost is not other for line in lines))
    own = [axis for axis in _own_axes(cells, changing) if axis not in _OWN_COLUMNS[kind]]
    columns: list[_Column] = [("algorithm", lambda line: line.own.algorithm), *_technique_column(cells)]
    columns += [(axis_word(axis), _axis_value(axis)) for axis in (*changing, *own)]
    columns += [
        ("status", lambda line: status_and_reason(line.own)),
        ("step time", lambda line: step_text(line.cost)),
        (f"time ÷ {REFERENCE}", lambda line: _against(line, references, sizes, partial(time_ratio, floor=floor))),
        *device_columns(_sound),
        ("peak memory", lambda line: bytes_text(line.cost.peak.bytes) if line.cost.peak else NOTHING),
        (f"memory ÷ {REFERENCE}", lambda line: _against(line, references, sizes, memory_ratio)),
    ]
    if kind == "Cost and quality":
        columns += _quality_columns(lines)
    body = [[text(line) for _, text in columns] for line in lines]
    titles = [title for title, _ in columns]
    droppable = ("step time", f"time ÷ {REFERENCE}", *TITLES, "peak memory", f"memory ÷ {REFERENCE}", "batch norm")
    kept, shown = without_empty_columns(titles, body, droppable)
    title = f"{kind}: {setting(lines[0].own.cell, (*GROUP_AXES, *fixed), data)}"
    timed = any(line.cost.step for line in lines)
    says = "Time of one meta-iteration with its 95 % interval; ratios are formed within a round." if timed else ""
    ids = tuple(ids_of((line.own, line.cost, _reference(line, references, sizes)[0])) for line in lines)
    return Table(title, says, kept, shown, tuple(_notes(lines, references, sizes, shown)), ids)


def _sound(line: _Line) -> list[Measurement]:
    return line.cost.sound


def _size_axes(cell: Cell) -> list[str]:
    """What must be equal for two algorithms to be matched, beyond the table's own setting."""
    left_out = {"algorithm", "seed", "measure", *GROUP_AXES, *OWN_AXES, *TECHNIQUES}
    return [axis for axis in cell.axes if axis not in left_out]


def _own_axes(cells: Sequence[Cell], shown: Sequence[str]) -> list[str]:
    """Settings of training that tell two rows apart."""
    return telling_apart(cells, ("algorithm", *TECHNIQUES, *shown), OWN_AXES)


def _technique_column(cells: Sequence[Cell]) -> list[_Column]:
    """Only where any row uses a technique."""
    if not any(techniques(cell, TECHNIQUES) for cell in cells):
        return []
    return [("technique", lambda line: technique_text(line.own.cell, TECHNIQUES))]


def _axis_value(axis: str) -> Callable[[_Line], str]:
    return lambda line: str(line.own.cell[axis])


def step_text(bundle: Bundle) -> str:
    """The time of a meta-iteration with its interval, and whether it is noisy."""
    return time_text(bundle.step) + (NOISY if bundle.noisy else "") if bundle.step else NOTHING


def _reference(line: _Line, references: Sequence[Bundle], sizes: Sequence[str]) -> tuple[Bundle | None, bool]:
    """What a row is divided by, and whether it is matched; an unmatched one only where there is no matched one."""
    cell = line.cost.cell
    plain = _plain(references)
    if line.cost.algorithm == REFERENCE and (not plain or not techniques(cell, TECHNIQUES)):
        return line.cost, True
    axes = sizes if plain else (*sizes, *TECHNIQUES)
    matched = [other for other in plain or references if all(other.cell[axis] == cell[axis] for axis in axes)]
    if matched:
        return next((other for other in matched if other.cell.outer == cell.outer), matched[0]), True
    return _unmatched(references), False


def _plain(references: Sequence[Bundle]) -> list[Bundle]:
    """Those without a technique: what all rows are divided by, if there are any."""
    return [other for other in references if not techniques(other.cell, TECHNIQUES)]


def _unmatched(references: Sequence[Bundle]) -> Bundle | None:
    return next((other for other in _plain(references) or references if other.samples), None)


def _against(
    line: _Line, references: Sequence[Bundle], sizes: Sequence[str], ratio: Callable[[Bundle, Bundle], str]
) -> str:
    reference, matched = _reference(line, references, sizes)
    text = ratio(line.cost, reference) if reference else NOTHING
    return text if matched or text == NOTHING else text + UNMATCHED


def time_ratio(bundle: Bundle, reference: Bundle, floor: NoiseFloor | None) -> str:
    """How many times as long one takes as the other, formed within rounds, with its interval."""
    if bundle is reference:
        return "1" if bundle.samples else NOTHING
    ratio = ratio_interval(bundle.samples, reference.samples)
    return ratio_text(ratio, floor) if ratio else NOTHING


def memory_ratio(bundle: Bundle, reference: Bundle) -> str:
    """How many times as much memory one takes as the other, if both were measured alike."""
    if bundle.peak is None or reference.peak is None or bundle.peak.method != reference.peak.method:
        return NOTHING
    if bundle is reference:
        return "1"
    return exact(bundle.peak.bytes / reference.peak.bytes) if reference.peak.bytes else NOTHING


def _quality_columns(lines: Sequence[_Line]) -> list[_Column]:
    metrics = {line.quality.metric for line in lines if line.quality}
    word = METRIC_WORDS.get(min(metrics), min(metrics)) if len(metrics) == 1 else "quality"

    def of(text: Callable[[Quality], str]) -> Callable[[_Line], str]:
        return lambda line: text(line.quality) if line.quality else NOTHING

    return [
        (word, of(lambda q: quality_text(q.score, q.metric))),
        ("seeds", _seeds),
        ("iterations", lambda line: str(line.quality.iterations if line.quality else line.own.cell.iterations)),
        ("training", of(lambda q: duration_text(q.train_s))),
        ("batch norm", lambda line: line.quality.batch_norm if line.quality else _axis_value("batch_norm")(line)),
    ]


def _seeds(line: _Line) -> str:
    wanted = len({row.cell.seed for row in line.own.rows if "quality" in row.cell.measure})
    found = line.quality.seeds if line.quality else 0
    return str(found) if found == wanted else f"{found} of {wanted}"


def _notes(
    lines: Sequence[_Line], references: Sequence[Bundle], sizes: Sequence[str], shown: Sequence[Sequence[str]]
) -> list[str]:
    notes = []
    fallback = _unmatched(references)
    if fallback and any(text.endswith("†") for row in shown for text in row):
        at = setting(fallback.cell, sizes, {})
        notes.append(f"† not matched: divided by {REFERENCE} at {at}.")
    notes += same_notes(shown)
    if any(line.quality and line.quality.seeds > 1 for line in lines):
        notes.append("Quality: the mean over training seeds; ± holds how seeds differ and that tasks are a sample.")
    elif any(line.quality for line in lines):
        notes.append("Quality: of one training seed; ± holds that held-out tasks are a sample, not how seeds differ.")
    methods = dict.fromkeys(line.cost.peak.method for line in lines if line.cost.peak)
    if methods:
        notes.append(f"Peak memory of one meta-iteration, by: {'; '.join(methods)}.")
    notes += device_notes(row for line in lines for row in line.cost.sound)
    own = varying([line.own.cell for line in lines], OWN_AXES)
    if own:
        words = ", ".join(axis_word(axis) for axis in own)
        notes.append(f"Not the same in all rows (see results.csv): {words}.")
    return notes


def _some(steps: Sequence[int]) -> list[int]:
    """All steps up to ten, then every tenth: a table of all would be too wide to read."""
    return [step for step in steps if step <= 10 or step % 10 == 0]


def _by_step(lines: Sequence[_Line], data: Mapping[str, str]) -> list[Table]:
    """Quality after each inner step of the held-out tasks' adaptation, where there is more than one."""
    found = [(line, line.quality) for line in lines if line.quality and len(line.quality.by_step) > 1]
    if not found:
        return []
    steps = _some(sorted({step for _, measured in found for step in measured.by_step}))
    cells = [line.own.cell for line, _ in found]
    changing = varying(cells, _size_axes(cells[0]))
    changing += _own_axes(cells, changing)
    technique = _technique_column(cells)
    rows = tuple(
        (
            line.own.algorithm,
            *(text(line) for _, text in technique),
            *(str(line.own.cell[axis]) for axis in changing),
            *(
                quality_text(measured.by_step[step], measured.metric) if step in measured.by_step else NOTHING
                for step in steps
            ),
        )
        for line, measured in found
    )
    metrics = " / ".join(dict.fromkeys(METRIC_WORDS.get(m.metric, m.metric) for _, m in found))
    return [
        Table(
            f"Quality by adaptation step: {setting(cells[0], GROUP_AXES, data)}",
            f"{metrics} on held-out tasks after 0, 1, … inner steps.",
            (
                *("algorithm", *(title for title, _ in technique)),
                *(axis_word(axis) for axis in changing),
                *(str(step) for step in steps),
            ),
            rows,
            cells=tuple(line.own.ids for line, _ in found),
        )
    ]
