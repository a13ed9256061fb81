"""Which engine to take for a setting: the figures of a brief sweep, put in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from metabench.record.cell import Cell
from metabench.record.measurement import HAPPENED, Measurement, Memory
from metabench.report.axes import MACHINE, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import LOOP, Bundle, Peak, bundles, status, time_key
from metabench.report.marks import DISTURBED
from metabench.report.numbers import NOTHING, bytes_text, duration_text, time_text, trim, with_interval
from metabench.report.render.tables import Table, setting
from metabench.report.sections.base import Column, table_of
from metabench.statistics.ratios import Interval, Ratio, ratio_interval
from metabench.statistics.spread import Spread, student

PAIRS_WORTH = 9
"""Degrees of freedom of an assumption: it counts as much as five noise pairs would."""
PROCESSES = Spread(math.log(1.1) / (math.sqrt(2) * student(PAIRS_WORTH)), PAIRS_WORTH)
"""How processes differ on a shared machine: two with the same work by up to a tenth. Intervals hold it, since advice
takes no time for noise pairs."""
PEAKS = {
    "cuda_allocated_bytes": ("allocated", "what CUDA tensors held, weights and tasks included"),
    "tracked_bytes": ("tracked", "tensors' live bytes, above those from before the meta-iteration"),
    "resident_bytes": ("resident", "the whole process, above what it held before; its tensors alone are not known"),
    "nvml_bytes": ("on the GPU", "all that the process held there, CUDA's own context included"),
}
"""Measures of memory, the one that says most first: its word, and what it is."""


@dataclass(frozen=True)
class Candidate:
    """What was found of one engine, where it is known; `compile_s` is None too where nothing is compiled."""

    engine: str
    status: str
    reason: str
    step: Interval | None
    noisy: bool
    disturbed: bool
    samples: Mapping[int, Sequence[float]]
    peak: Peak | None
    compile_s: float | None
    compile_cache: str
    times_as_fast: Ratio | None = None

    @property
    def seconds(self) -> float:
        """Seconds of a meta-iteration; infinite for an engine that is not to be chosen."""
        return self.step.value if self.step and self.status == "ok" else math.inf


@dataclass(frozen=True)
class Choice:
    """The fastest of some engines, and those that cannot be told apart from it."""

    engine: str
    tied: tuple[str, ...]
    plain: str | None
    """The fastest engine that does not compile, if the fastest of all compiles."""
    repaid_after: int | None
    """Meta-iterations after which compiling repays against `plain`."""


@dataclass(frozen=True)
class Advice:
    """Engines, the fastest first; speed-ups are over `baseline`: loop, or the slowest where loop has no time."""

    setting: Cell
    engines: tuple[Candidate, ...]
    baseline: str
    fastest: Choice | None
    memory_limit: int | None
    fastest_within_limit: Choice | None
    own: tuple[str, ...] = ()
    """Engines of the user's own, which the fastest is held against."""


def judge(rows: Sequence[Measurement], memory_limit: int | None = None, own: Sequence[str] = ()) -> Advice:
    """What follows from at least one row of one setting; the limit is of peak memory, in bytes.

    `own` are the names of the engines that are the user's.
    """
    engines = sorted(map(_candidate, bundles(rows, time_key, PROCESSES)), key=lambda c: c.seconds)
    timed = [c for c in engines if c.seconds < math.inf]
    baseline = next((c for c in timed if c.engine == LOOP), timed[-1] if timed else engines[0])
    engines = [replace(c, times_as_fast=_ratio(baseline, c)) for c in engines]
    within = [c for c in timed if memory_limit is not None and c.peak and c.peak.bytes <= memory_limit]
    cell = rows[0].cell
    return Advice(cell, tuple(engines), baseline.engine, _choice(timed), memory_limit, _choice(within), tuple(own))


def _candidate(bundle: Bundle) -> Candidate:
    engine = bundle.cell.engine
    reason = next((row.reason for row in bundle.rows if row.reason), "")
    time = next((row.time for row in bundle.rows if row.time), None)
    memory = next((row.memory for row in bundle.rows if row.memory), Memory())
    peaks = {kind: getattr(memory, kind) for kind in PEAKS}
    peak = next((Peak(found, PEAKS[kind][0]) for kind, found in peaks.items() if found is not None), None)
    compiling = (time.compile_s, time.compile_cache) if time and time.compile_cache else (None, "")
    doubts = (bundle.noisy, bundle.disturbed)
    samples = {number: found for (_, number), found in bundle.samples.items()}  # of one run
    return Candidate(engine, status(bundle), reason, bundle.step, *doubts, samples, peak, *compiling)


def _ratio(candidate: Candidate, other: Candidate) -> Ratio | None:
    return ratio_interval(candidate.samples, other.samples, noise=PROCESSES)


def _choice(timed: Sequence[Candidate]) -> Choice | None:
    if not timed:
        return None
    best, *others = timed
    ratios = {c.engine: _ratio(c, best) for c in others}
    tied = tuple(engine for engine, ratio in ratios.items() if ratio is None or not ratio.differs)
    plain = next((c for c in others if c.compile_s is None), None) if best.compile_s else None
    saved = plain.seconds - best.seconds if plain and plain.engine not in tied else 0.0
    repaid_after = math.ceil((best.compile_s or 0) / saved) if saved > 0 else None
    return Choice(best.engine, tied, plain.engine if plain else None, repaid_after)


def table(advice: Advice) -> Table:
    """The engines; those that are unsupported stand below with their reasons, as do the reasons of what failed."""
    shown = [c for c in advice.engines if c.status != "unsupported"]
    words = {c.peak.method for c in shown if c.peak}
    notes = [f"Peak memory, {word}: {meaning}." for word, meaning in PEAKS.values() if word in words]
    notes += [_what_happened(c) for c in advice.engines if c.status != "ok"]
    axes = in_title_order((*TASK, *SIZES, *TECHNIQUES, *MACHINE, "outer"))
    columns: list[Column[Candidate]] = [
        Column("engine", lambda c: c.engine),
        Column("status", lambda c: c.status),
        Column("meta-iteration", _time_text, droppable=True, cost=lambda c: advice.setting),
        Column(f"times as fast as {advice.baseline}", lambda c: _ratio_text(c, advice.baseline), droppable=True),
        Column("peak memory", _peak_text, droppable=True, cost=lambda c: advice.setting),
        Column("compiling", _compiling_text, droppable=True),
    ]
    return table_of(
        f"Engines for {advice.setting.algorithm}: {setting(advice.setting, axes, {})}",
        "Time and peak memory of one meta-iteration, with 95 % intervals.",
        columns,
        shown,
        notes=notes,
        marks={},
    )


def _time_text(c: Candidate) -> str:
    mark = DISTURBED if c.disturbed else " (noisy)" if c.noisy else ""
    return time_text(c.step) + mark if c.step else NOTHING


def _ratio_text(c: Candidate, baseline: str) -> str:
    if c.engine == baseline and c.step:
        return "1"
    return with_interval(c.times_as_fast) if c.times_as_fast else NOTHING


def _compiling_text(c: Candidate) -> str:
    return NOTHING if c.compile_s is None else f"{duration_text(c.compile_s)} ({c.compile_cache} cache)"


def _peak_text(c: Candidate) -> str:
    return f"{bytes_text(c.peak.bytes)} {c.peak.method}" if c.peak else NOTHING


def sentences(advice: Advice) -> list[str]:
    """The advice in plain words."""
    found = {c.engine: c for c in advice.engines}
    choices = {"Fastest": advice.fastest}
    if advice.memory_limit is not None:
        choices[f"Within {bytes_text(advice.memory_limit)}"] = advice.fastest_within_limit
    said = []
    if disturbed := [c.engine for c in advice.engines if c.disturbed]:
        remedy = "close them, or ask for --threads 1" if advice.setting.threads > 1 else "close them"
        said.append(f"Other programs disturbed the times of {', '.join(disturbed)}: {remedy}, and measure again.")
    for label, choice in choices.items():
        best = found[choice.engine] if choice else None
        said.append(f"{label}: {_figures(best, advice.baseline) if best else 'no engine'}.")
        if choice and choice.tied:
            said.append(f"{choice.engine} cannot be told apart from {', '.join(choice.tied)}: more --rounds may tell.")
        if choice and choice.plain and best and best.compile_s:
            compiling = f"{duration_text(best.compile_s)} of compiling ({best.compile_cache} cache)"
            after = f"about {float(f'{choice.repaid_after or 0:.2g}'):,.0f} iterations against {choice.plain}"
            repays = f"{best.engine} repays its {compiling} after {after}."
            said.append(repays if choice.repaid_after else f"{choice.plain} spares the {compiling}.")
    said += [_own_text(advice, found[name]) for name in advice.own if name in found]
    return list(dict.fromkeys(said))  # the fastest may be so within the limit too


def _what_happened(engine: Candidate) -> str:
    """What became of an engine whose status is not ok, perhaps in some of its rows alone, and why."""
    word, _, rows = engine.status.partition(" ")
    return f"{engine.engine} {HAPPENED[word]}{rows and f' {rows}'}: {engine.reason}"


def _own_text(advice: Advice, own: Candidate) -> str:
    """How many times as fast as an engine of the user's own the fastest one is."""
    if own.seconds == math.inf or advice.fastest is None:
        return f"{own.engine} was not timed." if own.status == "ok" else _what_happened(own)
    best = next(c for c in advice.engines if c.engine == advice.fastest.engine)
    if best is own:
        return f"None is faster than {own.engine}."
    ratio = _ratio(own, best)
    if ratio is None or not ratio.differs:
        return f"{best.engine} and {own.engine} cannot be told apart."
    return f"{best.engine} is {with_interval(ratio)} times as fast as {own.engine}."


def _figures(c: Candidate, baseline: str) -> str:
    time = f", {time_text(c.step).split(' [')[0]} an iteration" if c.step else ""
    ratio = c.times_as_fast if c.engine != baseline else None
    speed_up = f", {trim(ratio.value, ratio.low, ratio.high)} times as fast as {baseline}" if ratio else ""
    return c.engine + time + speed_up + (f", {_peak_text(c)}" if c.peak else "")
