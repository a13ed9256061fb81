"""Timings as plain data, in seconds and bytes: the content of timings.json."""

from typing import Any

from msgspec import to_builtins

from metabench.statistics.intervals import Interval
from metabench.statistics.ratios import Ratio
from metabench.timing.result import StepResult, Timings
from metabench.timing.words import doubts, noise_text, sentences


def as_json(timings: Timings) -> dict[str, Any]:
    """All figures, and every sample."""
    return {
        "device": timings.device,
        "threads": timings.threads,
        "machine": timings.machine,
        "in_process": timings.in_process,
        "steps": [_step(timings, step) for step in timings.steps],
        "noise": noise_text(timings),
        "pairs": timings.pairs,
        "warnings": doubts(timings),
        "sentences": sentences(timings),
    }


def _step(timings: Timings, step: StepResult) -> dict[str, Any]:
    ratio = None if step is timings.baseline else timings.times_as_fast(step)
    return {
        "name": step.name,
        "label": step.label,
        "status": step.status,
        "reason": step.failed.reason if step.failed else "",
        "seconds": _interval(step.interval),
        "times_as_fast": _interval(ratio),
        "peak_bytes": step.peak.bytes if step.peak else None,
        "peak_method": step.peak.method if step.peak else None,
        "noisy": step.noisy,
        "runs": to_builtins(step.runs),
    }


def _interval(found: Interval | Ratio | None) -> dict[str, float | None] | None:
    """JSON has no infinity: the ends of an interval that is not known are null."""
    if found is None:
        return None
    known = found.known
    return {"value": found.value, "low": found.low if known else None, "high": found.high if known else None}
