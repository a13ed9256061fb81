"""What algorithms cost against the baseline, and what they reach: the table of each task, and what it says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log

from metabench.grouping import grouped
from metabench.record.cell import DISTRIBUTION
from metabench.report.answer.narrow import Found, best_first, narrow, place, with_difference
from metabench.report.answer.phrases import difference, inverse, less_memory, listed, speed, times, told
from metabench.report.axes import JUDGED, LINE_TECHNIQUES
from metabench.report.bundles import BASELINE, axes_but, time_ratio_of, values_of
from metabench.report.compare.runs import LOWER_IS_BETTER
from metabench.report.marks import disturbed_mark
from metabench.report.noise import ratio_mark
from metabench.report.numbers import quality_text
from metabench.report.render.tables import Table, setting, techniques
from metabench.report.results import Run
from metabench.report.scores import Contrast, contrast, quality
from metabench.report.sections.columns import METRIC_WORDS, Line, metric_word, relative
from metabench.report.sections.cost import ALIKE, Comparison, comparisons, cost_table
from metabench.report.sections.query_sets import QUERIES, usual_first
from metabench.statistics.ratios import Ratio
from metabench.text import counted

APART = (*DISTRIBUTION, "ways", "shots", "machine")
"""Axes of which each combination of values has a table."""
MOST_NAMED = 4
MOST_RIVALS = 3
"""How many algorithms a run of one task has a sentence of."""
COSTS = ("step time", relative("time", BASELINE), "peak memory", relative("memory", BASELINE))


def answered(run: Run, least: int) -> Found | None:
    """The answer where any table holds so many algorithms; None where none does."""
    chosen = _chosen(run, least)
    if not chosen:
        return None
    tables = tuple(_table(one, run) for one in chosen)
    return Found(_question(chosen), tables, tuple(_sentences(chosen, run)))


def _chosen(run: Run, least: int) -> list[Comparison]:
    """The comparison of each task that says most: scored if any is, and of the most algorithms."""

    def tells(one: Comparison) -> tuple[bool, int, int]:
        return one.scored, len(_algorithms([one])), len(one.lines)

    def measured(one: Comparison) -> bool:
        return any(line.quality or line.cost.step or line.cost.peak for line in one.lines)

    parts = [part for one in comparisons(run) for part in _parts(one)]
    several = [one for one in parts if len(_algorithms([one])) >= least and measured(one)]
    tasks = grouped(several, lambda one: values_of(one.lines[0].bundle.cell, APART))
    return [max(same, key=tells) for same in tasks.values()]


def _parts(one: Comparison) -> list[Comparison]:
    """The lines of a comparison on one engine, at one precision, on as many processes.

    A training that was judged in several ways has the line of the most usual one: others are no rivals of it.
    """
    trainings = grouped(one.lines, lambda line: axes_but(line.bundle.cell, "seed", *QUERIES))
    once = {id(min(lines, key=lambda line: usual_first(line.bundle.cell))) for lines in trainings.values()}
    same = grouped([line for line in one.lines if id(line) in once], lambda line: values_of(line.bundle.cell, ALIKE))
    return [Comparison(one.scored, tuple(lines)) for lines in same.values()]


def _algorithms(chosen: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(line.bundle.algorithm for one in chosen for line in one.lines))


def _question(chosen: Sequence[Comparison]) -> str:
    names, lines = _algorithms(chosen), [line for one in chosen for line in one.lines]
    others = [name for name in names if name != BASELINE] or names
    metrics = {line.quality.metric for line in lines if line.quality}
    timed, sized = (any(getattr(line.cost, part) for line in lines) for part in ("step", "peak"))
    if not timed and not sized and len(names) == 1:
        return f"How accurate is {names[0]}?" if "accuracy" in metrics else f"How well does {names[0]} learn?"
    if not timed and not sized:
        best = "has the lowest error" if metrics <= set(LOWER_IS_BETTER) else "is the most accurate"
        return f"Which of {counted(len(names), 'algorithm')} {best}?"
    who = listed(others) if len(others) <= MOST_NAMED else counted(len(others), "algorithm")
    against = f" against {BASELINE}" if BASELINE in names and others != names else ""
    do = "do" if len(others) > 1 else "does"
    if not timed:
        return f"How much memory {do} {who} take{against}?"
    are, they = ("are", "they") if len(others) > 1 else ("is", "it")
    reach = f", and how accurate {are} {they}" if "accuracy" in metrics else f", and how well {do} {they} learn"
    return f"What {do} {who} cost{against}{reach if metrics else ''}?"


def _table(one: Comparison, run: Run) -> Table:
    """The full table with its costs, its score and the difference beside it; the best score first without costs."""
    full, word = cost_table(one, run), metric_word(one.lines)
    shares = word == METRIC_WORDS["accuracy"]
    beside = f"{word}, {'difference' if shares else 'ratio'} to {BASELINE}"
    table = with_difference(full, word, f"{word} {'-' if shares else '÷'} {BASELINE}", beside, "" if shares else "× ")
    scores = [name for name in (word, beside) if name in table.columns]
    says = "" if not full.says else "Time of one meta-iteration; 95 % intervals in brackets."
    costs = [name for name in COSTS if name in table.columns]
    if scores and not costs:
        table = best_first(table, scores[0], lower=not shares)
        says = "The best score comes first; 95 % intervals in brackets."
    seconds = ["training"] if costs else ["training", "evaluation"]
    return narrow(table, place(full, run), says, [*costs, *scores, *seconds])


@dataclass(frozen=True)
class Rival:
    """One algorithm with its techniques in one table, against the baseline: in one setting or in several."""

    name: str
    lines: tuple[Line, ...]

    @property
    def ratios(self) -> list[tuple[Ratio, float]]:
        """Ratios of times that were not disturbed, each with the drift of both sides."""
        return [
            (ratio, line.cost.drift * line.baseline.drift)
            for line in self.lines
            if line.baseline and not disturbed_mark(line.cost, line.baseline)
            if (ratio := time_ratio_of(line.cost, line.baseline))
        ]

    @property
    def memory(self) -> list[float]:
        """Ratios of peak memory, where both sides were measured alike."""
        return [
            line.cost.peak.bytes / line.baseline.peak.bytes
            for line in self.lines
            if line.baseline and line.cost.peak and line.baseline.peak
            if line.cost.peak.kind == line.baseline.peak.kind and line.baseline.peak.bytes
        ]

    @property
    def contrasts(self) -> list[tuple[Contrast, str]]:
        """Differences of quality, each with its metric."""
        return [
            (found, line.quality.metric)
            for line in self.lines
            if line.quality and line.rival and line.rival is not line.bundle
            if (found := contrast(line.bundle, line.rival))
        ]

    @property
    def cheaper(self) -> bool:
        """Whether it takes less time, as far as can be told, or less memory, in every setting."""
        faster = [ratio.value < 1 and not ratio_mark(ratio, drift) for ratio, drift in self.ratios]
        return bool(faster and all(faster)) or bool(self.memory and max(self.memory) < 1)

    @property
    def loss(self) -> float:
        """How much worse its scores are, for an order among rivals; infinite where that is not known."""
        found = [-one.figure.value if metric == "accuracy" else log(one.figure.value) for one, metric in self.contrasts]
        return max(found, default=float("inf"))

    @property
    def cost(self) -> float:
        """The mean ratio of its times, or else of its memory."""
        found = [ratio.value for ratio, _ in self.ratios] or self.memory
        return exp(sum(map(log, found)) / len(found)) if found and min(found) > 0 else float("inf")


def _rivals(one: Comparison) -> list[Rival]:
    """The algorithms of a table that have a matched baseline other than themselves."""
    lines = [line for line in one.lines if line.baseline and line.baseline is not line.cost and not line.mark]

    def name(line: Line) -> str:
        used = techniques(line.bundle.cell, LINE_TECHNIQUES)
        return f"{line.bundle.algorithm} with {listed(used)}" if used else line.bundle.algorithm

    return [Rival(who, tuple(same)) for who, same in grouped(lines, name).items()]


def _sentences(chosen: Sequence[Comparison], run: Run) -> Iterator[str]:
    """A sentence for the cheaper algorithm that loses least on each task; on a single task, for others, too."""
    for one in chosen:
        where = f" on {_task(one, chosen, run)}" if len(chosen) > 1 else ""
        rivals = [rival for rival in _rivals(one) if rival.ratios or rival.memory]
        if not rivals:
            yield from _best(one, where)
            continue
        candidates = [rival for rival in rivals if rival.cheaper] or rivals
        first = min(candidates, key=lambda rival: (rival.loss, rival.cost))
        yield _said(first, where)
        others = sorted((rival for rival in candidates if rival is not first), key=lambda rival: rival.cost)
        yield from (_said(rival, where) for rival in (others[: MOST_RIVALS - 1] if len(chosen) == 1 else ()))


def _task(one: Comparison, chosen: Sequence[Comparison], run: Run) -> str:
    """The name of the data, with the shape of a task where several comparisons are of the same data."""

    def name(other: Comparison) -> str:
        problem = other.lines[0].bundle.cell.problem
        return run.data_names.get(problem, problem)

    alone = [name(other) for other in chosen].count(name(one)) == 1
    return name(one) if alone else setting(one.lines[0].bundle.cell, APART, run.data_names)


def _said(rival: Rival, where: str) -> str:
    """What an algorithm gains and loses, in one sentence."""
    parts = [_time_said(rival)] if rival.ratios else []
    parts += [less_memory(rival.memory) + ("" if parts else f" than {BASELINE}")] if rival.memory else []
    parts += [_quality_said(rival.lines[0])] if len(rival.lines) == 1 else []
    if any(line.baseline and disturbed_mark(line.cost, line.baseline) for line in rival.lines):
        parts.append("times that were disturbed left out")
    many = f" ({len(rival.lines)} settings)" if len(rival.lines) > 1 else ""
    return f"{rival.name}{where}{many}: {', '.join(filter(None, parts))}."


def _quality_said(line: Line) -> str:
    """What the scores differ by where they were compared task by task; else both scores, without a claim."""
    found = contrast(line.bundle, line.rival) if line.rival and line.rival is not line.bundle else None
    if not found or not line.quality or not line.rival:
        return ""
    metric, seeds = line.quality.metric, f"({counted(found.seeds, 'seed')})"
    word = METRIC_WORDS.get(metric, metric)
    if found.paired:
        return f"{difference(found, metric, word)} {seeds}"
    theirs = quality(line.rival)
    scores = [str(quality_text(one.score, metric)).partition(" [")[0] for one in (line.quality, theirs) if one]
    return f"{word} {' against '.join(scores)} {seeds}"


def _time_said(rival: Rival) -> str:
    found = rival.ratios
    some = f" in {len(found)} of them" if len(found) < len(rival.lines) else ""
    if len(found) == 1:
        return speed(*found[0], BASELINE) + some
    apart = [ratio for ratio, drift in found if not ratio_mark(ratio, drift)]
    if not apart:
        return f"no difference in time from {BASELINE} that can be told"
    some = some if len(apart) == len(found) else f" where a difference can be told ({len(apart)} of {len(found)})"
    return f"{times([inverse(ratio) for ratio in apart])} times as fast as {BASELINE}{some}"


def _best(one: Comparison, where: str) -> Iterator[str]:
    """Which line has the best score of those that were judged alike, and which cannot be told from it."""
    judged = grouped(
        [(line, line.quality) for line in one.lines if line.quality],
        lambda pair: values_of(pair[0].bundle.cell, JUDGED),
    )
    scored = max(judged.values(), key=len, default=[])
    if len(scored) < 2 or len({found.metric for _, found in scored}) > 1:
        return
    metric = scored[0][1].metric
    lower = metric in LOWER_IS_BETTER
    ordered = sorted(scored, key=lambda pair: pair[1].score.value, reverse=not lower)
    (best, highest), *others = ordered
    alike = [
        line.bundle.algorithm
        for line, _ in others
        if line.bundle.algorithm != best.bundle.algorithm
        and (not (found := contrast(line.bundle, best.bundle)) or not told(found, metric))
    ]
    word = METRIC_WORDS.get(metric, metric)
    said = f"{best.bundle.algorithm} has the {'lowest' if lower else 'highest'} {word}{where}"
    said += f" of {len(scored)} that were judged alike: " if len(judged) > 1 else ": "
    said += str(quality_text(highest.score, metric))
    if alike:
        names = list(dict.fromkeys(alike))
        shown = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} others"
        said += f"; no difference from {shown} can be told"
    yield said + "."
