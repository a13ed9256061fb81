"""Claims on a terminal: those that are decided, and how many are not, and why."""

import re
from collections import Counter
from collections.abc import Sequence

from metabench.report.claims.judging import Judged
from metabench.report.claims.rules import FAILS, HOLDS, OPEN, PARTLY, WIDE
from metabench.report.claims.tables import by_verdict, claimed_text, measured_cell, verdict_text
from metabench.report.render.fitting import fitted, wrapped
from metabench.text import counted

WORDS = {HOLDS: "hold", PARTLY: "hold in part", FAILS: "do not hold", OPEN: "cannot be told"}
COLUMNS = ("claim", "claimed", "measured", "verdict")
MORE = "All claims with their reasons: add --full. With their sources and settings in a file: add --out FOLDER."
OTHER_SETTING = "measured in another setting than the source's"
NO_SUCH_SETTING = "not measured in the source's setting"
NO_SUCH_FIGURE = "not measured: no figure of a run says it"
ON_GPU = "the source had a GPU, these runs have none"
KINDS = (
    (re.compile("not measured: .*(, not |another )"), NO_SUCH_SETTING),
    (re.compile("not measured: "), NO_SUCH_FIGURE),
    (re.compile("another |trained for |.*, not (?!on a GPU)"), OTHER_SETTING),
    (re.compile("measured on a processor|no GPU"), ON_GPU),
    (re.compile(WIDE), "its interval is too wide to decide"),
)
"""Kinds of reasons for which a claim is left open, by how a reason begins; the first that fits counts."""


def claims_text(found: Sequence[Judged], width: int, full: bool) -> str:
    """The claims that are decided, then how many are not, by reason; if `full`, all of them with their reasons."""
    found = by_verdict(found)
    decided = [judged for judged in found if judged.verdict != OPEN]
    left_open = Counter(kind_of(judged.reason) for judged in found if judged.verdict == OPEN)
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
    if left_open and not full:
        reasons = [(str(number), kind) for kind, number in left_open.most_common()]
        parts.append(["", fitted(("cannot tell", "why"), reasons, width)])
        parts.append(["", *wrapped(MORE, width)])
    return "\n".join(line for part in parts for line in part)


def kind_of(reason: str) -> str:
    """What kind of reason it is; the reason itself where it is of no kind."""
    return next((kind for pattern, kind in KINDS if pattern.match(reason)), reason)


def _row(judged: Judged) -> tuple[str, ...]:
    return judged.claim.says, claimed_text(judged.claim), measured_cell(judged), verdict_text(judged)
