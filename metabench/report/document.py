"""All of a run's tables, with what a reader must know of the run before believing them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metabench.record.measurement import Measurement
from metabench.report.noise import drift_warnings, floor_text, noise_floor, references_section
from metabench.report.render.tables import TECHNIQUE_AXES, Section, Table, escaped, markdown, plain, setting, table_json
from metabench.report.results import Run
from metabench.report.sections.bounds import bounds_section
from metabench.report.sections.cost import cost_section
from metabench.report.sections.engines import engines_section
from metabench.report.sections.frontier import frontier_section
from metabench.report.sections.growth import growth_section
from metabench.report.sections.machines import machines_section
from metabench.report.sections.needed import needed_section
from metabench.report.sections.parallel import parallel_section
from metabench.report.sections.performance import profiles_section
from metabench.report.sections.scaling import scaling_section
from metabench.report.sections.target import target_section
from metabench.report.sections.techniques import techniques_section
from metabench.text import one_line

HASH_LENGTH = 12
HOW_TO_READ = (
    "Times are of one meta-iteration (directions, their average, outer update) with data on the device already; 95 %",
    "intervals stand in square brackets, and digits end where the interval begins. With several rounds a time is the",
    "geometric mean of the rounds' medians, and a ratio is formed within each round before rounds are averaged; with",
    "fewer than three rounds the intervals hold the noise within a process, not between processes, and [?] stands",
    "where a process has too few samples for one. – is not measured.",
)
HEADLINES = ("Engines against loop", "Techniques", "Time against memory")
"""The sections whose first table is shown first, where no cost table tells quality, too."""
FAILURE_AXES = (
    *("task", "ways", "shots", "query", "model", "inner_steps", "meta_batch"),
    *("preset", "seed", "device", "precision", "world_size", "machine"),
    *("train_ways", "train_shots", "batch_norm", "outer_warmup"),
    *(axis for axis in TECHNIQUE_AXES if axis != "precision"),
)


@dataclass(frozen=True)
class Document:
    """What `tables.md` holds."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """Name and value: machine, data, rows."""
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    how_to_read: tuple[str, ...] = HOW_TO_READ


def document(run: Run) -> Document:
    """All tables of a run. Every row of the run stands in one of them."""
    rows, data, floor = run.measurements, data_names(run.measurements), noise_floor(run.references)
    sections = (
        cost_section(rows, data, floor),
        target_section(rows, data),
        techniques_section(rows, data, floor),
        frontier_section(rows, data),
        growth_section(rows, data, floor),
        scaling_section(rows, data),
        needed_section(rows, data),
        engines_section(rows, data, floor),
        bounds_section(rows, data),
        profiles_section(rows),
        parallel_section(rows, data, floor),
        machines_section(rows, data),
        references_section(run.references, data),
        Section("Rows that are not ok", (not_ok(rows, data),)),
    )
    warnings = (*run.warnings, *_warnings(rows), *drift_warnings(run.references))
    return Document(f"Tables of {run.sweep}", _facts(run), warnings, tuple(s for s in sections if s.tables))


def not_ok(rows: Sequence[Measurement], data: Mapping[str, str]) -> Table:
    """Every row that is not ok, with the whole reason; rounds that ended alike stand together."""
    bad = [row for row in rows if row.status != "ok"]
    bad.sort(key=lambda row: (row.status, row.cell.algorithm, row.cell.engine, row.id, row.round))
    alike: dict[tuple[str, str, str], list[Measurement]] = {}
    for row in bad:
        alike.setdefault((row.id, row.status, row.reason or "no reason was given"), []).append(row)
    body = tuple(
        (
            same[0].cell.implementation,
            setting(same[0].cell, FAILURE_AXES, data),
            ", ".join(str(row.round) for row in same),
            status,
            reason,
            cell_id,
        )
        for (cell_id, status, reason), same in alike.items()
    )
    title = f"Rows that are not ok: {len(bad) or 'none'} of {len(rows)}"
    says = (
        "A row is one cell in one round. None of their times, peaks or scores stands in a table above." if bad else ""
    )
    columns = ("implementation", "setting", "rounds", "status", "reason", "cell")
    return Table(title, says, columns, body, cells=tuple((cell_id,) for cell_id, _, _ in alike))


def headline(sections: Sequence[Section]) -> Table | None:
    """The table that says most of a run: what algorithms cost and reach, or else engines beside each other."""
    first = {section.title: section.tables[0] for section in sections if section.tables}
    scored = [table for table in first.values() if "seeds" in table.columns and table.title.startswith("Cost")]
    compared = [first[name] for name in HEADLINES if name in first]
    return next(iter([*scored, *compared, *first.values()]), None)


def data_names(rows: Sequence[Measurement]) -> dict[str, str]:
    """The name of the data behind each task distribution, from any row that got as far as loading it."""
    return {row.cell.task: row.data.name for row in rows if row.data}


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    rows = run.measurements
    data: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.data:
            data.setdefault(row.data.name, {})[str(row.data.content_hash)[:HASH_LENGTH]] = None
    statuses = Counter(str(row.status) for row in rows)
    rounds = len({row.round for row in rows})
    counts = ", ".join(
        f"{count} {word}" for word, count in sorted(statuses.items(), key=lambda item: (item[0] != "ok", item[0]))
    )
    cells = len({row.id for row in rows})
    facts = {
        "run": run.name,
        "sweep": _sweep(run),
        "machine": (run.environment.summary or "not known"),
        "data": "; ".join(f"{name} (sha256 {', '.join(hashes)})" for name, hashes in data.items()) or "none",
        "cells": f"{cells} in {rounds} {'round' if rounds == 1 else 'rounds'}; rows by status: {counts or 'none'}",
    }
    if any("time" in row.cell.measure for row in rows):
        facts["noise floor"] = floor_text(run.references, rounds)
    return tuple(facts.items())


def _sweep(run: Run) -> str:
    title = run.environment.sweep.title
    return f"{run.sweep} ({title})" if title and title != run.sweep else run.sweep


def _warnings(rows: Sequence[Measurement]) -> list[str]:
    noisy = [row for row in rows if row.time and row.time.noisy]
    found = Counter(str(sentence) for row in rows for sentence in row.warnings)
    warnings = [f"{sentence} ({_count(count, 'row')} of {len(rows)})" for sentence, count in found.items()]
    repeated = len(rows) - len({(row.id, row.round) for row in rows})
    if repeated:
        warnings.append(f"{_count(repeated, 'row')} of a cell and round that is there already: all are used.")
    if noisy:
        cells = len({row.id for row in noisy})
        warnings.append(
            f"{_count(len(noisy), 'time')} of {_count(cells, 'cell')} noisy, by a wide interval or a drift: close "
            "other programs, raise time_budget_s, add rounds (results.csv says in time_note what each needs)."
        )
    return warnings


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_markdown(shown: Document) -> str:
    """The text of `tables.md`."""
    parts = [f"# {escaped(shown.title)}"]
    parts.append("\n".join(f"- **{name}**: {escaped(value)}" for name, value in shown.facts))
    parts += ["\n".join(f"- **warning**: {escaped(sentence)}" for sentence in shown.warnings)] if shown.warnings else []
    parts.append("\n".join(shown.how_to_read))
    for section in shown.sections:
        parts.append(f"## {section.title}")
        parts += [markdown(table).rstrip("\n") for table in section.tables]
    return "\n\n".join(parts) + "\n"


def as_text(shown: Document) -> str:
    """The same for a terminal, without the instructions for reading."""
    width = max(len(name) for name, _ in shown.facts)
    facts = [f"  {name:<{width}}  {one_line(value)}" for name, value in shown.facts]
    parts = ["\n".join([one_line(shown.title), *facts])]
    parts += ["\n".join(f"warning: {one_line(said)}" for said in shown.warnings)] if shown.warnings else []
    parts += [plain(table) for section in shown.sections for table in section.tables]
    return "\n\n".join(parts)


def as_json(shown: Document) -> dict[str, Any]:
    """The same for programs."""
    return {
        "title": shown.title,
        "facts": dict(shown.facts),
        "warnings": list(shown.warnings),
        "sections": [{"title": s.title, "tables": [table_json(table) for table in s.tables]} for s in shown.sections],
        "how_to_read": " ".join(shown.how_to_read),
    }
