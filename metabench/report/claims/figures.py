"""The figures that claims are held against: a score, a gain, a ratio, a growth, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import replace

from metabench.report.apart import adapting, differentiating, is_disturbed, ratio_of_parts, twice_over_once
from metabench.report.bundles import Bundle, time_ratio_of
from metabench.report.claims.claim import MEASURED_BY, Claim, Figure
from metabench.report.claims.rules import Measured, of_growth, of_ratio
from metabench.report.claims.selection import value
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.report.results import Run
from metabench.report.scores import Quality, gain, quality, scores_of
from metabench.report.sections.scaling import figures_by_round
from metabench.statistics.ratios import Interval
from metabench.statistics.scores import difference

DISTURBED = "other programs disturbed the time"
"""Why nothing may be said of a figure that stands on a disturbed time."""


def measured_in(run: Run, figure: Figure) -> list[Bundle]:
    """The cells that were to measure a figure; those together that have it alike."""
    if figure == "adaptation":
        return adapting(run)
    if figure == "double_backward":
        return differentiating(run)
    found = run.trained_anywhere if figure == "quality" else run.timed
    return [bundle for bundle in found if bundle.asked_for(MEASURED_BY.get(figure, figure))]


def _read(claim: Claim, found: Quality) -> Interval | None:
    """The score after so many inner steps."""
    return found.score if claim.after is None else found.by_step.get(claim.after)


def score_of(claim: Claim, bundle: Bundle) -> Measured | None:
    """The score over seeds; None where there is none of the claim's metric."""
    found = quality(bundle)
    score = _read(claim, found) if found and found.metric == claim.metric else None
    return Measured(score, seeds=found.seeds, diverged=diverged_seeds(bundle)) if found and score else None


def diverged_seeds(bundle: Bundle) -> int:
    """How many training seeds have no score, since they diverged."""
    return len({row.cell.seed for row in bundle.rows if row.status == "diverged"} - scores_of(bundle).keys())


def gain_of(claim: Claim, bundle: Bundle, other: Bundle) -> Measured | None:
    """The gain over what the claim compares with: over common seeds, or of the means after an inner step."""
    mine, theirs = quality(bundle), quality(other)
    if not mine or not theirs or mine.metric != claim.metric or theirs.metric != claim.metric:
        return None
    better = -1 if claim.metric in LOWER_IS_BETTER else 1
    found: Interval | None = None
    if claim.after is None:
        if gained := gain(bundle, other):
            found, seeds = gained.figure, gained.seeds
    elif (a := _read(claim, mine)) and (b := _read(claim, theirs)):
        found, seeds = difference(a, b), min(mine.seeds, theirs.seeds)
    if found is None:
        return None
    ends = sorted((better * found.low, better * found.high))
    lost = diverged_seeds(other)
    doubt = f"{lost} of {theirs.seeds + lost} seeds of {other.algorithm} diverged" if lost else ""
    advantage = Interval(better * found.value, *ends)
    return Measured(advantage, doubt=doubt, seeds=seeds, diverged=diverged_seeds(bundle))


def ratio_of(claim: Claim, bundle: Bundle, other: Bundle) -> Measured | None:
    """How many times the time or the peak memory of the other one it takes."""
    if claim.figure != "memory":
        timed = claim.figure == "time"
        ratio = time_ratio_of(bundle, other) if timed else ratio_of_parts(bundle, other, claim.figure)
        found = of_ratio(ratio, noise_known=bundle.noise is not None) if ratio else None
        return _in_doubt(found, claim.figure, (bundle, other))
    mine, theirs = bundle.peak, other.peak
    if mine is None or theirs is None or mine.kind != theirs.kind or not theirs.bytes:
        return None
    share = mine.bytes / theirs.bytes
    return Measured(Interval(share, share, share), exact=True)


def of_derivatives(bundle: Bundle) -> Measured | None:
    """How many times as long it takes to differentiate the network twice as once."""
    ratio = twice_over_once(bundle)
    return _in_doubt(of_ratio(ratio, noise_known=False) if ratio else None, "double_backward", (bundle,))


def _in_doubt(found: Measured | None, figure: Figure, stood_on: Sequence[Bundle]) -> Measured | None:
    """The figure, of which nothing may be said where a time that it stands on was disturbed."""
    apart = figure in ("adaptation", "double_backward") and is_disturbed(stood_on, figure)
    disturbed = apart or (figure == "time" and any(bundle.disturbed for bundle in stood_on))
    return replace(found, doubt=found.doubt or DISTURBED) if found and disturbed else found


def growth_of(claim: Claim, line: Sequence[Bundle], others: Sequence[Bundle | None]) -> Measured | None:
    """How a figure grows along a line of cells; for ratios, how many times as fast as that of the others, in bytes."""
    if claim.rule == "ratio":
        per, against = _per_unit(claim, line), _per_unit(claim, [other for other in others if other])
        share = per / against if per and against else math.nan
        return Measured(Interval(share, share, share), exact=True) if share > 0 else None
    at = {float(value(bundle, claim.along)): bundle for bundle in line}
    figures, exact = figures_by_round(at, claim.figure), claim.figure == "memory"
    return _in_doubt(of_growth(figures, exact, None if exact else line[0].noise), claim.figure, line)


def _per_unit(claim: Claim, line: Sequence[Bundle]) -> float | None:
    """How much the peak grows from the smallest to the largest, per unit of the axis."""
    peaks = sorted((float(value(b, claim.along)), b.peak.bytes) for b in line if b.peak)
    if len(peaks) < 2 or len({b.peak.kind for b in line if b.peak}) > 1:
        return None
    (start, least), (end, most) = peaks[0], peaks[-1]
    return (most - least) / (end - start) if end > start else None
