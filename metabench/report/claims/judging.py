"""Judges claims by runs: finds the cells, forms the figure, applies the rule."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metabench.grouping import grouped
from metabench.record.cell import DISTRIBUTION
from metabench.report.apart import ALIKE_TESTED
from metabench.report.axes import TRAINING_AXES
from metabench.report.bundles import Bundle, by_cost, status, status_and_reason
from metabench.report.claims.claim import Claim, Values
from metabench.report.claims.figures import (
    diverged_seeds,
    gain_of,
    growth_of,
    measured_in,
    of_derivatives,
    ratio_of,
    score_of,
)
from metabench.report.claims.rules import (
    ALL_BUT,
    ELSEWHERE,
    FAILS,
    HOLDS,
    OPEN,
    PARTLY,
    ClaimVerdict,
    Measured,
    Reached,
    Said,
    judge,
    range_of,
)
from metabench.report.claims.selection import (
    NO_GPU,
    NOT_ON_GPU,
    NOTHING_ALIKE,
    TRAINED_LIKE,
    as_usual,
    deviations,
    fits,
    matched,
    value,
    why_none,
    with_defaults,
)
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

ALIKE = (
    *(*DISTRIBUTION, "ways", "shots", "train_ways", "train_shots", "model", "preset", "batch_norm", "eval_query"),
    *("eval_queries", "eval_rotation", "eval_classes", "device", "world_size", "machine"),
)
"""What two trainings must share to be compared; the rest is each algorithm's own."""
_FREE = ("seed", "outer", *TRAINING_AXES)
NOT_OF_AN_ENGINE = ("quality", "adaptation", "double_backward")
"""Figures that are the same whatever engine a row names."""


@dataclass(frozen=True)
class Answer:
    """A claim in one setting of one run."""

    run: Run
    bundle: Bundle
    against: Bundle | None
    claimed: Interval
    measured: Measured | None
    said: Said
    cells: tuple[str, ...]
    differences: tuple[str, ...]
    """What the cells have otherwise than the source's setting, in words."""

    @property
    def lacks_gpu(self) -> bool:
        """Whether the source had a GPU, and this figure is of a processor."""
        return NOT_ON_GPU in self.differences


@dataclass(frozen=True)
class Judged:
    """A claim with what is said of it, over all settings that it is about."""

    claim: Claim
    answers: tuple[Answer, ...]
    said: Said

    @property
    def verdict(self) -> ClaimVerdict:
        return self.said.verdict

    @property
    def reason(self) -> str:
        return self.said.reason

    @property
    def shown(self) -> Answer | None:
        """The answer with a figure that the verdict stands on."""
        stands_on = HOLDS if self.verdict == PARTLY else self.verdict
        return _nearest([answer for answer in self.answers if answer.said.verdict == stands_on]) or _nearest(
            self.answers
        )


def _nearest(answers: Sequence[Answer]) -> Answer | None:
    """The answer whose setting is nearest to the source's, of those with a figure; on a GPU first, if it had one.

    In other settings than the source's, one that may reach a score comes before those that miss it.
    """

    def distance(answer: Answer) -> tuple[bool, bool, int]:
        missed = bool(answer.differences) and answer.said.reaches == "no"
        return answer.lacks_gpu, missed, len(answer.differences)

    return min((answer for answer in answers if answer.measured), key=distance, default=None)


def judge_claims(claims: Sequence[Claim], runs: Sequence[Run]) -> list[Judged]:
    """Each claim on the runs: a score that is to be reached on all of them, any other on the first that can decide it.

    Where none can, on the first of those that come nearest.
    """
    return [_judged_on(claim, runs) for claim in claims]


def _judged_on(claim: Claim, runs: Sequence[Run]) -> Judged:
    found = [_claim_on(claim, run) for run in runs]
    answers = [answer for judged in found for answer in judged.answers]
    if claim.is_to_be_reached and any(answer.measured for answer in answers):
        return _reached_or_not(claim, answers)
    return min(found, key=_distance)


def _distance(judged: Judged) -> tuple[int, int, int, float]:
    """How far a run is from deciding a claim. Smaller is nearer; of equals the narrower interval."""
    if judged.verdict != OPEN:
        return 0, 0, 0, 0.0
    if (shown := judged.shown) and shown.measured:
        figure = shown.measured.figure
        width = figure.high - figure.low
        return 1, int(shown.lacks_gpu), len(shown.differences), math.inf if math.isnan(width) else width
    if judged.answers:  # its cells were run, and have no figure
        return 2, 0, 0, 0.0
    other = (NO_GPU, NOTHING_ALIKE).index(judged.reason) + 1 if judged.reason in (NO_GPU, NOTHING_ALIKE) else 0
    return 3, other, 0, 0.0


def _reached_or_not(claim: Claim, answers: Sequence[Answer]) -> Judged:
    """What is said of a score by all runs. In the source's setting one that refutes it is enough."""
    told = [answer for answer in answers if answer.measured]
    verdicts = [answer.said.verdict for answer in told]
    verdict = next((each for each in (FAILS, HOLDS, ALL_BUT, ELSEWHERE) if each in verdicts), OPEN)
    best = _nearest([answer for answer in told if answer.said.verdict == verdict])
    reached = [answer.said.reaches for answer in told]
    reasons = [best.said.reason] if best else []
    repeats = [answer for answer in told if not answer.differences]
    if verdict in (FAILS, HOLDS) and len(repeats) > 1:
        reasons.append(f"in {verdicts.count(verdict)} of {len(repeats)} settings")
    if verdict == FAILS and "yes" in reached:
        reasons.append(ELSEWHERE)
    reaches: Reached = "yes" if "yes" in reached else "cannot tell" if "cannot tell" in reached else "no"
    return Judged(claim, tuple(answers), Said(verdict, ", ".join(filter(None, reasons)), reaches))


def _claim_on(claim: Claim, run: Run) -> Judged:
    if claim.unmeasured:
        return _open(claim, f"not measured: {claim.unmeasured}")
    wanted = with_defaults(claim.of, claim.figure)
    every = measured_in(run, claim.figure)
    mine = [bundle for bundle in every if fits(bundle, wanted)]
    if not mine:
        return _open(claim, why_none(every, wanted))
    if claim.along:
        answers = list(_along(claim, mine, every, run))
    else:
        answers = [_answer(claim, bundle, every, run) for bundle in mine]
    return _summed_up(claim, answers) if answers else _open(claim, f"not measured: {_TOO_FEW}")


def _open(claim: Claim, reason: str, answers: Sequence[Answer] = ()) -> Judged:
    return Judged(claim, tuple(answers), _undecided(claim, reason))


def _undecided(claim: Claim, reason: str) -> Said:
    return Said(OPEN, reason, "cannot tell" if claim.is_to_be_reached else None)


def _summed_up(claim: Claim, answers: Sequence[Answer]) -> Judged:
    """One verdict: a claim is about every setting that it does not exclude, so one that refutes it is enough.

    Where engines differ, it says on which the claim holds.
    """
    if claim.figure not in NOT_OF_AN_ENGINE and (by_engine := _by_engine(answers)):
        return Judged(claim, tuple(answers), Said(PARTLY, by_engine))
    verdicts = [answer.said.verdict for answer in answers]
    verdict = next((each for each in (FAILS, HOLDS, ALL_BUT) if each in verdicts), OPEN)
    if verdict == OPEN:
        return _open(claim, (_nearest(answers) or answers[0]).said.reason, answers)
    reasons = [next(answer.said.reason for answer in answers if answer.said.verdict == verdict)]
    reasons += [f"in {verdicts.count(verdict)} of {len(answers)} settings"] if len(answers) > 1 else []
    return Judged(claim, tuple(answers), Said(verdict, ", ".join(reason for reason in reasons if reason)))


def _by_engine(answers: Sequence[Answer]) -> str:
    """The engines on which a claim holds wherever that can be told, and those on which it fails; empty without both."""
    found = grouped(answers, lambda answer: answer.bundle.cell.engine)
    verdicts = {engine: {answer.said.verdict for answer in mine} for engine, mine in found.items()}
    holding = [engine for engine, said in verdicts.items() if HOLDS in said and FAILS not in said]
    failing = [engine for engine, said in verdicts.items() if FAILS in said]
    if not holding or not failing:
        return ""
    return f"holds on {_listed(holding)}; not on {_listed(failing)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _answer(claim: Claim, bundle: Bundle, every: Sequence[Bundle], run: Run) -> Answer:
    if claim.rule not in ("ratio", "order"):
        return _judged(claim, run, (bundle,), score_of(claim, bundle))
    if claim.figure == "double_backward":
        return _judged(claim, run, (bundle,), of_derivatives(bundle))
    other = _partner(claim, bundle, every)
    if other is None:
        return _judged(claim, run, (bundle,), None, "nothing to compare with in the same setting")
    measured = gain_of(claim, bundle, other) if claim.figure == "quality" else ratio_of(claim, bundle, other)
    size = float(value(bundle, claim.per)) if claim.per else 1.0
    return _judged(claim, run, (bundle, other), measured, scale=1 / size if size else 1.0)


def _partner(claim: Claim, bundle: Bundle, every: Sequence[Bundle]) -> Bundle | None:
    """What a bundle is compared with: the same work, or the same training, but for what the claim says."""
    wanted = with_defaults({**claim.of, **claim.against}, claim.figure)
    free = ALIKE_TESTED if claim.figure == "adaptation" else _FREE
    axes = ALIKE if claim.figure == "quality" else [axis for axis in bundle.cell.axes if axis not in free]
    apart = {*claim.against, *(TRAINED_LIKE[axis] for axis in claim.against if axis in TRAINED_LIKE)}
    return matched(bundle, every, wanted, [axis for axis in axes if axis not in apart])


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
    lost = diverged_seeds(both[0]) if claim.figure == "quality" else 0
    if measured is None and lost and all(row.status == "diverged" for row in both[0].rows):
        measured = Measured(Interval(math.nan, math.nan, math.nan), diverged=lost)
    if measured is None:
        bad = [status_and_reason(bundle, _LONGEST_REASON) for bundle in both if status(bundle) != "ok"]
        said = _undecided(claim, f"not measured: {why_not or '; '.join(bad) or _TOO_FEW}")
    else:
        wanted = {**_setting(claim, len(both)), **as_usual(claim)}
        apart = list(dict.fromkeys(said for bundle in both for said in deviations(bundle, wanted)))
        said = judge(claim, measured, claimed, apart)
    cells = tuple(dict.fromkeys(row.id for bundle in both for row in bundle.rows))
    against = both[1] if len(both) > 1 and not claim.along else None
    return Answer(run, both[0], against, claimed, measured, said, cells, tuple(apart))


_LONGEST_REASON = 160
_TOO_FEW = "there are not enough figures for it"


def _setting(claim: Claim, sides: int) -> dict[str, Values]:
    """What the source had, without what makes both sides differ."""
    return {axis: values for axis, values in claim.setting.items() if sides == 1 or axis not in claim.against}


def _along(claim: Claim, mine: Sequence[Bundle], every: Sequence[Bundle], run: Run) -> Iterator[Answer]:
    """An answer for each line of cells that differ in one size alone."""
    axis = "model" if claim.along == "parameters" else claim.along
    sized = [bundle for bundle in mine if value(bundle, claim.along)]
    lines = by_cost(sized, axis)
    for line in [line for line in lines if len(line) > 1] or lines:
        others = [_partner(claim, bundle, every) for bundle in line] if claim.rule == "ratio" else []
        both = [*line, *(other for other in others if other)]
        yield _judged(claim, run, both, growth_of(claim, line, others))
