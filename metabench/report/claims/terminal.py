"""Claims on a terminal: those that are decided, and how many are not, and why."""

from collections import Counter
from collections.abc import Sequence

from metabench.report.claims.judging import Judged
from metabench.report.claims.rules import OPEN
from metabench.report.claims.tables import WORDS, by_verdict, claimed_text, measured_cell, verdict_text
from metabench.report.claims.undecided import kind_of
from metabench.report.render.fitting import fitted, wrapped
from metabench.text import counted

COLUMNS = ("claim", "claimed", "measured", "verdict")
MORE = "All claims with their reasons: add --full. With their sources and settings in a file: add --out FOLDER."


def claims_text(found: Sequence[Judged], width: int, full: bool) -> str:
    """The claims that are decided, then how many are not, by reason; if `full`, all of them with their reasons."""
    found = by_verdict(found)
    decided = [judged for judged in found if judged.verdict != OPEN]
    undecided = Counter(kind_of(judged.reason) for judged in found if judged.verdict == OPEN)
    machines = dict.fromkeys(
        judged.shown.run.environment.summary or judged.shown.run.environment.machine_name
        for judged in decided
        if judged.shown
    )
    counts = Counter(judged.verdict for judged in found)
    told = [f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict]]
    parts = [wrapped(f"{counted(len(found), 'claim')}: {', '.join(told)}.", width)]
    if machines:
        parts.append(wrapped(f"Measured on: {'; '.join(machines)}.", width))
    rows = [_row(judged) for judged in (found if full else decided)]
    parts.append(["", fitted(COLUMNS, rows, width)] if rows else [])
    if undecided and not full:
        reasons = [(str(number), kind) for kind, number in undecided.most_common()]
        parts.append(["", fitted(("cannot tell", "why"), reasons, width)])
        parts.append(["", *wrapped(MORE, width)])
    return "\n".join(line for part in parts for line in part)


def _row(judged: Judged) -> tuple[str, ...]:
    return judged.claim.says, claimed_text(judged.claim), measured_cell(judged), verdict_text(judged)
