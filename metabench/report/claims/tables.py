"""Claims and their verdicts: as a table, as CSV, as JSON."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from metabench.files import replace_file
from metabench.record.cell import DISTRIBUTION
from metabench.report.apart import ALIKE_TESTED
from metabench.report.claims.claim import Claim, Figure
from metabench.report.claims.judging import Answer, Judged
from metabench.report.claims.rules import ALL_BUT, ELSEWHERE, FAILS, HOLDS, OPEN, PARTLY, ClaimVerdict, repeated
from metabench.report.claims.selection import UNSAID
from metabench.report.claims.undecided import left_open
from metabench.report.document import Document, as_markdown
from metabench.report.numbers import NOTHING, quality_text, signed_quality_text, trim, with_interval
from metabench.report.render.tables import Section, Table, axis_word, setting
from metabench.report.sections.base import Column, table_of
from metabench.statistics.ratios import Interval
from metabench.text import counted

SETTING_AXES = (
    *DISTRIBUTION,
    *("ways", "shots", "model", "engine", "inner_steps", "meta_batch", "query", "train_ways", "train_shots"),
    *("device", "threads", "world_size", "machine", "batch_norm", "eval_queries", "eval_classes", "preset"),
    *("first_order", "checkpoint", "second_order", "kept_steps", "inner_optimizer", "outer_clip"),
)
JUDGED_AXES = ("eval_query", *(axis for axis in UNSAID if axis not in SETTING_AXES))
"""Axes of the setting of a score alone."""
SAYS = (
    "Each claim against the first run that can decide it, and each score that is to be reached against all of them. "
    "Intervals are of 95 %; what is exact has none."
)
HOW = ("docs/method.md says how the rules judge, and what they do not say.",)
NOTES = (
    "V: read in the paper or the authors' code; S: read in a secondary table; M: recalled, to be checked.",
    "Allowed in brackets: by how much a faithful repetition may differ, beside the published ±; of ratios a share.",
    "reaches: whether our score is as good as the claimed one, in whatever setting; repeats: whether it is so in that "
    "of the source. A score that was reached in another setting repeats nothing.",
    "holds but for: in the setting of the source, as far as settings go; what ours departs in beside that is named.",
    "cannot tell: this run does not say; it does not mean that the claim is wrong.",
)
VERDICTS = get_args(ClaimVerdict)
WORDS: Mapping[ClaimVerdict, str] = {
    HOLDS: "hold",
    ALL_BUT: "hold but for what no setting changes",
    PARTLY: "hold in part",
    ELSEWHERE: "are reached in another setting",
    FAILS: "do not hold",
    OPEN: "cannot be told",
}
"""What is said of all claims with a verdict."""
FROM = {"V": "", "S": "figure from a secondary source", "M": "figure recalled, not checked"}
"""How far a claimed figure itself can be trusted, by its mark; said wherever a verdict is."""
FLOATS = "%.9g"
"""Nine digits: more than any figure supports, and fewer than those in which two machines' sums differ."""


def claims_document(found: Sequence[Judged]) -> Document:
    """The table, decided claims first, with the machines that its figures are from."""
    found = by_verdict(found)
    runs = {judged.shown.run.name: judged.shown.run for judged in found if judged.shown}
    facts = [("claims", counts_text(found))]
    machines = dict.fromkeys((run.environment.summary or run.environment.machine_name) for run in runs.values())
    facts += [("machine", "; ".join(machines) or NOTHING), ("runs", ", ".join(runs) or NOTHING)]
    sections = [Section("Claims", (counts_table(found), claims_table(found)))]
    if any(judged.verdict == OPEN for judged in found):
        sections.append(Section("What cannot be told", (open_table(found),)))
    return Document("Claims", tuple(facts), (), tuple(sections), HOW)


def claims_table(found: Sequence[Judged]) -> Table:
    """A row a claim."""
    columns: list[Column[Judged]] = [
        Column("id", lambda judged: judged.claim.id),
        Column("claim", lambda judged: judged.claim.says),
        Column("source", lambda judged: f"{judged.claim.source} ({judged.claim.mark})"),
        Column("claimed", lambda judged: claimed_text(judged.claim)),
        Column("measured", measured_cell),
        Column("run", lambda judged: judged.shown.run.name if judged.shown else NOTHING),
        Column("setting", lambda judged: where_text(judged.claim, judged.shown) if judged.shown else NOTHING),
        Column("reaches", lambda judged: judged.said.reaches or NOTHING),
        Column("repeats", lambda judged: repeated(judged.verdict) if judged.said.reaches else NOTHING),
        Column("verdict", verdict_text),
    ]
    return table_of("What became of each claim", SAYS, columns, found, notes=NOTES, marks={})


def counts_table(found: Sequence[Judged]) -> Table:
    """How many claims have each verdict: those on scores, those on costs."""
    columns: list[Column[ClaimVerdict]] = [Column("claims that", lambda verdict: WORDS[verdict])]
    columns += [
        Column(name, partial(_count, found, kinds))
        for name, kinds in (("scores", ("quality",)), ("costs", get_args(Figure)[1:]), ("all", get_args(Figure)))
    ]
    return table_of("Claims by verdict", "How many claims have each verdict.", columns, VERDICTS, marks={})


def _count(found: Sequence[Judged], kinds: Sequence[str], verdict: ClaimVerdict) -> str:
    return str(sum(judged.verdict == verdict and judged.claim.figure in kinds for judged in found))


def open_table(found: Sequence[Judged]) -> Table:
    """The claims that are left open, by reason and by what would decide them."""
    columns: list[Column[tuple[tuple[str, str], list[Judged]]]] = [
        Column("cannot tell, since", lambda group: group[0][0]),
        Column("what would decide it", lambda group: group[0][1]),
        Column("claims", lambda group: str(len(group[1]))),
        Column("ids", lambda group: ", ".join(judged.claim.id for judged in group[1])),
    ]
    says = "Claims that are left open by reason, with the run that would decide them."
    return table_of("What would decide the others", says, columns, list(left_open(found).items()), marks={})


def by_verdict(found: Sequence[Judged]) -> list[Judged]:
    """The claims that hold, then those that do not, then those of which nothing can be told."""
    return sorted(found, key=lambda judged: VERDICTS.index(judged.verdict))


def counts_text(found: Sequence[Judged]) -> str:
    """How many claims there are, in all and by verdict."""
    counts = Counter(judged.verdict for judged in found)
    return f"{len(found)}: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS if counts[verdict])}"


def verdict_text(judged: Judged) -> str:
    """The verdict with its reason, and with what weakens the claimed figure itself."""
    verdict, reason, doubt = judged.verdict, judged.reason, FROM[judged.claim.mark]
    if reason and verdict not in (HOLDS, FAILS):
        verdict_and_reason = f"{verdict}: {reason}"
        return f"{verdict_and_reason} ({doubt})" if doubt else verdict_and_reason
    inside = "; ".join(filter(None, (reason, doubt)))
    return f"{verdict} ({inside})" if inside else verdict


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
    if math.isnan(figure.value):
        return "diverged"
    if claim.figure == "quality":
        return (signed_quality_text if claim.rule == "order" else quality_text)(figure, claim.metric)
    if measured.exact:
        return f"{trim(figure.value, 0, 0)} (exact)"
    if figure.low == figure.high:
        return f"{trim(figure.value, 0, 0)} (no interval)"
    return with_interval(figure)


def measured_cell(judged: Judged) -> str:
    """The figure that the verdict stands on; where it is exact, and differs elsewhere, also from where to where."""
    text = measured_text(judged.claim, judged.shown)
    exact = [answer.measured.figure.value for answer in judged.answers if answer.measured and answer.measured.exact]
    if len(exact) < len(judged.answers) or min(exact, default=0.0) == max(exact, default=0.0):
        return text
    return text.removesuffix(")") + f"; {trim(min(exact), 0, 0)} to {trim(max(exact), 0, 0)})"


def where_text(claim: Claim, answer: Answer) -> str:
    """The setting that a figure is from; of what is compared, what is divided by or taken away."""
    cell = answer.bundle.cell
    sizes = {"parameters": "model"}
    shown = (*SETTING_AXES, *JUDGED_AXES) if claim.figure == "quality" else SETTING_AXES
    if claim.figure == "adaptation":
        shown = tuple(axis for axis in (*SETTING_AXES, "eval_steps", *JUDGED_AXES) if axis not in ALIKE_TESTED)
    axes = [axis for axis in shown if axis != sizes.get(claim.along, claim.along)]
    text = f"{cell.algorithm}, {setting(cell, axes, answer.run.data_names)}"
    if claim.figure == "quality" and answer.measured:
        text += f", {cell.iterations} iterations, {counted(answer.measured.trained, 'seed')}"
        text += f", after step {claim.after}" if claim.after is not None else ""
    changed = {**claim.against} if answer.against else {}
    if changed and answer.against:
        values = (f"{axis_word(axis)} {answer.against.cell[axis]}" for axis in changed)
        text += f"; against {', '.join(values)}"
    return text


def claims_frame(found: Sequence[Judged]) -> pd.DataFrame:
    """A row for each claim and setting, in the unit of the run; a claim without a setting has one row."""
    records = [record for judged in found for record in _records(judged)]
    return pd.DataFrame(records, columns=list(_record(found[0], None)) if found else None)


def _records(judged: Judged) -> list[dict[str, Any]]:
    return [_record(judged, answer) for answer in judged.answers] or [_record(judged, None)]


def _record(judged: Judged, answer: Answer | None) -> dict[str, Any]:
    claim = judged.claim
    figure = answer.measured.figure if answer and answer.measured else None
    claimed = answer.claimed if answer else None
    return {
        **{name: getattr(claim, name) for name in ("id", "says", "source", "mark", "rule", "figure", "metric")},
        "claimed": claimed_text(claim),
        "claimed_low": _end(claimed, "low"),
        "claimed_high": _end(claimed, "high"),
        "run": answer.run.name if answer else None,
        "setting": where_text(claim, answer) if answer else None,
        **{f"measured_{name}": _end(figure, name) for name in ("value", "low", "high")},
        "exact": answer.measured.exact if answer and answer.measured else None,
        "setting_verdict": answer.said.verdict if answer else None,
        "setting_reason": answer.said.reason if answer else None,
        "differences": "; ".join(answer.differences) if answer else None,
        "reaches": judged.said.reaches,
        "repeats": repeated(judged.verdict) if judged.said.reaches else None,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "figure_is": FROM[claim.mark],
        "cells": " ".join(answer.cells) if answer else "",
    }


def _end(figure: Interval | None, name: str) -> float | None:
    """A number of an interval; None where it is open on that side, which JSON has no number for."""
    end = getattr(figure, name) if figure else None
    return end if end is not None and math.isfinite(end) else None


def claims_json(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """A table a claim, with its settings."""
    shared = (
        *("id", "says", "source", "mark", "rule", "figure", "metric", "claimed"),
        *("reaches", "repeats", "verdict", "reason", "figure_is"),
    )
    told = []
    for judged in found:
        record = _record(judged, None)
        settings = [
            {name: value for name, value in _record(judged, answer).items() if name not in shared}
            for answer in judged.answers
        ]
        told.append({**{name: record[name] for name in shared}, "settings": settings})
    return told


def write_claims(found: Sequence[Judged], folder: Path) -> tuple[Path, Path]:
    """Write claims.md and claims.csv into a folder, which is made if need be. Raises `UserError`."""
    files = folder / "claims.md", folder / "claims.csv"
    table = claims_frame(found).to_csv(index=False, lineterminator="\n", float_format=FLOATS)
    texts = as_markdown(claims_document(found)), table
    for file, text in zip(files, texts, strict=True):
        replace_file(file, text.encode())
    return files
