"""Judges claims by runs: finds the cells, forms the figure, applies the rule."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metabench.record.cell import DISTRIBUTION
from metabench.report.axes import TRAINING_AXES
from metabench.report.bundles import Bundle, by_cost, grouped, status, status_and_reason, time_ratio_of
from metabench.report.claims.claim import Claim, Selection
from metabench.report.claims.rules import (
    FAILS,
    HOLDS,
    OPEN,
    PARTLY,
    ClaimVerdict,
    Measured,
    judge,
    of_growth,
    of_ratio,
    range_of,
)
from metabench.report.claims.selection import (
    NO_GPU,
    NOT_ON_GPU,
    NOTHING_ALIKE,
    deviations,
    fits,
    matched,
    value,
    why_none,
    with_defaults,
)
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.report.results import Run
from metabench.report.scores import Quality, gain, quality
from metabench.report.sections.scaling import figures_by_round
from metabench.statistics.ratios import Interval
from metabench.statistics.scores import difference

ALIKE = (
    *(*DISTRIBUTION, "ways", "shots", "train_ways", "train_shots", "model", "preset", "batch_norm", "eval_query"),
    *("eval_queries", "eval_rotation", "device", "world_size", "machine"),
)
"""What two trainings must share to be compared; the rest is each algorithm's own."""
_FREE = ("seed", "outer", *TRAINING_AXES)


@dataclass(frozen=True)
class Answer:
    """A claim in one setting of one run."""

    run: Run
    bundle: Bundle
    against: Bundle | None
    claimed: Interval
    measured: Measured | None
    verdict: ClaimVerdict
    reason: str
    cells: tuple[str, ...]
    lacks_gpu: bool
    """Whether the source had a GPU, and this figure is of a processor."""


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict on a run, over all settings that it is about."""

    claim: Claim
    answers: tuple[Answer, ...]
    verdict: ClaimVerdict
    reason: str

    @property
    def shown(self) -> Answer | None:
        """The answer with a figure that the verdict stands on."""
        stands_on = HOLDS if self.verdict == PARTLY else self.verdict
        return _nearest([answer for answer in self.answers if answer.verdict == stands_on]) or _nearest(self.answers)


def _nearest(answers: Sequence[Answer]) -> Answer | None:
    """The first answer that has a figure, one from a GPU where the source had one; None where none has a figure."""
    return min((answer for answer in answers if answer.measured), key=lambda answer: answer.lacks_gpu, default=None)


def judge_claims(claims: Sequence[Claim], runs: Sequence[Run]) -> list[Judged]:
    """Each claim on the first run that can decide it; where none can, on the first of those that come nearest."""
    return [min((_claim_on(claim, run) for run in runs), key=_distance) for claim in claims]


def _distance(judged: Judged) -> tuple[int, int]:
    """How far a run is from deciding a claim. Smaller pairs are nearer."""
    if judged.verdict != OPEN:
        return 0, 0
    if judged.shown:
        return 1, int(judged.shown.lacks_gpu)
    if judged.answers:  # its cells were run, and have no figure
        return 2, 0
    return 3, (NO_GPU, NOTHING_ALIKE).index(judged.reason) + 1 if judged.reason in (NO_GPU, NOTHING_ALIKE) else 0


def _claim_on(claim: Claim, run: Run) -> Judged:
    if claim.unmeasured:
        return Judged(claim, (), OPEN, f"not measured: {claim.unmeasured}")
    wanted = with_defaults(claim.of, claim.figure)
    found = run.trained if claim.figure == "quality" else run.timed
    every = [bundle for bundle in found if bundle.asked_for(claim.figure)]
    mine = [bundle for bundle in every if fits(bundle, wanted)]
    if not mine:
        return Judged(claim, (), OPEN, why_none(every, wanted))
    if claim.along:
        answers = list(_along(claim, mine, every, run))
    else:
        answers = [_answer(claim, bundle, every, run) for bundle in mine]
    return _summed_up(claim, answers) if answers else Judged(claim, (), OPEN, f"not measured: {_TOO_FEW}")


def _summed_up(claim: Claim, answers: Sequence[Answer]) -> Judged:
    """One verdict: a claim is about every setting that it does not exclude, so one that refutes it is enough.

    Where engines differ, it says on which the claim holds.
    """
    if claim.figure != "quality" and (by_engine := _by_engine(answers)):
        return Judged(claim, tuple(answers), PARTLY, by_engine)
    verdicts = [answer.verdict for answer in answers]
    verdict = next((each for each in (FAILS, HOLDS) if each in verdicts), OPEN)
    if verdict == OPEN:
        return Judged(claim, tuple(answers), OPEN, (_nearest(answers) or answers[0]).reason)
    reasons = [next(answer.reason for answer in answers if answer.verdict == verdict)]
    reasons += [f"in {verdicts.count(verdict)} of {len(answers)} settings"] if len(answers) > 1 else []
    return Judged(claim, tuple(answers), verdict, ", ".join(reason for reason in reasons if reason))


def _by_engine(answers: Sequence[Answer]) -> str:
    """The engines on which a claim holds wherever that can be told, and those on which it fails; empty without both."""
    found = grouped(answers, lambda answer: answer.bundle.cell.engine)
    verdicts = {engine: {answer.verdict for answer in mine} for engine, mine in found.items()}
    holding = [engine for engine, said in verdicts.items() if HOLDS in said and FAILS not in said]
    failing = [engine for engine, said in verdicts.items() if FAILS in said]
    if not holding or not failing:
        return ""
    return f"holds on {_listed(holding)}; not on {_listed(failing)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _answer(claim: Claim, bundle: Bundle, every: Sequence[Bundle], run: Run) -> Answer:
    if claim.rule not in ("ratio", "order"):
        return _judged(claim, run, (bundle,), _score(claim, bundle))
    other = _partner(claim, bundle, every)
    if other is None:
        return _judged(claim, run, (bundle,), None, "nothing to compare with in the same setting")
    measured = _gain(claim, bundle, other) if claim.figure == "quality" else _ratio(claim, bundle, other)
    size = float(value(bundle, claim.per)) if claim.per else 1.0
    return _judged(claim, run, (bundle, other), measured, scale=1 / size if size else 1.0)


def _partner(claim: Claim, bundle: Bundle, every: Sequence[Bundle]) -> Bundle | None:
    """What a bundle is compared with: the same work, or the same training, but for what the claim says."""
    wanted = with_defaults({**claim.of, **claim.against}, claim.figure)
    axes = ALIKE if claim.figure == "quality" else [axis for axis in bundle.cell.axes if axis not in _FREE]
    return matched(bundle, every, wanted, [axis for axis in axes if axis not in claim.against])


def _judged(
    claim: Claim,
    run: Run,
    both: Sequence[Bundle],
    measured: Measured | None,
    why_not: str = "",
    scale: float = 1.0,
) -> Answer:
    """The answer of a figure of one or two bundles; without a figure `why_not` is the reason, if it is known."""
    claimed, apart = range_of(claim, scale), list[str]()
    if measured is None:
        bad = [status_and_reason(bundle, _LONGEST_REASON) for bundle in both if status(bundle) != "ok"]
        verdict, reason = OPEN, f"not measured: {why_not or '; '.join(bad) or _TOO_FEW}"
    else:
        apart = [said for bundle in both for said in deviations(bundle, _setting(claim, len(both)))]
        verdict, reason = judge(claim, measured, claimed, list(dict.fromkeys(apart)))
    cells = tuple(dict.fromkeys(row.id for bundle in both for row in bundle.rows))
    against = both[1] if len(both) > 1 and not claim.along else None
    return Answer(run, both[0], against, claimed, measured, verdict, reason, cells, NOT_ON_GPU in apart)


_LONGEST_REASON = 160
_TOO_FEW = "there are not enough figures for it"


def _setting(claim: Claim, sides: int) -> Selection:
    """What the source had, without what makes both sides differ."""
    return {axis: values for axis, values in claim.setting.items() if sides == 1 or axis not in claim.against}


def _read(claim: Claim, found: Quality) -> Interval | None:
    """The score after so many inner steps."""
    return found.score if claim.after is None else found.by_step.get(claim.after)


def _score(claim: Claim, bundle: Bundle) -> Measured | None:
    found = quality(bundle)
    score = _read(claim, found) if found and found.metric == claim.metric else None
    return Measured(score, seeds=found.seeds) if found and score else None


def _gain(claim: Claim, bundle: Bundle, other: Bundle) -> Measured | None:
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
    return Measured(Interval(better * found.value, *ends), seeds=seeds)


def _ratio(claim: Claim, bundle: Bundle, other: Bundle) -> Measured | None:
    if claim.figure == "time":
        ratio = time_ratio_of(bundle, other)
        return of_ratio(ratio, noise_known=bundle.noise is not None) if ratio else None
    mine, theirs = bundle.peak, other.peak
    if mine is None or theirs is None or mine.method != theirs.method or not theirs.bytes:
        return None
    share = mine.bytes / theirs.bytes
    return Measured(Interval(share, share, share), exact=True)


def _along(claim: Claim, mine: Sequence[Bundle], every: Sequence[Bundle], run: Run) -> Iterator[Answer]:
    """An answer for each line of cells that differ in one size alone."""
    axis = "model" if claim.along == "parameters" else claim.along
    sized = [bundle for bundle in mine if value(bundle, claim.along)]
    lines = by_cost(sized, axis)
    for line in [line for line in lines if len(line) > 1] or lines:
        others = [_partner(claim, bundle, every) for bundle in line] if claim.rule == "ratio" else []
        both = [*line, *(other for other in others if other)]
        yield _judged(claim, run, both, _growth(claim, line, others))


def _growth(claim: Claim, line: Sequence[Bundle], others: Sequence[Bundle | None]) -> Measured | None:
    if claim.rule == "ratio":
        per, against = _per_unit(claim, line), _per_unit(claim, [other for other in others if other])
        share = per / against if per and against else math.nan
        return Measured(Interval(share, share, share), exact=True) if share > 0 else None
    at = {float(value(bundle, claim.along)): bundle for bundle in line}
    figures, exact = figures_by_round(at, claim.figure), claim.figure == "memory"
    return of_growth(figures, exact, None if exact else line[0].noise)


def _per_unit(claim: Claim, line: Sequence[Bundle]) -> float | None:
    """How much the peak grows from the smallest to the largest, per unit of the axis."""
    peaks = sorted((float(value(b, claim.along)), b.peak.bytes) for b in line if b.peak)
    if len(peaks) < 2 or len({b.peak.method for b in line if b.peak}) > 1:
        return None
    (start, least), (end, most) = peaks[0], peaks[-1]
    return (most - least) / (end - start) if end > start else None
