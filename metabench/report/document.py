"""All of a run's tables, with what a reader must know of the run before believing them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from metabench.record.measurement import Measurement
from metabench.report.answer import Answer, answer_of
from metabench.report.answer.narrow import LETTER_NOTE
from metabench.report.noise import floor_text
from metabench.report.numbers import NOTHING, Valued
from metabench.report.provenance import own_files
from metabench.report.render.tables import Section, Table, escaped, markdown, plain, table_json
from metabench.report.results import Run
from metabench.report.scores import left_out
from metabench.report.sections.base import DIFFERING, SECTIONS, sections_of
from metabench.statistics.intervals import NOISY_WIDTH
from metabench.text import counted, one_line

HASH_LENGTH = 12
HOW_TO_READ = (
    "Times are of one meta-iteration (directions, their average, outer update) with data on the device already; 95 %",
    "intervals stand in square brackets, and digits end where the interval begins. With several repetitions a time is",
    "the geometric mean of their medians, and ratios are paired by repetition before they are averaged. Intervals of",
    "times include run-to-run noise; in a run that has not measured it, those of fewer than three repetitions include",
    "the noise within a process alone. [?]: too few samples in a process for an interval. –: not measured.",
)
MERGED = (
    "Where no run measured both sides of a ratio in one repetition, they are divided as two times. The interval then",
    "holds both of theirs, and a change of the machine from one run to the other is in the ratio.",
)
"""What a run that was merged of several needs beside that."""
COMMON_FROM = 3
"""Tables that have the same note, from which on it is said once for all of them."""
MOST_NAMED = 3
"""Comparisons that a warning names."""
DOUBTS = {
    "noise": f"noise hides a difference of more than {100 * NOISY_WIDTH:.0f} % in {{}} (close other programs, or raise "
    "rounds)",
    "drift": "a drift while it was measured could explain the difference in {} (let the machine rest, or raise "
    "time_budget_s)",
}
"""What noise and drift do to comparisons, and what helps."""


@dataclass(frozen=True)
class Document:
    """What `tables.md` holds."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """Name and value: machine, data, rows."""
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    how_to_read: tuple[str, ...] = HOW_TO_READ
    answer: Answer | None = None
    """What a run answers; None of what is no run."""


def document(run: Run) -> Document:
    """All tables of a run. Every row of the run stands in one of them."""
    sections = sections_of(run)
    broken = [f"the section '{name}' failed to load: {why}" for name, why in SECTIONS.broken.items()]
    warnings = (*run.warnings, *_warnings(run.measurements), *_left_out(run), *_hidden(sections), *broken)
    answer = answer_of(run)
    how_to_read = (*HOW_TO_READ, *MERGED) if len({row.run for row in run.measurements}) > 1 else HOW_TO_READ
    return Document(answer.question, _facts(run), warnings, sections, how_to_read, answer)


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    rows = run.measurements
    data: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.data:
            data.setdefault(row.data.name, {})[row.data.content_hash[:HASH_LENGTH]] = None
    statuses = Counter(row.status for row in rows)
    rounds = len({row.round for row in rows})
    counts = ", ".join(
        f"{count} {word}" for word, count in sorted(statuses.items(), key=lambda item: (item[0] != "ok", item[0]))
    )
    cells = len({row.id for row in rows})
    facts = {
        "run": run.name,
        "sweep": _sweep(run),
        "machine": run.environment.summary or "not known",
        "data": "; ".join(f"{name} (sha256 {', '.join(hashes)})" for name, hashes in data.items()) or "none",
        **({"own files": own} if (own := own_files(run)) else {}),
        "configurations": f"{cells} in {counted(rounds, 'repetition')}; measurements by status: {counts or 'none'}",
    }
    if any("time" in row.cell.measure for row in rows):
        facts["run-to-run noise"] = floor_text(run.noise_rows, run.noise)
    return tuple(facts.items())


def _sweep(run: Run) -> str:
    title = run.environment.sweep.title
    return f"{run.sweep} ({title})" if title and title != run.sweep else run.sweep


def _warnings(rows: Sequence[Measurement]) -> list[str]:
    found = Counter(str(sentence) for row in rows for sentence in row.warnings)
    warnings = [f"{sentence} ({counted(count, 'row')} of {len(rows)})" for sentence, count in found.items()]
    repeated = len(rows) - len({(row.id, row.round) for row in rows})
    if repeated:
        warnings.append(
            f"{counted(repeated, 'row')} of a configuration and repetition that is there already: all times are used."
        )
    if hollow := [row for row in rows if row.hollow]:
        warnings.append(
            f"In {counted(len(hollow), 'row')} rounding alone may change the whole direction. There the engine's step "
            "is proved in float64, and the function that was timed is not proved in its own precision."
        )
    disturbed = [row for row in rows if row.time and row.time.disturbed]
    if disturbed:
        several = any(row.cell.threads > 1 for row in disturbed)
        warnings.append(
            f"{counted(len(disturbed), 'time')} disturbed by other programs, when measured again, too: close them"
            f"{', or take threads = 1, which suffers least' if several else ''}, and run again."
        )
    return warnings


def _left_out(run: Run) -> list[str]:
    """A sentence where a seed was trained more than once."""
    found = sum(left_out(bundle) for bundle in run.trained)
    says = "of a training seed that has an earlier one in the same setting: left out of all means over seeds."
    return [f"{counted(found, 'score')} {says}"] if found else []


def _hidden(sections: Sequence[Section]) -> list[str]:
    """A sentence for noise and one for drift, if it keeps a comparison of the tables from its conclusion."""
    found: dict[str, list[str]] = {doubt: [] for doubt in DOUBTS}
    for table in (table for section in sections for table in section.tables):
        for row in table.rows:
            for column, text in zip(table.columns, row, strict=True):
                if isinstance(text, Valued) and text.doubt:
                    found[text.doubt].append(f"{_name_of(row)}, {column} ({table.title.partition(',')[0]})")
    return [
        f"{says.format(counted(len(named), 'comparison'))}: {'; '.join(named[:MOST_NAMED])}"
        + (f"; and {len(named) - MOST_NAMED} more." if len(named) > MOST_NAMED else ".")
        for doubt, says in DOUBTS.items()
        if (named := found[doubt])
    ]


def _name_of(row: Sequence[str]) -> str:
    """What names a row: its cells before the first figure, the status left out."""
    names = takewhile(lambda text: not isinstance(text, Valued), row)
    return " ".join(text for text in names if text not in ("", "ok", NOTHING))


def as_markdown(shown: Document) -> str:
    """The text of `tables.md`."""
    parts = [f"# {escaped(shown.title)}"]
    if shown.answer and (said := (*shown.answer.sentences, *shown.answer.failures)):
        parts.append("\n".join(f"- {escaped(sentence)}" for sentence in said))
    parts.append("\n".join(f"- **{name}**: {escaped(value)}" for name, value in shown.facts))
    parts += ["\n".join(f"- **warning**: {escaped(sentence)}" for sentence in shown.warnings)] if shown.warnings else []
    parts.append("\n".join(shown.how_to_read))
    common = common_notes(shown)
    parts += ["\n".join(f"- {escaped(note)}" for note in common)] if common else []
    for section in shown.sections:
        parts.append(f"## {section.title}")
        parts += [markdown(_without(table, common)).rstrip("\n") for table in section.tables]
    return "\n\n".join(parts) + "\n"


def as_text(shown: Document) -> str:
    """The text for a terminal, without the instructions for reading."""
    width = max(len(name) for name, _ in shown.facts)
    facts = [f"  {name:<{width}}  {one_line(value)}" for name, value in shown.facts]
    parts = ["\n".join([one_line(shown.title), *facts])]
    parts += ["\n".join(f"warning: {one_line(said)}" for said in shown.warnings)] if shown.warnings else []
    common = common_notes(shown)
    parts += ["\n".join(["In all tables:", *map(one_line, common)])] if common else []
    parts += [plain(_without(table, common)) for section in shown.sections for table in section.tables]
    return "\n\n".join(parts)


def common_notes(shown: Document) -> tuple[str, ...]:
    """The notes that several tables have, to be said once; those on differences belong to their own table."""
    counts = Counter(note for section in shown.sections for table in section.tables for note in set(table.notes))
    order = dict.fromkeys(note for section in shown.sections for table in section.tables for note in table.notes)
    own = {note for note in order if LETTER_NOTE.match(note) or note.startswith(DIFFERING)}
    return tuple(note for note in order if counts[note] >= COMMON_FROM and note not in own)


def _without(table: Table, notes: Sequence[str]) -> Table:
    return replace(table, notes=tuple(note for note in table.notes if note not in notes))


def as_json(shown: Document) -> dict[str, Any]:
    """The document for programs."""
    return {
        "title": shown.title,
        **({"answer": _answer_json(shown.answer)} if shown.answer else {}),
        "facts": dict(shown.facts),
        "warnings": list(shown.warnings),
        "sections": [{"title": s.title, "tables": [table_json(table) for table in s.tables]} for s in shown.sections],
        "how_to_read": " ".join(shown.how_to_read),
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "ran": answer.ran,
        "machine": answer.machine,
        "tables": [table_json(table) for table in answer.tables],
        "sentences": list(answer.sentences),
        "noise": answer.noise,
        "failures": list(answer.failures),
    }
