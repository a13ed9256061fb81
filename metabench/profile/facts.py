"""A profile as facts in words, and as warnings."""

from metabench.measure.launches import covered
from metabench.profile.measuring import Profile
from metabench.profile.tables import counts, memory_by_phase, self_time_text
from metabench.profile.trace import gaps
from metabench.profile.trust import is_vague, share_text, told_time
from metabench.report.numbers import NOTHING, bytes_text, duration_text
from metabench.report.phases import phase_word
from metabench.report.sections.device import NOTES, DeviceWork, busy_text, launches_text
from metabench.statistics.ratios import Interval

CLOSE = 0.05
"""Phases that add up to the meta-iteration within this share are taken as its division without a word."""
SHORT = (
    *("machine", "meta-iteration", "recorded iteration", "in operators", "leaf operator calls", "achieved"),
    *("peak memory", "GPU", "launches"),
)
"""The facts that a terminal shows at first."""


def facts(profile: Profile) -> list[tuple[str, str]]:
    """Name and value, in the order of a reader's questions."""
    step, recorded = profile.phases.step, profile.recording.seconds
    times_as_long = f"{recorded.median / step.median:.1f} times as long as without the profiler"
    says = [
        ("machine", profile.machine),
        (
            "meta-iteration",
            f"{told_time(step_of(profile))}, the median of {step.n}, without instrumentation"
            + (f", {profile.cell.trained_otherwise}" if profile.cell.trained_otherwise else ""),
        ),
        (
            "recorded iteration",
            f"{told_time(Interval(recorded.median, recorded.low, recorded.high))}, the median of {recorded.n} under "
            f"the profiler: {times_as_long}",
        ),
        ("in operators", f"{self_time_text(profile)}; the rest passes in Python and in the profiler"),
        ("leaf operator calls", _calls_text(profile)),
        (
            "work",
            f"{profile.flops / 1e6:.3g} MFLOP and {bytes_text(profile.bytes)} as loop's operators move them: "
            f"{profile.flops / profile.bytes:.2g} FLOP a byte",
        ),
        ("achieved", _rate_text(profile)),
        ("peak memory", _memory_text(profile)),
    ]
    if not profile.recording.operators:  # an engine of another kind: what torch does not see is no overhead
        says = [entry for entry in says if entry[0] not in ("in operators", "leaf operator calls")]
    work = device_work(profile)
    says += [("GPU", _gpu_text(profile))] if profile.trace.kernels else []
    says += [("launches", _launches_text(profile))] if profile.launches else []
    return says + ([("bound", NOTES[work.bound])] if work and work.bound else [])


def warnings(profile: Profile) -> list[str]:
    """What a reader must know before believing it."""
    found = [profile.crowding.warning] if profile.crowding.warning else []
    step, phases = profile.phases.step, profile.phases
    if not profile.divided:
        found.append(
            f"{profile.cell.engine} runs its part as one piece: what happens inside has no phases, and operators that "
            "are not torch's are not seen."
        )
    if phases.ratio.low > 1 + CLOSE or phases.ratio.high < 1 - CLOSE:
        found.append(
            f"With instrumentation the meta-iteration takes {phases.ratio.median:.2f} times as long "
            f"[{phases.ratio.low:.2f}, {phases.ratio.high:.2f}]: read the phases as shares."
        )
    elif abs(phases.deviation) > CLOSE or step.relative_width > CLOSE:
        found.append("The timings are noisy: close other programs, or raise --seconds.")
    if profile.peaks and profile.peaks.noisy:
        found.append("The machine's peaks were measured while their timings were noisy: shares of peak are too high.")
    return found


def step_of(profile: Profile) -> Interval:
    """The time of a meta-iteration without instrumentation."""
    step = profile.phases.step
    return Interval(step.median, step.low, step.high)


def device_work(profile: Profile) -> DeviceWork | None:
    """What a meta-iteration asks of the GPU, as shares of its time without the profiler."""
    found = profile.launches
    if found is None or found.launches is None:
        return None
    busy = None if found.busy_s is None else min(1.0, found.busy_s / profile.phases.step.median)
    return DeviceWork(found.launches, found.kernels, busy)


def _calls_text(profile: Profile) -> str:
    found = counts(profile)
    each = found["seconds_per_call"]
    if not each:
        return str(found["calls"])
    each_text = "" if is_vague(step_of(profile)) else f", one for each {duration_text(each)} of the meta-iteration"
    return f"{found['calls']:,} calls (operators that call no other operator){each_text}"


def _rate_text(profile: Profile) -> str:
    if is_vague(step_of(profile)):
        return "cannot be told: the timings are too noisy"
    rate = profile.flops / profile.phases.step.median
    if not profile.peaks:
        return f"{rate / 1e9:.3g} GFLOP/s; the machine's peak was not measured"
    peak = max(profile.peaks.matmul, profile.peaks.convolution)
    return f"{rate / 1e9:.3g} GFLOP/s, {share_text(rate, peak)} of the machine's {peak / 1e9:.3g} GFLOP/s"


def _memory_text(profile: Profile) -> str:
    peaks = memory_by_phase(profile)
    top = max(peaks.values(), default=0)
    if not top:
        return "not seen: it is none of torch's tensors" if profile.foreign else "nothing was allocated"
    phase = next(name for name, peak in peaks.items() if peak == top)
    return f"{bytes_text(top)} of live tensors above the start, in the phase {phase_word(phase)}"


def _gpu_text(profile: Profile) -> str:
    kernels = profile.trace.kernels
    idle = gaps(kernels)
    return (
        f"{len(kernels):,} kernels, busy {duration_text(covered(kernels))}; "
        f"{len(idle):,} gaps between them of {duration_text(sum(idle))} in all"
    )


def _launches_text(profile: Profile) -> str:
    work = device_work(profile)
    if work is None:
        return f"not known: {profile.launches.note}" if profile.launches else NOTHING
    share = "" if work.busy_share is None else f"; the GPU is busy for this share of the time: {busy_text(work)}"
    return f"{launches_text(work)}{share}"
