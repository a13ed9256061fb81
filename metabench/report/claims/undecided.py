"""Claims that are left open: for which kinds of reasons, and what would decide them."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from metabench.report.claims.judging import Judged
from metabench.report.claims.rules import DEPARTS, MISSED, MISSED_ELSEWHERE, ONE_SEED, OPEN, WIDE
from metabench.report.numbers import NOTHING

NO_SUCH_SETTING = "not measured in the source's setting"
NO_SUCH_FIGURE = "not measured: no figure of a run says it"
NOT_REACHED = "not reached, in another setting than the source's"
OTHER_SETTING = "measured in another setting than the source's"
NO_GPU = "the source had a GPU, these runs have none"
TOO_WIDE = "its interval is too wide to decide"
NOT_ALIKE = "not reached, and ours departs from the source in what no setting changes"
TOO_FEW_SEEDS = "one training seed refutes nothing"
KINDS = (
    (re.compile("not measured: .*(, not |another )"), NO_SUCH_SETTING),
    (re.compile("not measured(: |$)"), NO_SUCH_FIGURE),
    (re.compile(f"({MISSED}; )?{DEPARTS}"), NOT_ALIKE),
    (re.compile(f"({MISSED}; )?{ONE_SEED}"), TOO_FEW_SEEDS),
    (re.compile(MISSED_ELSEWHERE), NOT_REACHED),
    (re.compile("another |trained for |.*, not (?!on a GPU)"), OTHER_SETTING),
    (re.compile("measured on a processor|no GPU"), NO_GPU),
    (re.compile(WIDE), TOO_WIDE),
)
"""Kinds of reasons for which a claim is left open, by how a reason begins; the first that fits counts."""


def kind_of(reason: str) -> str:
    """What kind of reason it is; the reason itself where it is of no kind."""
    return next((kind for pattern, kind in KINDS if pattern.match(reason)), reason)


def remedy(judged: Judged) -> str:
    """What would decide a claim that is left open."""
    claim, kind = judged.claim, kind_of(judged.reason)
    if claim.takes:
        return f"nothing at hand: it takes {claim.takes}"
    if claim.unmeasured:
        return "nothing yet: metabench does not measure it"
    if kind == NOT_ALIKE:
        return "nothing yet: it takes what ours departs in"
    if not claim.sweep:
        return NOTHING
    if kind == TOO_FEW_SEEDS:
        return f"the sweep {claim.sweep} with more training seeds"
    if kind == TOO_WIDE:
        more = "training seeds or test tasks" if claim.figure == "quality" else "repetitions"
        return f"the sweep {claim.sweep} with more {more}"
    return f"the sweep {claim.sweep}"


def left_open(found: Sequence[Judged]) -> Mapping[tuple[str, str], list[Judged]]:
    """The claims that are left open, by the kind of their reason and by what would decide them, most of them first."""
    groups: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for judged in found:
        if judged.verdict == OPEN:
            groups[kind_of(judged.reason), remedy(judged)].append(judged)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))
