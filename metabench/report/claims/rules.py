"""What may be said of a measured figure: its whole interval lies inside the claimed range, outside it, or neither."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from metabench.report.claims.claim import Claim
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.statistics.laws import POINTS_TO_JUDGE, fit
from metabench.statistics.ratios import ROUNDS_TO_TELL, Interval, Ratio
from metabench.statistics.spread import Spread
from metabench.text import counted

ClaimVerdict: TypeAlias = Literal["holds", "holds in part", "does not hold", "cannot tell"]
HOLDS: ClaimVerdict = "holds"
PARTLY: ClaimVerdict = "holds in part"
"""Holds on one engine, and not on another."""
FAILS: ClaimVerdict = "does not hold"
OPEN: ClaimVerdict = "cannot tell"
WIDE = "interval too wide"
REACHING = ("interval", "one-sided")
"""Rules of figures that are to be reached; a shorter training that reaches them has reached them, too."""


@dataclass(frozen=True)
class Measured:
    """A figure in the unit of a run, and how far it may be trusted."""

    figure: Interval
    exact: bool = False
    """A peak that has no interval, since it is the same every time."""
    doubt: str = ""
    """Why nothing may be said of it, though there is a figure."""
    seeds: int = 0
    """Training seeds; 0 where none was trained."""
    straight: bool = False
    """Whether a rising straight line passes all sizes of a growth, though a fixed part may lower the exponent."""
    may_be_straight: bool = False
    """Whether a straight line misses the sizes of a growth by no more than noise."""


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


def judge(claim: Claim, measured: Measured, claimed: Interval, deviations: Sequence[str]) -> tuple[ClaimVerdict, str]:
    """The verdict, and the reason where there is none.

    `deviations` say in what the setting differs from the source's: then a figure that is to be reached can still be
    reached, and nothing else can be said.
    """
    if measured.doubt:
        return OPEN, measured.doubt
    verdict, why = _placed(measured, claimed, strict=claim.rule == "order")
    if measured.straight and claim.low == claim.high == 1:  # linear, and something fixed beside it
        verdict, why = HOLDS, "" if verdict == HOLDS else "a straight line with a fixed part"
    elif measured.may_be_straight and claim.low == 1 and verdict == FAILS and measured.figure.high < claimed.low:
        verdict, why = OPEN, "a fixed part may explain it"
    if deviations and not (verdict == HOLDS and claim.rule in REACHING):
        return OPEN, "; ".join(deviations)
    if verdict == FAILS and measured.seeds == 1:
        return OPEN, "one training seed"
    return verdict, why


def _placed(measured: Measured, claimed: Interval, strict: bool) -> tuple[ClaimVerdict, str]:
    verdict = _place(measured.figure, claimed, strict)
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
        few = f"only {counted(ratio.rounds, 'round')}, and no noise floor"
        return Measured(ratio, doubt=few)
    return Measured(ratio)


def of_growth(
    figures: Mapping[int, Mapping[float, float]], exact: bool, noise: Spread | None = None
) -> Measured | None:
    """The exponent of a power law, from figures by round and size; None without three sizes in a common round.

    Two sizes are enough for exact figures that do not change. Peaks are exact, so that one round is enough for their
    exponent; times need three, or the noise floor.
    """
    law = fit(figures, noise)
    if law is None or (len(law.sizes) < POINTS_TO_JUDGE and not (exact and law.form == "constant")):
        return None
    few = f"only {counted(law.rounds, 'round')}, and no noise floor"
    interval = law.exponent.interval or Interval(*[law.exponent.value] * 3)
    doubt = "" if exact or noise or law.rounds >= ROUNDS_TO_TELL else few
    return Measured(
        interval,
        exact and interval.low == interval.high,
        doubt=doubt,
        straight=law.straight,
        may_be_straight=law.may_be_straight,
    )
