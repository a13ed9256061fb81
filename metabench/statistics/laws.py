"""Laws of growth fitted to figures at several sizes: a power law, and a fixed part with a cost for each unit."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metabench.statistics.intervals import CONFIDENCE, Interval
from metabench.statistics.ratios import Round, exp_of
from metabench.statistics.spread import ROUNDS_TO_TELL, Spread, spread_between, spread_of_rounds

POINTS_TO_JUDGE = 3  # any law goes through two

CLOSE = 0.05
"""A straight line passes a point if it misses it by no more than this share of the whole growth, and a power law if it
misses it by no more than this share of the point."""
LEFT = 0.1
"""A size has left the law of the smaller ones if that misses it by more than this share, and than noise explains."""
LEAST_EXPLAINED = 0.98
"""R² below which a power law visibly does not fit."""
LEAST_DRAWN = 0.1
"""Share of a straight line's value below which its interval is not drawn, since an axis of logarithms never ends."""
ROUNDING = 1e-9  # a relative figure below it is taken for 0: rounding leaves as much, and nothing measured is so small
NO_CHANGE = 1e-12
"""Logarithms whose squares sum to less are all alike, and there is nothing for a law to explain."""
Array: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["constant", "line", "power", "none"]
INTERCEPT, SLOPE = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@dataclass(frozen=True)
class Estimate:
    """A figure, and its 95 % interval where there is one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Fit:
    """Intercept and slope fitted by least squares, and what their uncertainty stands on."""

    answers: Array
    """Intercept and slope of each round: (rounds, 2)."""
    inverse: Array
    """What makes them of a round's figures: (2, sizes)."""
    misfit: Spread | None
    """How far the law misses the means over the rounds, in deviations of a single process; None for two sizes."""
    noise: Spread | None
    """How one process differs from another; None where the run does not tell."""
    bent: bool | None
    """Whether the misfit is surely more than noise; None where no noise is known."""

    def estimate(self, shares: Array, rounding: float = 0.0, confidence: float = CONFIDENCE) -> Estimate:
        """The sum of intercept and slope in those shares; what is smaller than `rounding` is 0.

        The interval holds how processes differ and, where the law surely misses or nothing else is known, how far it
        misses. It is None for two sizes in fewer than three rounds without a noise floor.
        """
        value = _rounded(float(shares @ self.answers.mean(0)), rounding)
        gain = math.sqrt(float(np.sum((shares @ self.inverse) ** 2)))
        known = [spread.half_at(confidence) for spread in self._spreads(shares, gain)]
        if not known:
            return Estimate(value, None)
        half = _rounded(max(known) / math.sqrt(len(self.answers)), rounding)
        return Estimate(value, Interval(value, value - half, value + half))

    def _spreads(self, shares: Array, gain: float) -> list[Spread]:
        rounds = len(self.answers)
        misfit = self.misfit and self.misfit.times(gain)
        noise = self.noise and self.noise.times(gain)
        own = spread_of_rounds(self.answers @ shares) if rounds > 1 else None
        between = own if rounds >= ROUNDS_TO_TELL else None
        if noise:
            other = own or (misfit if not self.bent else None)
            between = noise.with_own(other) if other else noise
        missed = misfit if self.bent or between is None else None
        return [spread for spread in (between, missed) if spread]


@dataclass(frozen=True)
class Law:
    """What was fitted to one line."""

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    """Geometric means over the rounds."""
    rounds: int
    """How many rounds have all sizes, and were fitted; 0 where none has, and the mean of each size was."""
    tried: int
    """How many rounds have any size."""
    exponent: Estimate
    """p of value = c · size^p."""
    r_squared: float | None
    """R² of the power law in logarithms; None for two points, or where nothing changes."""
    each: Estimate
    """b of value = a + b · size."""
    fixed: Estimate
    """a of value = a + b · size."""
    power: Fit = field(repr=False, compare=False)
    """Fit of log c and p."""
    line: Fit = field(repr=False, compare=False)
    """Fit of a and b."""

    @property
    def bent(self) -> bool:
        """Whether a straight line misses a point by more than noise; also true where that is not known."""
        return self.line.bent is not False

    @property
    def straight(self) -> bool:
        """Whether the straight line rises, by its interval, and passes at least three points, all of them closely."""
        rise, found = max(self.values) - min(self.values), self.each.interval
        misses = [
            abs(value - self.fixed.value - self.each.value * size)
            for size, value in zip(self.sizes, self.values, strict=True)
        ]
        judged = len(self.sizes) >= POINTS_TO_JUDGE and found is not None and found.low > 0
        return judged and max(misses) <= CLOSE * rise

    @property
    def may_be_straight(self) -> bool:
        """Whether a straight line that rises may pass the figures: it does, or misses them by no more than noise."""
        if self.form == "constant":
            return False
        rises = self.each.interval is not None and self.each.interval.high > 0
        return self.straight or len(self.sizes) < POINTS_TO_JUDGE or (rises and not self.bent)

    @property
    def missed(self) -> bool:
        """Whether the power law misses a point by more than noise; where none is known, by more than `CLOSE` of it."""
        if self.power.bent is not None:
            return self.power.bent
        misses = [
            abs(math.log(value) - float(self.power.answers.mean(0) @ (1.0, math.log(size))))
            for size, value in zip(self.sizes, self.values, strict=True)
        ]
        return max(misses) > CLOSE

    @property
    def form(self) -> Form:
        """What describes the figures: nothing that grows, a power law, intercept and slope, or none of these.

        A power law describes them where it passes them, R² is at least `LEAST_EXPLAINED`, and no straight line with an
        intercept above 0 fits better. Through two sizes it always passes.
        """
        if max(self.values) - min(self.values) <= ROUNDING * max(self.values):
            return "constant"
        if len(self.sizes) < POINTS_TO_JUDGE:
            return "power"
        explained = self.r_squared is not None and self.r_squared >= LEAST_EXPLAINED
        passed = self.straight or not self.bent
        if explained and not self.missed and not (passed and self._begins_above_zero):
            return "power"
        if passed:
            return "line"
        return "power" if self.power.bent is False else "none"

    @property
    def _begins_above_zero(self) -> bool:
        """Whether a straight line misses less than the power law does, and its intercept is surely above 0."""
        line, power, intercept = self.line.misfit, self.power.misfit, self.fixed.interval
        if not (line and power and intercept):
            return False
        return intercept.low > 0 and line.deviation < power.deviation

    @property
    def local(self) -> float:
        """The exponent between the two largest sizes."""
        rise, growth = (math.log(found[-1] / found[-2]) for found in (self.values, self.sizes))
        return rise / growth

    def at(self, size: float, confidence: float = CONFIDENCE) -> Estimate:
        """The figure at a size, by the law of its form."""
        if self.form == "line":
            said = self.line.estimate(np.array([1.0, size]), confidence=confidence)
            ends = said.interval
            low = max(ends.low, LEAST_DRAWN * said.value) if ends else 0.0
            return Estimate(said.value, ends and Interval(ends.value, low, ends.high))
        said = self.power.estimate(np.array([1.0, math.log(size)]), confidence=confidence)
        return Estimate(exp_of(said.value), said.interval and Interval(*map(exp_of, astuple(said.interval))))


def fit(rounds: Mapping[Round, Mapping[float, float]], noise: Spread | None = None) -> Law | None:
    """Both laws of a line whose positive figures are given by round and positive size; None below two sizes.

    Each law is fitted by least squares of relative errors within every round that has all sizes, and the rounds'
    answers are averaged. Whatever slows a round as a whole therefore does not change the exponent. Where no round has
    all sizes, the geometric mean of each size over its own rounds is fitted, as one round would be. `noise` is how one
    process differs from another; `Fit.estimate` says what the intervals hold.
    """
    sizes = sorted({size for points in rounds.values() for size in points})
    whole = [points for _, points in sorted(rounds.items()) if len(points) == len(sizes)]
    if len(sizes) < 2:
        return None
    x = np.array(sizes)
    y = np.array([[points[size] for size in sizes] for points in whole or [_means(rounds)]])
    means = np.exp(np.log(y).mean(0))
    power, line = _fitted(np.log(x), np.log(y), np.ones_like(x), noise), _fitted(x, y, 1 / means, noise)
    largest = float(means.max())
    exponent = power.estimate(SLOPE, ROUNDING)
    if np.ptp(y) <= ROUNDING * largest:  # exact figures that do not change: no misfit, however few sizes
        exponent = Estimate(0.0, Interval(0.0, 0.0, 0.0))
    return Law(
        tuple(sizes),
        tuple(means.tolist()),
        len(whole),
        len(rounds),
        exponent,
        _r_squared(np.log(x), np.log(means), power.answers.mean(0)),
        line.estimate(SLOPE, ROUNDING * largest / float(x.max())),
        line.estimate(INTERCEPT, ROUNDING * largest),
        power,
        line,
    )


def _means(rounds: Mapping[Round, Mapping[float, float]]) -> dict[float, float]:
    """The geometric mean of each size over the rounds that have it."""
    logs: dict[float, list[float]] = {}
    for _, points in sorted(rounds.items()):
        for size, value in points.items():
            logs.setdefault(size, []).append(math.log(value))
    return {size: math.exp(math.fsum(found) / len(found)) for size, found in logs.items()}


def left_at(rounds: Mapping[Round, Mapping[float, float]], noise: Spread | None = None) -> float | None:
    """The first size at which the law of all smaller sizes ends, for figures by round and size.

    Three sizes are needed for a law: where none passes the three smallest, it ends at the third. None where the law
    holds up to the largest size, and where there are fewer than four. What the law says and what was measured are both
    uncertain. Each size that is looked at is a chance to be wrong, and all of them together have 5 %.
    """
    whole = fit(rounds, noise)
    if whole is None:
        return None
    beyond = list(zip(whole.sizes, whole.values, strict=True))[POINTS_TO_JUDGE:]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(beyond))
    for size, value in beyond:
        smaller = {number: {s: points[s] for s in points if s < size} for number, points in rounds.items()}
        law = fit(smaller, noise)
        if law is None or law.form == "none":
            return law.sizes[-1] if law else None
        said = law.at(size, confidence)
        if said.value <= 0:
            return size
        logs = [math.log(points[size]) for points in rounds.values() if size in points]
        between = spread_between(logs, noise)
        own = between.half_at(confidence) / math.sqrt(len(logs)) if between else 0.0
        end = said.interval and (said.interval.high if value > said.value else said.interval.low)
        half = math.hypot(math.log(end / said.value) if end else 0.0, own)
        if abs(math.log(value / said.value)) > half and abs(value / said.value - 1) > LEFT:
            return size
    return None


def _fitted(x: Array, y: Array, weights: Array, noise: Spread | None) -> Fit:
    """Intercept and slope of y (rounds, sizes) against x (sizes), where errors are as large as 1 / weights."""
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    inverse: Array = np.linalg.pinv(design).astype(np.float64)
    answers = (y * weights) @ inverse.T
    rounds, free = len(y), len(x) - 2
    if not free:
        return Fit(answers, inverse, None, noise, None)
    misses = y * weights - answers @ design.T
    misfit = Spread(math.sqrt(rounds * float(np.sum(misses.mean(0) ** 2)) / free), free)
    known = noise
    if rounds >= ROUNDS_TO_TELL:
        freedom = (rounds - 1) * free
        scatter = Spread(math.sqrt(float(np.sum((misses - misses.mean(0)) ** 2)) / freedom), freedom)
        known = noise.with_own(scatter) if noise else scatter
    bent = known and misfit.surely_above(known) and misfit.deviation > ROUNDING
    return Fit(answers, inverse, misfit, noise, None if known is None else bool(bent))


def _r_squared(x: Array, y: Array, centre: Array) -> float | None:
    about, missed = float(((y - y.mean()) ** 2).sum()), float(((y - centre[0] - centre[1] * x) ** 2).sum())
    return 1 - missed / about if len(x) >= POINTS_TO_JUDGE and about > NO_CHANGE else None


def _rounded(value: float, rounding: float) -> float:
    return value if abs(value) > rounding else 0.0
