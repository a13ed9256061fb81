"""What a search found: its best trials, which of them cannot be told apart, and the preset that follows."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from metabench.algorithms.presets import NO_AXES, Preset
from metabench.files import toml_lines
from metabench.record.cell import AXES, Cell, shape_text
from metabench.record.searching import CONFIRM, STATES, Search, Trial
from metabench.report.bundles import values_of
from metabench.report.document import HASH_LENGTH, Document, as_json, as_markdown, as_text
from metabench.report.numbers import NOTHING, contrast_text, duration_text, exact, quality_text
from metabench.report.render.tables import Section, Table, axis_word
from metabench.report.scores import TESTED_ON
from metabench.statistics.intervals import Interval
from metabench.statistics.scores import difference, paired_difference, paired_quotient, quotient
from metabench.text import counted

MOST_SHOWN = 15
"""Trials that the table shows, the best first."""
CONFIRMING = (0, 1, 2)
"""Seeds of the trainings that confirm a preset."""
CONFIRMING_TASKS = 600
HOW_TO_READ = (
    "Every trial was trained with the same seed, and judged on the same validation tasks; test classes were not drawn.",
    "95 % intervals stand in square brackets. They are over validation tasks alone: another seed of the training would",
    "move a score, too. Differences from the best trial are formed task by task. The best score of many is above what",
    "its settings reach on average, because it was chosen for being the highest: only the confirmation, with other",
    "seeds and on test tasks, says how good they are.",
)


def against_best(trial: Trial, best: Trial) -> Interval | None:
    """What a complete trial differs by from the best: accuracies by their difference, errors by their quotient.

    It is formed task by task where both were judged on the same tasks; None where an error of 0 has no quotient.
    """
    mine, its = _scores(trial), _scores(best)
    paired = _judged_on(trial.cell) == _judged_on(best.cell) and len(mine) == len(its)
    if trial.metric == "accuracy":
        return paired_difference([mine], [its]) if paired else difference(_score(trial), _score(best))
    if min(_score(trial).low, _score(best).low) <= 0:
        return None
    return paired_quotient([mine], [its]) if paired else quotient(_score(trial), _score(best))


def _scores(trial: Trial) -> list[float]:
    return trial.task_scores.values if trial.task_scores else []


def _score(trial: Trial) -> Interval:
    assert trial.score
    return Interval(trial.score.value, trial.score.low, trial.score.high)


def _judged_on(cell: Cell) -> tuple[str, ...]:
    """What decides which validation tasks a trial is judged on: how many test tasks there will be does not."""
    return values_of(cell, [axis for axis in TESTED_ON if axis != "eval_tasks"])


def alike(search: Search) -> list[Trial]:
    """The complete trials that cannot be told from the best one, which is left out."""
    ranked, same = search.ranked, 0.0 if search.higher_is_better else 1.0
    found = [(trial, against_best(trial, ranked[0])) for trial in ranked[1:]]
    return [trial for trial, figure in found if figure is None or figure.low <= same <= figure.high]


def search_document(search: Search, importance: Mapping[str, float]) -> Document:
    """All tables of a search; `importance` is the share of each parameter, or empty."""
    sections = [Section("Trials", (_best(search),))]
    if rest := [trial for trial in search.trials if trial.state != "complete"]:
        sections.append(Section("Trials without a score", (_others(rest, search),)))
    if importance:
        sections.append(Section("Parameters", (_importance(importance),)))
    title = f"Search for hyper-parameters of {search.asked.algorithm}"
    warnings = [*search.warnings, *(search.environment.warnings if search.environment else ())]
    if slowed := search.slowed:
        warnings.append(
            f"{counted(len(slowed), 'trial')} of {len(search.trials)} waited for the processor when timed, "
            "because of other programs: trainings took longer than was asked for, or are shorter than they could be."
        )
    return Document(title, _facts(search), tuple(warnings), tuple(sections), HOW_TO_READ)


def _facts(search: Search) -> tuple[tuple[str, str], ...]:
    asked, states = search.asked, Counter(trial.state for trial in search.trials)
    facts = {"search": search.name}
    if search.environment and search.environment.summary:
        facts["machine"] = search.environment.summary
    if data := next((trial.data for trial in search.trials if trial.data), None):
        facts["data"] = f"{data.name} (sha256 {data.content_hash[:HASH_LENGTH]})"
    if search.trials:
        cell = search.trials[0].cell
        facts["held-out tasks"] = shape_text(cell.ways, cell.shots)
    timed = "iterations" not in asked.axes
    facts["a training"] = f"{duration_text(asked.seconds)}" if timed else f"{asked.axes['iterations']} iterations"
    engines = Counter(trial.cell.engine for trial in search.trials if trial.iteration_s)
    facts["engines"] = ", ".join(f"{name} in {counted(count, 'trial')}" for name, count in engines.items()) or "none"
    facts["validation tasks"] = str(asked.validation_tasks)
    facts["trials"] = ", ".join(f"{states[state]} {state}" for state in STATES if states[state]) or "none"
    return tuple(facts.items())


def _best(search: Search) -> Table:
    shown, axes = search.ranked[:MOST_SHOWN], _axes(search.trials)
    rows = [(*_figures(trial, shown[0]), *_values(trial, axes)) for trial in shown]
    apart = alike(search)
    notes = []
    if search.ranked:
        named = ", ".join(str(trial.number) for trial in apart)
        notes.append(
            f"Cannot be told from the best, trial {search.ranked[0].number}, on these tasks: "
            + (f"{counted(len(apart), 'trial')} ({named})." if apart else "no other trial.")
        )
    if len(search.ranked) > len(shown):
        notes.append(f"{counted(len(search.ranked) - len(shown), 'other complete trial')} with a worse score.")
    columns = ("trial", "score", "against the best", "iterations", "trained", *map(axis_word, axes))
    says = "Scores on validation tasks, the best first. They were chosen from, and are too high for that."
    return Table("Best trials", says, columns, tuple(rows), tuple(notes))


def _figures(trial: Trial, best: Trial) -> tuple[str, ...]:
    apart = against_best(trial, best) if trial is not best else None
    return (
        str(trial.number),
        quality_text(_score(trial), trial.metric),
        contrast_text(apart, trial.metric) if apart else NOTHING,
        str(trial.cell.iterations),
        duration_text(trial.train_s) if trial.train_s is not None else NOTHING,
    )


def _others(trials: Sequence[Trial], search: Search) -> Table:
    axes = _axes(search.trials)
    rows = []
    for trial in trials:
        seen = next((point.value for point in reversed(trial.curve) if point.value is not None), None)
        last = NOTHING if seen is None else quality_text(Interval(seen, seen, seen), trial.metric).partition(" [")[0]
        rows.append((str(trial.number), trial.state, last, *_values(trial, axes), trial.reason))
    columns = ("trial", "state", "last score", *map(axis_word, axes), "reason")
    return Table("Trials without a score", "Trainings that were ended early, or failed.", columns, tuple(rows))


def _axes(trials: Sequence[Trial]) -> list[str]:
    """The axes that were searched, in the order of the axes."""
    searched = {axis for trial in trials for axis in trial.parameters}
    return [axis for axis in AXES if axis in searched]


def _values(trial: Trial, axes: Sequence[str]) -> list[str]:
    return [f"{trial.parameters[axis]}" if axis in trial.parameters else NOTHING for axis in axes]


def _importance(importance: Mapping[str, float]) -> Table:
    rows = [(axis_word(axis), exact(share)) for axis, share in sorted(importance.items(), key=lambda each: -each[1])]
    says = "How much each parameter tells the best quarter of the complete trials from the others (PED-ANOVA); sum 1."
    return Table("Importance of parameters", says, ("parameter", "share"), tuple(rows))


def preset_of(trial: Trial, search: Search) -> Preset:
    """The settings of a trial as a preset, which names the search and the trial.

    What has its usual value is left open, unless the search was asked for it.
    """
    cell, source = trial.cell, f"searched on validation classes: searches/{search.name}, trial {trial.number}"
    values = {field.name: cell[field.name] for field in fields(Preset) if field.name not in NO_AXES}
    queries = 100 if cell.ways == 1 else cell.shots  # what a preset that says nothing of them means
    tested = {"eval_query": queries, "eval_tasks": AXES["eval_tasks"].default}
    for name, usual in {"train_ways": cell.ways, "train_shots": cell.shots, **tested}.items():
        values[name] = 0 if values[name] == usual and name not in search.asked.axes else values[name]
    return Preset(source=source, **values)


def preset_line(trial: Trial, search: Search) -> str:
    """The entry of a dictionary of presets, as it stands in an algorithm's file."""
    cell, preset = trial.cell, preset_of(trial, search)
    key = f"quick/{cell.task}" + ("" if (cell.ways, cell.shots) == (5, 1) else f"-{cell.ways}way-{cell.shots}shot")
    key = f"quick/{cell.task}" if cell.ways == 1 else key
    lines = [f'"{key}": Preset(']
    for field in fields(Preset):
        value = getattr(preset, field.name)
        if field.default is MISSING:
            lines.append(f"    {_python(value)},")
        elif value != field.default:
            lines.append(f"    {field.name}={_python(value)},")
    return "\n".join([*lines, "),"])


def _python(value: Any) -> str:
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else _quoted(value)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def settings_lines(cell: Cell) -> dict[str, Any]:
    """The axes of a configuration as a sweep file gives them, but for its seed and the number of test tasks.

    Every axis that a preset would fill in is among them, whatever its default.
    """
    return {
        name: cell[name]
        for name, axis in AXES.items()
        if axis.settable
        and name not in ("seed", "eval_tasks")
        and not (axis.later and cell[name] == axis.default)
        and not axis.fault(cell[name])  # a rate of 0 where there is no inner loop
    }


def confirmation(search: Search) -> str:
    """The sweep that trains the best trial's settings with other seeds, and judges them on test tasks."""
    trial = search.ranked[0]
    seeds = list(CONFIRMING)
    grid = settings_lines(trial.cell) | {"seed": seeds, "eval_tasks": CONFIRMING_TASKS, "measure": ["quality"]}
    title = f"Trial {trial.number} of the search {search.name}, with other seeds and on test tasks"
    limit = max(600.0, 4 * search.asked.seconds + 600)
    run = {"noise_pairs": 0, "time_limit_s": limit}
    return f"{toml_lines({'title': title})}\n[run]\n{toml_lines(run)}\n[[grid]]\n{toml_lines(grid)}"


def confirm_command(search: Search) -> str:
    """The command that confirms the best trial."""
    sweep = search.folder / CONFIRM
    if any(trial.sources for trial in search.trials) or search.ranked[0].cell.path:
        # A sweep finds files of the user's own, and data, beside itself.
        copy = f"confirm-{search.name}.toml"
        return f"cp {shlex.quote(str(sweep))} {copy} && metabench run {copy}"
    return f"metabench run {shlex.quote(str(sweep))}"


def found_lines(search: Search) -> list[tuple[str, str, str]]:
    """What follows from a search: a sentence, a block of text, and its language. Empty without a complete trial."""
    if not search.ranked:
        return []
    best = search.ranked[0]
    axes = settings_lines(best.cell)
    return [
        ("The best trial as a preset, for the file of its algorithm:", preset_line(best, search), "python"),
        ("The same as axes of a sweep file:", toml_lines(axes).rstrip("\n"), "toml"),
        (
            f"The score above is biased upwards, as the best of {len(search.ranked)}. Confirm it with seeds "
            f"{', '.join(map(str, CONFIRMING))}, on {CONFIRMING_TASKS} test tasks, before anything is said of it:",
            confirm_command(search),
            "console",
        ),
    ]


def search_text(search: Search, importance: Mapping[str, float]) -> str:
    """The text for a terminal."""
    parts = [as_text(search_document(search, importance))]
    parts += [f"{sentence}\n{block}" for sentence, block, _ in found_lines(search)]
    return "\n\n".join(parts)


def search_markdown(search: Search, importance: Mapping[str, float]) -> str:
    """The text of `search.md`."""
    parts = [as_markdown(search_document(search, importance)).rstrip("\n")]
    for sentence, block, language in found_lines(search):
        shown = f"$ {block}" if language == "console" else block
        parts.append(f"{sentence}\n\n```{language}\n{shown}\n```")
    return "\n\n".join(parts) + "\n"


def search_json(search: Search, importance: Mapping[str, float]) -> dict[str, Any]:
    """What a search found, for programs."""
    best = search.ranked[0] if search.ranked else None
    return {
        **as_json(search_document(search, importance)),
        "best": best.to_json() if best else None,
        "cannot_be_told_apart": [trial.number for trial in alike(search)],
        "importance": dict(importance),
        "preset": preset_line(best, search) if best else None,
        "confirm": confirm_command(search) if best else None,
    }
