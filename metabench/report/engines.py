"""How much faster each engine is than `loop`, the reference, and how far from it its direction is."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    bundles,
    is_partial,
    model_sizes,
    status,
    telling_apart,
    time_key,
    varying,
)
from metabench.report.figures import NOTHING, error_text, time_text, with_interval
from metabench.report.ratios import ratio_interval
from metabench.report.tables import PARTIAL, PARTIAL_NOTE, Section, Table, axis_word, setting
from metabench.rows import Row

LOOP = "loop"
GROUP_AXES = ("task", "ways", "shots", "query", "device", "precision", "threads")
NO_LOOP = "no time of loop"
Line: TypeAlias = Mapping[str, Bundle]
"""The same work by engine."""


def engines_section(rows: Sequence[Row], data: Mapping[str, str]) -> Section:
    """A table for each setting in which anything was run with `loop` and with another engine."""
    lines: dict[tuple[Any, ...], dict[str, Bundle]] = {}
    for bundle in bundles(rows, time_key):
        key = tuple(pair for pair in time_key(bundle.cell) if pair[0] != "engine")
        lines.setdefault(key, {})[str(bundle.cell["engine"])] = bundle
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines.values():
        if LOOP in line and len(line) > 1:
            groups.setdefault(tuple(line[LOOP].cell.get(axis) for axis in GROUP_AXES), []).append(line)
    sizes = model_sizes(rows)
    for group in groups.values():
        group.sort(key=lambda line: sizes.get(line[LOOP].cell["model"], 0))
    return Section("Engines against loop", tuple(_table(group, data) for group in groups.values()))


def _table(lines: Sequence[Line], data: Mapping[str, str]) -> Table:
    others = sorted({engine for line in lines for engine in line if engine != LOOP})
    cells = [line[LOOP].cell for line in lines]
    left_out = {"algorithm", "engine", "outer", "seed", "measure", *GROUP_AXES, *TRAINING_AXES}
    axes = [axis for axis in cells[0] if axis not in left_out]
    changing = varying(cells, axes)
    changing += telling_apart(cells, ("algorithm", *changing), ("outer",))
    columns = ["algorithm", *(axis_word(axis) for axis in changing), f"{LOOP}: time", f"{LOOP}: error"]
    columns += [f"{name}: {what}" for name in others for what in ("speed-up", "error")]
    body = []
    for line, cell in zip(lines, cells, strict=True):
        loop = line[LOOP]
        text = [str(cell["algorithm"]), *(str(cell[axis]) for axis in changing), _time(loop), _error(loop, LOOP)]
        for name in others:
            text += [_speed_up(loop, line[name]), _error(line[name], name)] if name in line else ["", ""]
        body.append(tuple(text))
    notes = [
        "Errors are relative, in float64: of loop against finite differences of the algorithm's definition, of the "
        "others against loop."
    ]
    if any(PARTIAL in text for row in body for text in row):
        notes.append(PARTIAL_NOTE)
    fixed = [axis for axis in axes if axis not in changing]
    return Table(
        f"Engines against loop: {setting(cells[0], (*GROUP_AXES, *fixed), data)}",
        "Time of one meta-iteration on loop; how many times faster the other engines do the same, with 95 % intervals.",
        tuple(columns),
        tuple(body),
        tuple(notes),
    )


def _time(loop: Bundle) -> str:
    return _marked(loop, time_text(loop.step)) if loop.step else _word(loop)


def _speed_up(loop: Bundle, other: Bundle) -> str:
    if not other.samples:
        return _word(other)
    ratio = ratio_interval(loop.samples, other.samples)
    return _marked(other, with_interval(ratio)) if ratio else NO_LOOP


def _marked(bundle: Bundle, figure: str) -> str:
    return f"{figure}{PARTIAL}" if is_partial(bundle) else figure


def _word(bundle: Bundle) -> str:
    return NOTHING if status(bundle) == "ok" else status(bundle)


def _error(bundle: Bundle, engine: str) -> str:
    """The largest error that the gate found in any row."""
    name = "definition_error" if engine == LOOP else "engine_error"
    errors = [row["gate"].get(name) for row in bundle.rows if row.get("gate")]
    if not errors:
        return NOTHING
    finite = [error for error in errors if error is not None]
    return error_text(max(finite) if len(finite) == len(errors) else None)
