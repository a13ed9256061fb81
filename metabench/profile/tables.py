"""A profile as tables, as facts in words, and as JSON."""

from collections.abc import Mapping
from typing import Any

from metabench.measure.launches import covered
from metabench.measure.marks import SAMPLING
from metabench.profile.measuring import Profile, peaks_of
from metabench.profile.trace import Operator, by_name, gaps, levels
from metabench.report.bundles import time_key
from metabench.report.numbers import NOTHING, bytes_text, duration_text, time_text, with_interval
from metabench.report.render.tables import Table, setting
from metabench.report.sections.device import NOTES, DeviceWork, busy_text, launches_text
from metabench.statistics.ratios import Interval

MOST_OPERATORS = 15
CLOSE = 0.05
"""Phases that add up to the meta-iteration within this share are taken as its division without a word."""


def title(profile: Profile) -> str:
    """The implementation and its setting."""
    return f"Profile of {profile.cell.implementation}: {where(profile)}"


def where(profile: Profile) -> str:
    """The setting in words."""
    cell = profile.cell
    axes = [axis for axis, _ in time_key(cell) if axis not in ("algorithm", "engine")]
    return setting(cell, axes, {profile.cell.task: profile.data})


def facts(profile: Profile) -> list[tuple[str, str]]:
    """Name and value, in the order of a reader's questions."""
    step, trace, found = profile.phases.step, profile.trace, counts(profile)
    says = [
        ("implementation", profile.cell.implementation),
        ("setting", where(profile)),
        ("machine", profile.machine),
        (
            "meta-iteration",
            f"{time_text(Interval(step.median, step.low, step.high))}, {step.n} samples, without the profiler"
            + (f", {profile.cell.trained_otherwise}" if profile.cell.trained_otherwise else ""),
        ),
        ("phases", _sum_text(profile)),
        (
            "operator calls",
            f"{found['calls']:,} that call no other, {_per_call(profile)} of the meta-iteration for each",
        ),
        ("recorded iteration", f"{duration_text(trace.seconds)}: {trace.seconds / step.median:.1f} times as long"),
        (
            "of it in those operators",
            f"{_share(found['computing_s'], trace.seconds)}; the rest is eager overhead: Python, autograd's and "
            "torch.func's books, dispatch, the profiler",
        ),
        (
            "work",
            f"{profile.flops / 1e6:.3g} MFLOP and {bytes_text(profile.bytes)} as loop's operators move them: "
            f"{profile.flops / profile.bytes:.2g} FLOP a byte",
        ),
        ("achieved", _rate_text(profile)),
        ("peak memory", _memory_text(profile)),
    ]
    if not found["calls"]:  # an engine of another kind: what torch does not see is no overhead
        says = [entry for entry in says if entry[0] not in ("operator calls", "of it in those operators")]
    work = _device_work(profile)
    says += [("GPU", _gpu_text(profile))] if trace.kernels else []
    says += [("launches", _launches_text(profile))] if profile.launches else []
    return says + ([("bound", NOTES[work.bound])] if work and work.bound else [])


def warnings(profile: Profile) -> list[str]:
    """What a reader must know before believing it."""
    found = []
    step, phases = profile.phases.step, profile.phases
    if not profile.divided:
        found.append(
            f"{profile.cell.engine} runs its part as one piece: what happens inside has no phases, and operators that "
            "are not torch's are not seen."
        )
    if phases.ratio.low > 1 + CLOSE or phases.ratio.high < 1 - CLOSE:
        found.append(
            f"With marks the meta-iteration takes {phases.ratio.median:.2f} times as long "
            f"[{phases.ratio.low:.2f}, {phases.ratio.high:.2f}]: read the phases as shares."
        )
    elif abs(phases.deviation) > CLOSE or step.relative_width > CLOSE:
        found.append("The timings are noisy: close other programs, or raise --seconds.")
    if profile.peaks and profile.peaks.noisy:
        found.append("The machine's peaks were measured while their timings were noisy: shares of peak are too high.")
    return found


def tables(profile: Profile) -> list[Table]:
    """Phases, operators, memory."""
    return [phases_table(profile), operators_table(profile), memory_table(profile)]


def phases_table(profile: Profile) -> Table:
    """The phases with their intervals."""
    phases = profile.phases
    calls = _calls(profile)
    rows = []
    for name, figure in phases.seconds.items():
        time = time_text(Interval(figure.value, figure.low, figure.high))
        share = "–" if name == SAMPLING else _share(figure.value, phases.total)
        rows.append((name, time, share, str(calls[name]) if name in calls else "–"))
    notes = ["Sampling of tasks is no part of the meta-iteration.", f"Together: {_sum_text(profile)}."]
    says = (
        "Time of the phases of one meta-iteration with 95 % intervals: means over the middle fifth of the iterations."
    )
    return Table("Phases", says, ("phase", "time", "share", "operator calls"), tuple(rows), tuple(notes))


def operators_table(profile: Profile) -> Table:
    """The operators that took longest."""
    kinds = by_name(profile.trace.operators)
    whole = sum(kind.own for kind in kinds)
    rows = [
        (
            kind.name,
            str(kind.calls),
            duration_text(kind.own),
            duration_text(kind.own / kind.calls),
            _share(kind.own, whole),
        )
        for kind in kinds[:MOST_OPERATORS]
    ]
    left = len(kinds) - len(rows)
    says = (
        "Self time in the recorded iteration, without what an operator calls, and with the profiler's own work in it."
    )
    notes = (f"{left} more operators are in profile.json.",) if left > 0 else ()
    return Table("Operators", says, ("operator", "calls", "self time", "a call", "share"), tuple(rows), notes)


def memory_table(profile: Profile) -> Table:
    """The highest level of live bytes in each phase."""
    peaks = memory_by_phase(profile)
    top = max(peaks.values(), default=0)
    rows = [(phase, bytes_text(peak), "the peak" if peak == top and top else "") for phase, peak in peaks.items()]
    says = "The most bytes of tensors that were live in each phase, above those at the start of the meta-iteration."
    return Table("Memory", says, ("phase", "peak", ""), tuple(rows) if top else ())


def memory_by_phase(profile: Profile) -> dict[str, int]:
    """Peak live bytes by phase, in the phases' order."""
    found: dict[str, int] = {}
    for level in levels(profile.trace):
        found[level.phase] = max(found.get(level.phase, 0), level.bytes)
    return {name: found[name] for name in profile.phases.seconds if name in found}


def counts(profile: Profile) -> dict[str, Any]:
    """Figures of the recorded iteration."""
    computing = [operator for operator in profile.trace.operators if operator.computes]
    spans = [operator.span for operator in profile.trace.operators]
    return {
        "recorded_s": profile.trace.seconds,
        "calls": len(computing),
        "computing_s": sum(operator.own for operator in computing),
        "in_operators_s": covered(spans),
        "seconds_per_call": profile.phases.step.median / len(computing) if computing else None,
    }


def as_json(profile: Profile) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    step, phases, peak = profile.phases.step, profile.phases, memory_by_phase(profile)
    rate = profile.flops / step.median
    kernels, work = profile.trace.kernels, _device_work(profile)
    return {
        "implementation": profile.cell.implementation,
        "cell": profile.cell.to_json(),
        "data": profile.data,
        "machine": profile.machine,
        "meta_iteration": {name: getattr(step, name) for name in ("median", "low", "high", "n")},
        "phases": {name: {"value": f.value, "low": f.low, "high": f.high} for name, f in phases.seconds.items()},
        "phases_deviation": phases.deviation,
        "marks_ratio": {name: getattr(phases.ratio, name) for name in ("median", "low", "high")},
        "recorded": counts(profile),
        "calls_by_phase": _calls(profile),
        "operators": [
            {"name": kind.name, "calls": kind.calls, "self_s": kind.own} for kind in by_name(profile.trace.operators)
        ],
        "memory_by_phase": peak,
        "flops": profile.flops,
        "bytes": profile.bytes,
        "flops_per_second": rate,
        "peaks": peaks_of(profile),
        "share_of_peak": rate / max(profile.peaks.matmul, profile.peaks.convolution) if profile.peaks else None,
        "gpu": {
            "kernels": len(kernels),
            "busy_s": covered(kernels),
            "gaps": len(gaps(kernels)),
            "idle_s": sum(gaps(kernels)),
            "launches": work.launches if work else None,
            "busy_share": work.busy_share if work else None,
            "bound": work.bound if work else "",
        }
        if kernels
        else None,
        "warnings": warnings(profile),
    }


def _calls(profile: Profile) -> Mapping[str, int]:
    found: dict[str, int] = {}
    operators: list[Operator] = [operator for operator in profile.trace.operators if operator.computes]
    for operator in operators:
        found[operator.stack[0]] = found.get(operator.stack[0], 0) + 1
    return found


def _per_call(profile: Profile) -> str:
    seconds = counts(profile)["seconds_per_call"]
    return duration_text(seconds) if seconds else "–"


def _sum_text(profile: Profile) -> str:
    ratio = profile.phases.ratio
    pairs = with_interval(Interval(ratio.median, ratio.low, ratio.high))
    shown = f"{100 * profile.phases.deviation:+.1f} % against the meta-iteration without marks"
    return f"{duration_text(profile.phases.total)}, {shown} (in pairs, {pairs} times)"


def _rate_text(profile: Profile) -> str:
    rate = profile.flops / profile.phases.step.median
    if not profile.peaks:
        return f"{rate / 1e9:.3g} GFLOP/s; the machine's peak was not measured"
    peak = max(profile.peaks.matmul, profile.peaks.convolution)
    return f"{rate / 1e9:.3g} GFLOP/s, {_share(rate, peak)} of the machine's {peak / 1e9:.3g} GFLOP/s"


def _memory_text(profile: Profile) -> str:
    peaks = memory_by_phase(profile)
    top = max(peaks.values(), default=0)
    if not top:
        return "not seen: it is none of torch's tensors" if profile.foreign else "nothing was allocated"
    phase = next(name for name, peak in peaks.items() if peak == top)
    return f"{bytes_text(top)} of live tensors above the start, in {phase}"


def _gpu_text(profile: Profile) -> str:
    kernels = profile.trace.kernels
    idle = gaps(kernels)
    return (
        f"{len(kernels):,} kernels, busy {duration_text(covered(kernels))}; "
        f"{len(idle):,} gaps between them of {duration_text(sum(idle))} in all"
    )


def _device_work(profile: Profile) -> DeviceWork | None:
    """What a meta-iteration asks of the GPU, as shares of its time without the profiler."""
    found = profile.launches
    if found is None or found.launches is None:
        return None
    busy = None if found.busy_s is None else min(1.0, found.busy_s / profile.phases.step.median)
    return DeviceWork(found.launches, found.kernels, busy)


def _launches_text(profile: Profile) -> str:
    work = _device_work(profile)
    if work is None:
        return f"not known: {profile.launches.note}" if profile.launches else NOTHING
    share = "" if work.busy_share is None else f"; the GPU is busy for this share of the time: {busy_text(work)}"
    return f"{launches_text(work)}{share}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "–"
