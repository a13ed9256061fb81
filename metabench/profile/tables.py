"""A profile as tables: phases, operators, memory, and the files beside the page."""

from collections.abc import Mapping
from typing import Any

from metabench.measure.launches import covered
from metabench.measure.marks import SAMPLING
from metabench.profile.measuring import Profile
from metabench.profile.trace import levels
from metabench.profile.trust import share_text, told_share, told_time
from metabench.report.bundles import time_key
from metabench.report.numbers import NOTHING, Linked, bytes_text, duration_text, with_interval
from metabench.report.phases import phase_word
from metabench.report.render.tables import Table, setting
from metabench.statistics.ratios import Interval

MOST_OPERATORS = 15
FILES = (
    ("trace.json", "One recorded meta-iteration, event by event: open trace.json in ui.perfetto.dev (drag it there)."),
    ("stacks.folded", "Phases and the operators called in them, as text for flamegraph.pl and speedscope.app."),
    ("profile.json", "All figures of this page, in seconds and bytes, for programs."),
)
"""Name and use of the files beside the page."""


def title(profile: Profile) -> str:
    """The implementation and its setting."""
    return f"Profile of {profile.cell.implementation}: {where(profile)}"


def where(profile: Profile) -> str:
    """The setting in words."""
    cell = profile.cell
    axes = [axis for axis, _ in time_key(cell) if axis not in ("algorithm", "engine")]
    return setting(cell, axes, {profile.cell.problem: profile.data})


def phases_table(profile: Profile) -> Table:
    """The phases with their intervals."""
    phases, calls = profile.phases, calls_by_phase(profile)
    rows = []
    for name, figure in phases.seconds.items():
        time = Interval(figure.value, figure.low, figure.high)
        share = NOTHING if name == SAMPLING else told_share(time, phases.total)
        called = str(calls[name]) if name in calls else NOTHING
        rows.append((phase_word(name), told_time(time), share, called))
    says = (
        "Time of the phases of one meta-iteration without the profiler, with 95 % intervals: means over the middle "
        f"fifth of the iterations. Shares are of all phases together: {sum_text(profile)}. Sampling of tasks is no "
        "part of the meta-iteration."
    )
    return Table("Phases", says, ("phase", "time", "share of all phases", "leaf operator calls"), tuple(rows))


def operators_table(profile: Profile, most: int = MOST_OPERATORS) -> Table:
    """The operators that take longest."""
    recording = profile.recording
    rows = tuple(
        (
            each.name,
            str(each.calls),
            told_time(each.own),
            duration_text(each.own.value / each.calls) if each.calls else NOTHING,
            told_share(each.own, recording.in_operators),
        )
        for each in recording.operators[:most]
    )
    says = (
        "Self time of each operator in one meta-iteration under the profiler, without the operators that it calls: "
        f"medians over {recording.seconds.n} recorded iterations, with 95 % intervals. Shares are of the self time of "
        f"all operators: {self_time_text(profile)}."
    )
    left = len(recording.operators) - len(rows)
    notes = (f"{left} more operators are in profile.json.",) if left > 0 else ()
    return Table("Operators", says, ("operator", "calls", "self time", "a call", "share of self time"), rows, notes)


def memory_table(profile: Profile) -> Table:
    """The highest level of live bytes in each phase."""
    peaks = memory_by_phase(profile)
    top = max(peaks.values(), default=0)
    rows = tuple((phase_word(phase), bytes_text(peak), share_text(peak, top)) for phase, peak in peaks.items() if top)
    says = (
        "The most bytes of tensors that were live in each phase, above those at the start of the meta-iteration. "
        "Shares are of the peak of the whole meta-iteration."
    )
    return Table("Memory", says, ("phase", "peak", "share of the highest peak"), rows)


def files_table() -> Table:
    """The files beside the page, as links."""
    rows = tuple((Linked(name, name), use) for name, use in FILES)
    return Table("Files", "They lie in the folder of this page, which itself loads nothing.", ("file", "use"), rows)


def sum_text(profile: Profile) -> str:
    """The sum of the phases, and by how much it misses the meta-iteration."""
    ratio, phases = profile.phases.ratio, profile.phases
    paired = with_interval(Interval(ratio.median, ratio.low, ratio.high))
    more = f"{100 * abs(phases.deviation):.1f} % {'more' if phases.deviation >= 0 else 'less'}"
    return f"{duration_text(phases.total)}, {more} than the meta-iteration without instrumentation (paired: {paired})"


def self_time_text(profile: Profile) -> str:
    """The self time of all operators, and its share of the recorded iteration."""
    recording = profile.recording
    share = share_text(recording.in_operators, recording.seconds.median)
    whole = duration_text(recording.seconds.median)
    return f"{duration_text(recording.in_operators)}, {share} of the recorded iteration ({whole})"


def memory_by_phase(profile: Profile) -> dict[str, int]:
    """Peak live bytes by phase, in the phases' order."""
    found: dict[str, int] = {}
    for level in levels(profile.trace):
        found[level.phase] = max(found.get(level.phase, 0), level.bytes)
    return {name: found[name] for name in profile.phases.seconds if name in found}


def calls_by_phase(profile: Profile) -> Mapping[str, int]:
    """How many leaf operators are called in each phase."""
    found: dict[str, int] = {}
    for operator in profile.trace.operators:
        if operator.computes:
            found[operator.stack[0]] = found.get(operator.stack[0], 0) + 1
    return found


def counts(profile: Profile) -> dict[str, Any]:
    """Figures of the recorded iterations; calls and memory are of the one that is kept whole."""
    seconds = profile.recording.seconds
    computing = [operator for operator in profile.trace.operators if operator.computes]
    spans = [operator.span for operator in profile.trace.operators]
    return {
        "iterations": seconds.n,
        "median_s": seconds.median,
        "low_s": seconds.low,
        "high_s": seconds.high,
        "self_s": profile.recording.in_operators,
        "recorded_s": profile.trace.seconds,
        "calls": len(computing),
        "computing_s": sum(operator.own for operator in computing),
        "in_operators_s": covered(spans),
        "seconds_per_call": profile.phases.step.median / len(computing) if computing else None,
    }
