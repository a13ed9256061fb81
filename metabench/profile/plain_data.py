"""A profile as plain data: the content of profile.json."""

from typing import Any

from metabench.measure.launches import covered
from metabench.profile.advice import advice
from metabench.profile.facts import device_work, warnings
from metabench.profile.measuring import Profile, peaks_of
from metabench.profile.tables import calls_by_phase, counts, memory_by_phase
from metabench.profile.trace import gaps


def as_json(profile: Profile) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    step, phases, crowding = profile.phases.step, profile.phases, profile.crowding
    rate = profile.flops / step.median
    kernels, work = profile.trace.kernels, device_work(profile)
    return {
        "implementation": profile.cell.implementation,
        "cell": profile.cell.to_json(),
        "data": profile.data,
        "machine": profile.machine,
        "advice": advice(profile),
        "meta_iteration": {name: getattr(step, name) for name in ("median", "low", "high", "n")},
        "phases": {name: {"value": f.value, "low": f.low, "high": f.high} for name, f in phases.seconds.items()},
        "phases_deviation": phases.deviation,
        "marks_ratio": {name: getattr(phases.ratio, name) for name in ("median", "low", "high")},
        "recorded": counts(profile),
        "calls_by_phase": calls_by_phase(profile),
        "operators": [
            {
                "name": each.name,
                "calls": each.calls,
                "self_s": each.own.value,
                "self_low_s": each.own.low,
                "self_high_s": each.own.high,
            }
            for each in profile.recording.operators
        ],
        "memory_by_phase": memory_by_phase(profile),
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
        "others_cores": crowding.others,
        "load": crowding.load,
        "cores": crowding.cores,
        "warnings": warnings(profile),
    }
