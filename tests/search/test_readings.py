"""Searches that were committed: they can be read, their tables follow from them, and presets are their trials."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from msgspec.structs import replace

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.presets import NO_AXES, Preset
from metabench.errors import UserError
from metabench.record.searching import ASKED, CONFIRM, SUMMARY, Search, read_search, trial_of
from metabench.report.searching import (
    against_best,
    alike,
    confirmation,
    found_lines,
    preset_line,
    preset_of,
    search_json,
    search_markdown,
    search_text,
)
from metabench.search.running import importance_of
from metabench.search.settings import again
from places import RESULTS

TINY = Path(__file__).with_name("tiny")
"""A search of a few seconds, made by `metabench search` itself."""
SEARCHES = [TINY, *sorted(file.parent for file in RESULTS.glob(f"*/searches/*/{ASKED}"))]
FOUND = re.compile(r"searches/([\w.+-]+), trial (\d+)")


@pytest.fixture(scope="module")
def tiny() -> Search:
    return read_search(TINY)


@pytest.mark.parametrize("folder", SEARCHES, ids=lambda folder: folder.name)
def test_a_committed_search_is_whole(folder):
    found, settings = read_search(folder), again(folder / ASKED)
    assert found.warnings == () and found.ranked and found.asked == settings.asked
    assert [trial.number for trial in found.trials] == list(range(len(found.trials)))
    for trial in found.trials:
        assert trial.parameters.keys() == settings.space.keys()
        assert all(trial.cell[axis] == value for axis, value in (trial.parameters | settings.fixed).items())
    # What stands beside the trials is what follows from them.
    folder_free = re.compile(r"\$ (cp|metabench run) .*")
    written = search_markdown(found, importance_of(settings, found))
    kept = (folder / SUMMARY).read_text(encoding="utf-8")
    assert folder_free.sub("", kept) == folder_free.sub("", written)
    assert (folder / CONFIRM).read_text(encoding="utf-8") == confirmation(found)


def fault(preset: Preset, searches: list[Path]) -> str:
    """What is wrong with a preset that says it was searched for; empty of any other one."""
    if not preset.source.startswith("searched"):
        return ""
    if not (named := FOUND.search(preset.source)):
        return "it does not name its search and trial"
    folders = [folder for folder in searches if folder.name == named[1]]
    if not folders:
        return f"there is no search {named[1]}"
    found = read_search(folders[0])
    trials = [trial for trial in found.trials if trial.number == int(named[2]) and trial.state == "complete"]
    if not trials:
        return f"the search {named[1]} has no complete trial {named[2]}"
    its, cell = preset_of(trials[0], found), trials[0].cell
    others = [
        f.name
        for f in fields(Preset)
        if f.name not in NO_AXES
        # The configuration has for 0 what it stands for: the shots of the tasks, say.
        and getattr(preset, f.name) not in (getattr(its, f.name), getattr(cell, f.name, None))
    ]
    return f"it differs from its trial in {', '.join(others)}" if others else ""


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_presets_that_were_searched_for_are_trials_of_committed_searches(name):
    presets = ALGORITHMS.get(name).presets
    assert {key: why for key, preset in presets.items() if (why := fault(preset, SEARCHES[1:]))} == {}


def test_a_preset_that_is_no_trial_is_found(tiny):
    best = tiny.ranked[0]
    right = preset_of(best, tiny)
    assert fault(right, SEARCHES) == ""

    def changed(**changes):
        return Preset(**{f.name: getattr(right, f.name) for f in fields(Preset)} | changes)

    assert fault(changed(inner_lr=7.0, query=99), SEARCHES) == "it differs from its trial in inner_lr, query"
    assert fault(changed(source="searched: searches/none, trial 0"), SEARCHES) == "there is no search none"
    assert "no complete trial 999" in fault(changed(source="searched: searches/tiny, trial 999"), SEARCHES)
    assert "does not name" in fault(changed(source="searched by hand"), SEARCHES)


def test_the_preset_that_is_printed_is_that_of_the_trial(tiny):
    for trial in tiny.ranked:
        (key,) = made = eval(f"{{{preset_line(trial, tiny)}}}", {"Preset": Preset})
        assert key == "quick/sinusoid" and made[key] == preset_of(trial, tiny)


def test_what_it_says_of_the_best_trial_warns_of_its_bias(tiny):
    text = search_text(tiny, {"inner_lr": 0.75, "query": 0.25})
    assert "biased upwards" in text and "metabench run" in text and "Importance of parameters" in text
    assert search_json(tiny, {})["best"]["number"] == tiny.ranked[0].number
    assert found_lines(Search(TINY, tiny.asked, ())) == []
    assert "Best trials" in search_text(Search(TINY, tiny.asked, ()), {})


def of_scores(*numbers, metric="accuracy", **cell):
    """A search whose trials have these scores on the same tasks."""
    like = read_search(TINY).ranked[0].to_json()
    like["cell"] |= {"task": "omniglot", "ways": 5, "shots": 1, "eval_query": 1} if metric == "accuracy" else {}
    trials = []
    for number, scores in enumerate(numbers):
        mean = sum(scores) / len(scores)
        score = {"value": mean, "low": max(0.0, mean - 0.2), "high": mean + 0.2, "n": len(scores)}
        changes = {"number": number, "metric": metric, "score": score, "by_step": []}
        trials.append(trial_of(like | changes | {"task_scores": {"unit": 1.0, "numbers": list(scores)}}))
    return Search(TINY, read_search(TINY).asked, tuple(trials))


def test_trials_are_told_apart_task_by_task():
    """The third is worse by the same little in every task, which its own wide interval would hide."""
    tasks = [0.2, 0.4, 0.6, 0.8, 1.0] * 4
    noisy = [0.19 if i % 2 else value + 0.1 for i, value in enumerate(tasks)]
    found = of_scores([value - 0.01 for value in tasks], tasks, noisy)
    assert [trial.number for trial in found.ranked] == [1, 0, 2]
    assert [trial.number for trial in alike(of_scores(tasks, tasks, [0.0] * 20))] == [1]
    assert 0 not in [trial.number for trial in alike(found)]


@pytest.mark.parametrize(
    ("axis", "other"),
    [("eval_query", 5), ("eval_queries", "single"), ("eval_rotation", "none"), ("eval_tasks", 41)],
)
def test_trials_on_other_validation_tasks_are_not_compared_task_by_task(axis, other):
    """How many test tasks there are says nothing of the validation tasks."""
    tasks = [0.2, 0.4, 0.6, 0.8, 1.0] * 4
    first, second = of_scores([value - 0.01 for value in tasks], tasks).trials
    apart = against_best(first, second)
    assert apart.value == pytest.approx(-0.01) and apart.high < 0  # in pairs
    second = replace(second, cell=replace(second.cell, **{axis: other}))
    assert (against_best(first, second).high < 0) == (axis == "eval_tasks")


def test_trials_that_waited_for_the_processor_are_counted(tiny):
    def shares(*each):
        rows = [tiny.trials[0].to_json() | {"processor_share": share} for share in each]
        return Search(TINY, tiny.asked, tuple(trial_of(row) for row in rows))

    assert "2 trials of 3 waited for" in search_text(shares(0.5, 0.99, 0.8), {})
    assert "waited for" not in search_text(shares(1.0, 0.95), {})


def test_a_low_error_is_the_best():
    found = of_scores([2.0, 2.1], [1.0, 1.1], [1.0, 1.1], metric="mse")
    assert [trial.number for trial in found.ranked] == [1, 2, 0]
    assert [trial.number for trial in alike(found)] == [2]


def test_a_damaged_line_is_named_and_left_out(tmp_path):
    for file in TINY.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = read_search(tmp_path)
    with (tmp_path / "trials.jsonl").open("a") as trials:
        trials.write('{"number": 99, "state": "complete", "parameters": {}}\n[]\n{"nu')
    found = read_search(tmp_path)
    assert found.trials == whole.trials
    assert [sentence.split(":")[0] for sentence in found.warnings] == [
        f"Line {len(whole.trials) + n} of trials.jsonl is left out" for n in (1, 2, 3)
    ]
    (tmp_path / ASKED).write_text('algorithm = "maml"\nsecond = 3\n')
    with pytest.raises(UserError, match="unknown setting of a search 'second': did you mean 'seconds'"):
        read_search(tmp_path)
    with pytest.raises(UserError, match="is not a folder of a search: it has no trials.jsonl"):
        read_search(tmp_path / "none")
