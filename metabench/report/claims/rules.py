"""What may be said of a measured figure: its whole interval lies inside the claimed range, outside it, or neither."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from metabench.record.measurement import Repetition
from metabench.report.claims.claim import Claim
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.statistics.laws import POINTS_TO_JUDGE, fit
from metabench.statistics.ratios import Interval, Ratio
from metabench.statistics.spread import ROUNDS_TO_TELL, Spread
from metabench.text import counted

ClaimVerdict: TypeAlias = Literal[
    "holds", "holds but for", "holds in part", "reached in another setting", "does not hold", "cannot tell"
]
HOLDS: ClaimVerdict = "holds"
ALL_BUT: ClaimVerdict = "holds but for"
"""Holds in the source's setting as far as axes can set it; the claim says in what ours departs from it."""
PARTLY: ClaimVerdict = "holds in part"
"""Holds on one engine, and not on another."""
ELSEWHERE: ClaimVerdict = "reached in another setting"
"""A score that is as good as the claimed one or better, in a setting that is not the source's."""
FAILS: ClaimVerdict = "does not hold"
OPEN: ClaimVerdict = "cannot tell"
Reached: TypeAlias = Literal["yes", "no", "cannot tell"]
_REACHED: Mapping[ClaimVerdict, Reached] = {HOLDS: "yes", FAILS: "no", OPEN: "cannot tell"}
Repeated: TypeAlias = Literal["holds", "holds but for", "does not hold", "cannot tell"]
_REPEATED: Mapping[ClaimVerdict, Repeated] = {HOLDS: "holds", ALL_BUT: "holds but for", FAILS: "does not hold"}
WIDE = "interval too wide"
ONE_SEED = "one training seed"
MISSED_ELSEWHERE = "not reached in another setting"
MISSED = "not reached"
DEPARTS = "repeated but for"
MOST_SAID = 3
"""Differences from the source's setting that a reason names; the others are counted."""


@dataclass(frozen=True)
class Measured:
    """A figure in the unit of a run, and how far it may be trusted."""

    figure: Interval
    exact: bool = False
    """A peak that has no interval, since it is the same every time."""
    doubt: str = ""
    """Why nothing may be said of it, though there is a figure."""
    seeds: int = 0
    """Training seeds that have a score; 0 where none was trained."""
    diverged: int = 0
    """Further seeds that have none, since the training or a held-out task diverged."""
    straight: bool = False
    """Whether a rising straight line passes all sizes of a growth, though a fixed part may lower the exponent."""
    may_be_straight: bool = False
    """Whether a straight line misses the sizes of a growth by no more than noise."""

    @property
    def trained(self) -> int:
        """All training seeds."""
        return self.seeds + self.diverged


@dataclass(frozen=True)
class Said:
    """What is said of a claim, by one figure or by all of them."""

    verdict: ClaimVerdict
    reason: str = ""
    reaches: Reached | None = None
    """Whether the claimed score was reached, in whatever setting; None where the claim is no such score."""


def range_of(claim: Claim, scale: float = 1.0) -> Interval:
    """What the figure must lie in, in the unit of a run: the claim, its ± and its allowance; `value` is the claim's.

    A claimed score is held by whatever is as good or better. `scale` multiplies a claimed ratio.
    """
    unit = claim.unit[0]
    if claim.rule == "order":
        return Interval(0.0, 0.0, math.inf) if claim.figure == "quality" else Interval(1.0, 0.0, 1.0)
    if claim.rule == "ratio":
        low, high = claim.low * scale, claim.high * scale
        return Interval(low, low / (1 + claim.allowance), high * (1 + claim.allowance))
    slack = claim.plus_minus + claim.allowance
    low, high = (claim.low - slack) * unit, (claim.high + slack) * unit
    if claim.rule == "interval":
        low, high = (-math.inf, high) if claim.metric in LOWER_IS_BETTER else (low, math.inf)
    return Interval(claim.low * unit, low, high)


def judge(claim: Claim, measured: Measured, claimed: Interval, deviations: Sequence[str]) -> Said:
    """What a figure says of a claim.

    `deviations` are the differences from the source's setting that axes tell. In another setting a score can be
    reached, and nothing else can be said. Where the claim says in what ours departs, it is not refuted.
    """
    if measured.doubt:
        return Said(OPEN, measured.doubt)
    verdict, why = _placed(measured, claimed, strict=claim.rule == "order")
    if measured.diverged:  # a mean over seeds that leaves them out flatters
        verdict = FAILS if measured.diverged > measured.seeds else OPEN
        why = f"{measured.diverged} of {measured.trained} seeds diverged"
    if measured.straight and claim.low == claim.high == 1:  # linear, and something fixed beside it
        verdict, why = HOLDS, "" if verdict == HOLDS else "a straight line with a fixed part"
    elif measured.may_be_straight and claim.low == 1 and verdict == FAILS and measured.figure.high < claimed.low:
        verdict, why = OPEN, "a fixed part may explain it"
    reaches = _REACHED[verdict] if claim.is_to_be_reached else None
    if deviations:
        return _elsewhere(reaches, in_words(deviations))
    departs = "; ".join(claim.departs)
    if verdict == HOLDS and departs:
        return Said(ALL_BUT, departs, reaches)
    if verdict == FAILS and (departs or measured.trained == 1):
        missed = [MISSED] if reaches else []
        return Said(OPEN, "; ".join([*missed, f"{DEPARTS}: {departs}" if departs else ONE_SEED]), reaches)
    return Said(verdict, why, reaches)


def _elsewhere(reaches: Reached | None, differences: str) -> Said:
    if reaches == "yes":
        return Said(ELSEWHERE, differences, reaches)
    return Said(OPEN, f"{MISSED_ELSEWHERE}: {differences}" if reaches == "no" else differences, reaches)


def in_words(deviations: Sequence[str]) -> str:
    """The first differences from the source's setting, and how many more there are."""
    more = len(deviations) - MOST_SAID
    said = deviations if more <= 1 else [*deviations[:MOST_SAID], f"and {more} more differences"]
    return "; ".join(said)


def repeated(verdict: ClaimVerdict) -> Repeated:
    """What a verdict on a score says of the source's own setting alone."""
    return _REPEATED.get(verdict, "cannot tell")


def _placed(measured: Measured, claimed: Interval, strict: bool) -> tuple[ClaimVerdict, str]:
    verdict = _place(measured.figure, claimed, strict)
    if verdict == OPEN and strict and measured.exact:  # equal, which is not better
        verdict = FAILS
    return verdict, WIDE if verdict == OPEN else ""


def _place(figure: Interval, claimed: Interval, strict: bool) -> ClaimVerdict:
    """`strict`: an end of the range that is touched is not inside, since equal is not better."""
    inside = claimed.low <= figure.low and figure.high <= claimed.high
    if strict:
        inside = claimed.low < figure.low and figure.high < claimed.high
    outside = figure.high < claimed.low or figure.low > claimed.high
    return HOLDS if inside else FAILS if outside else OPEN


def of_ratio(ratio: Ratio, noise_known: bool) -> Measured:
    """A ratio of times; doubtful where fewer than three rounds and no noise floor tell how processes differ."""
    if ratio.rounds < ROUNDS_TO_TELL and not noise_known:
        return Measured(ratio, doubt=_few(ratio.rounds))
    return Measured(ratio)


def _few(rounds: int) -> str:
    what = f"only {counted(rounds, 'repetition')}" if rounds else "no repetition has all that is compared"
    return f"{what}, and no noise floor"


def of_growth(
    figures: Mapping[Repetition, Mapping[float, float]], exact: bool, noise: Spread | None = None
) -> Measured | None:
    """The exponent of a power law, from figures by repetition and size; None without three sizes.

    Two sizes are enough for exact figures that do not change. Peaks are exact, so that one round is enough for their
    exponent; times need three, or the noise floor.
    """
    law = fit(figures, noise)
    if law is None or (len(law.sizes) < POINTS_TO_JUDGE and not (exact and law.form == "constant")):
        return None
    interval = law.exponent.interval or Interval(*[law.exponent.value] * 3)
    doubt = "" if exact or noise or law.rounds >= ROUNDS_TO_TELL else _few(law.rounds)
    return Measured(
        interval,
        exact and interval.low == interval.high,
        doubt=doubt,
        straight=law.straight,
        may_be_straight=law.may_be_straight,
    )
