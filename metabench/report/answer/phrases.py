"""What may be said of ratios and differences: a claim only where the interval tells both sides apart."""

from collections.abc import Sequence

from metabench.report.noise import DRIFTING, SAME, ratio_mark
from metabench.report.numbers import contrast_text, trim, with_interval
from metabench.report.scores import Contrast
from metabench.statistics.ratios import Interval, Ratio

HALF = 2.0
"""A ratio from which on, up or down, one says how many times instead of how many per cent."""


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def speed(ratio: Ratio, drift: float, other: str) -> str:
    """What a ratio of times says: how many times as fast it is, or that no difference can be told."""
    mark = ratio_mark(ratio, drift)
    if mark == SAME:
        return f"no difference in time from {other} that can be told"
    if mark == DRIFTING:
        return f"a difference in time from {other} that drift could explain"
    if ratio.value < 1:
        return f"{with_interval(inverse(ratio))} times as fast as {other}"
    return f"{with_interval(ratio)} times as long as {other}"


def inverse(ratio: Ratio) -> Ratio:
    """The ratio the other way round."""
    return Ratio(1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else float("inf"), ratio.rounds)


def less_memory(ratios: Sequence[float]) -> str:
    """What exact ratios of memory say, of one setting or of several."""
    least, most = min(ratios), max(ratios)
    if most < 1:
        return f"{_span(100 * (1 - most), 100 * (1 - least))} % less memory"
    if least == most == 1:
        return "no less memory"
    if least > 1 and most < HALF:
        return f"{_span(100 * (least - 1), 100 * (most - 1))} % more memory"
    return f"{_span(100 * least, 100 * most)} % of the memory"


def _span(low: float, high: float) -> str:
    """Two numbers as a range; one where they read alike."""
    texts = [f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in (low, high)]
    return " to ".join(dict.fromkeys(texts))


def times(ratios: Sequence[Ratio]) -> str:
    """How many times, as a range over settings: each end as its own interval supports."""
    if len(ratios) == 1:
        return str(with_interval(ratios[0]))
    ends = (min(ratios, key=lambda one: one.value), max(ratios, key=lambda one: one.value))
    return " to ".join(dict.fromkeys(trim(one.value, one.low, one.high) for one in ends))


def told(one: Contrast, metric: str) -> bool:
    """Whether two scores may be called different."""
    nothing = 0.0 if metric == "accuracy" else 1.0
    return not one.figure.low <= nothing <= one.figure.high


def difference(one: Contrast, metric: str, word: str) -> str:
    """What a difference of scores says, with its interval."""
    if not told(one, metric):
        return f"no difference in {word} that can be told"
    if metric != "accuracy":
        return f"{contrast_text(one.figure, metric)} times the {word}"
    low, high = sorted((abs(one.figure.low), abs(one.figure.high)))
    points = with_interval(Interval(abs(one.figure.value), low, high), 0.01, "points")
    number, _, interval = points.partition(" points")
    return f"{number} points {'lower' if one.figure.value < 0 else 'higher'} {word}{interval}"
