"""Claims and what became of them: as a table, as CSV, as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from metabench.report.claims.claim import Claim
from metabench.report.claims.judging import Answer, Held
from metabench.report.claims.rules import OPEN
from metabench.report.document import Document, data_names
from metabench.report.numbers import NOTHING, quality_text, trim, with_interval
from metabench.report.render.tables import Section, Table, axis_word, setting
from metabench.statistics.ratios import Interval

COLUMNS = ("id", "claim", "source", "claimed", "measured", "run", "setting", "verdict")
SETTING_AXES = (
    *("task", "ways", "shots", "model", "engine", "inner_steps", "meta_batch", "query", "train_ways", "train_shots"),
    *(
        "device",
        "threads",
        "world_size",
        "machine",
        "batch_norm",
        "preset",
        "first_order",
        "checkpoint",
        "inner_optimizer",
        "outer_clip",
    ),
)
SAYS = "Each claim against the first run that can decide it. Intervals are of 95 %; what is exact has none."
HOW = ("docs/method.md says how the rules judge, and what they do not say.",)
NOTES = (
    "V: read in the paper or the authors' code; S: read in a secondary table; M: recalled, to be checked.",
    "Allowed in brackets: by how much a faithful repetition may differ, beside the published ±; of ratios a share.",
    "cannot tell: this run does not say; it does not mean that the claim is wrong.",
)


def claims_document(found: Sequence[Held]) -> Document:
    """The table, with the machines that its figures are from."""
    runs = {held.shown.run.name: held.shown.run for held in found if held.shown}
    counts = [f"{sum(held.verdict == verdict for held in found)} {verdict}" for verdict in _verdicts(found)]
    facts = [("claims", f"{len(found)}: {', '.join(counts)}")]
    machines = dict.fromkeys((run.environment.summary or run.environment.machine_name) for run in runs.values())
    facts += [("machine", "; ".join(machines) or NOTHING), ("runs", ", ".join(runs) or NOTHING)]
    return Document("Claims", tuple(facts), (), (Section("Claims", (claims_table(found),)),), HOW)


def claims_table(found: Sequence[Held]) -> Table:
    """A row a claim."""
    return Table("What became of each claim", SAYS, COLUMNS, tuple(_row(held) for held in found), NOTES)


def _verdicts(found: Sequence[Held]) -> list[str]:
    return sorted({held.verdict for held in found}, key=("holds", "does not hold", "cannot tell").index)


def _row(held: Held) -> tuple[str, ...]:
    claim, shown = held.claim, held.shown
    return (
        claim.id,
        claim.says,
        f"{claim.source} ({claim.mark})",
        claimed_text(claim),
        _measured(held),
        shown.run.name if shown else NOTHING,
        where_text(claim, shown) if shown else NOTHING,
        verdict_text(held),
    )


def verdict_text(held: Held) -> str:
    """The verdict with its reason."""
    if not held.reason:
        return held.verdict
    return f"{held.verdict}: {held.reason}" if held.verdict == OPEN else f"{held.verdict} ({held.reason})"


def claimed_text(claim: Claim) -> str:
    """What is claimed, in the unit of publication, and what is allowed beyond."""
    unit = claim.unit[1]
    if claim.unmeasured:
        return NOTHING
    if claim.rule == "order":
        return "better" if claim.figure == "quality" else "less"
    if math.isinf(claim.high):
        text = f"≥ {claim.low:g}"
    elif math.isinf(claim.low):
        text = f"≤ {claim.high:g}"
    else:
        text = f"{claim.low:g}" if claim.low == claim.high else f"{claim.low:g}–{claim.high:g}"
    text += f" ± {claim.plus_minus:g}" if claim.plus_minus else ""
    text += unit + (f" ÷ {axis_word(claim.per)}" if claim.per else "")
    if not claim.allowance:
        return text
    allowed = f"{100 * claim.allowance:g} %" if claim.rule == "ratio" else f"{claim.allowance:g}{unit}"
    return f"{text} ({allowed})"


def measured_text(claim: Claim, answer: Answer | None) -> str:
    """The figure with its interval."""
    if answer is None or answer.measured is None:
        return NOTHING
    measured = answer.measured
    figure = measured.figure
    if claim.figure == "quality":
        text = quality_text(figure, claim.metric)
        return f"+{text}" if claim.rule == "order" and figure.value > 0 else text
    if measured.exact:
        return f"{trim(figure.value, 0, 0)} (exact)"
    if figure.low == figure.high:
        return f"{trim(figure.value, 0, 0)} (no interval)"
    return with_interval(figure)


def _measured(held: Held) -> str:
    """The figure that the verdict stands on; where it is exact, and differs elsewhere, also from where to where."""
    text = measured_text(held.claim, held.shown)
    exact = [answer.measured.figure.value for answer in held.answers if answer.measured and answer.measured.exact]
    if len(exact) < len(held.answers) or min(exact, default=0.0) == max(exact, default=0.0):
        return text
    return text.removesuffix(")") + f"; {trim(min(exact), 0, 0)} to {trim(max(exact), 0, 0)})"


def where_text(claim: Claim, answer: Answer) -> str:
    """The setting that a figure is from; of what is compared, what is divided by or taken away."""
    cell = answer.bundle.cell
    sizes = {"parameters": "model"}
    axes = [axis for axis in SETTING_AXES if axis != sizes.get(claim.along, claim.along)]
    text = f"{cell.algorithm}, {setting(cell, axes, data_names(answer.run.measurements))}"
    if claim.figure == "quality" and answer.measured:
        seeds = answer.measured.seeds
        text += f", {cell.iterations} iterations, {seeds} {'seed' if seeds == 1 else 'seeds'}"
        text += f", after step {claim.after}" if claim.after is not None else ""
    changed = {**claim.against} if answer.against else {}
    if changed and answer.against:
        values = (f"{axis_word(axis)} {answer.against.cell[axis]}" for axis in changed)
        text += f"; against {', '.join(values)}"
    return text


def claims_frame(found: Sequence[Held]) -> pd.DataFrame:
    """A row for each claim and setting, in the unit of the run; a claim without a setting has one row."""
    records = [record for held in found for record in _records(held)]
    return pd.DataFrame(records, columns=list(_record(found[0], None)) if found else None)


def _records(held: Held) -> list[dict[str, Any]]:
    return [_record(held, answer) for answer in held.answers] or [_record(held, None)]


def _record(held: Held, answer: Answer | None) -> dict[str, Any]:
    claim = held.claim
    figure = answer.measured.figure if answer and answer.measured else None
    claimed = answer.claimed if answer else None
    return {
        **{name: getattr(claim, name) for name in ("id", "says", "source", "mark", "rule", "figure", "metric")},
        "claimed": claimed_text(claim),
        "claimed_low": _end(claimed, "low"),
        "claimed_high": _end(claimed, "high"),
        "run": answer.run.name if answer else None,
        "setting": where_text(claim, answer) if answer else None,
        **{f"measured_{name}": getattr(figure, name) if figure else None for name in ("value", "low", "high")},
        "exact": answer.measured.exact if answer and answer.measured else None,
        "setting_verdict": answer.verdict if answer else None,
        "setting_reason": answer.reason if answer else None,
        "verdict": held.verdict,
        "reason": held.reason,
        "cells": " ".join(answer.cells) if answer else "",
    }


def _end(claimed: Interval | None, name: str) -> float | None:
    end = getattr(claimed, name) if claimed else None
    return end if end is not None and math.isfinite(end) else None


def claims_json(found: Sequence[Held]) -> list[dict[str, Any]]:
    """A table a claim, with its settings."""
    shared = ("id", "says", "source", "mark", "rule", "figure", "metric", "claimed", "verdict", "reason")
    told = []
    for held in found:
        record = _record(held, None)
        settings = [
            {name: value for name, value in _record(held, answer).items() if name not in shared}
            for answer in held.answers
        ]
        told.append({**{name: record[name] for name in shared}, "settings": settings})
    return told
