"""Times as far as they can be trusted: one that noise leaves open is never shown as a plain figure."""

from metabench.report.numbers import NOTHING, Valued, duration_text, time_text
from metabench.statistics.ratios import Interval

VAGUE = 4.0
"""An interval whose ends differ by more than this factor says no more than what a time is at most."""


def is_vague(time: Interval) -> bool:
    """Whether the interval leaves the time open: it begins at zero, or its ends are far apart."""
    return time.high > VAGUE * time.low


def told_time(time: Interval) -> Valued:
    """A time with its interval, or what it is at most."""
    at_most = time.known and is_vague(time)
    return Valued(f"at most {duration_text(time.high)}", time.value) if at_most else time_text(time)


def told_share(time: Interval, whole: float) -> str:
    """The share of a time in a whole, in per cent, or what it is at most."""
    if not whole:
        return NOTHING
    if time.known and is_vague(time):
        return Valued(f"at most {share_text(min(time.high, whole), whole)}", time.value / whole)
    return share_text(time.value, whole)


def share_text(part: float, whole: float) -> Valued:
    """A share in per cent, with two digits."""
    share = part / whole
    return Valued(f"{100 * share:.{0 if share >= 0.0995 else 1}f} %", share)
