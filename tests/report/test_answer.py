"""The answer of a run: its figures are those of the full tables, and it claims no more than they do."""

import functools
import json
import re
import statistics
from pathlib import Path

import pytest

from metabench.report.answer import answer_of
from metabench.report.answer.facts import duration, seconds_of
from metabench.report.answer.narrow import MOST_COLUMNS, SCORE
from metabench.report.answer.phrases import less_memory, speed, times
from metabench.report.document import as_json, as_markdown, as_text, common_notes, document
from metabench.report.numbers import Valued
from metabench.report.results import read_run
from metabench.statistics.ratios import Ratio
from places import AVX2, EPYC, H100
from runs import records

COMMITTED = [AVX2 / "default", EPYC / "engines", EPYC / "large", EPYC / "processes", H100 / "gpu-images"]
COST = {"measure": ["time", "memory"]}


@functools.cache
def shown(folder: Path):
    return document(read_run(folder))


def answer(run_of, *rows):
    return answer_of(read_run(run_of(rows)))


def unmarked(text):
    """A figure without the mark of a wide interval, and without letters, which tell the rows of one table apart."""
    return re.sub(r" \((?:noisy|[a-z])\)", "", text)


def texts_of(document_, ids):
    """Figures of the rows of all full tables that stand on exactly these cells, without such marks."""
    rows = [
        row
        for section in document_.sections
        for table in section.tables
        for row, cells in zip(table.rows, table.cells, strict=True)
        if cells == ids
    ]
    return {unmarked(text) for row in rows for text in row if isinstance(text, Valued)}


def assert_its_figures_are_those_of_the_full_tables(found):
    seen = 0
    for table in found.answer.tables:
        assert len(table.columns) <= MOST_COLUMNS
        for row, ids in zip(table.rows, table.cells, strict=True):
            full = texts_of(found, ids)
            for text in (unmarked(text) for text in row if isinstance(text, Valued)):
                score, _, difference = text.partition(", ") if text not in full else (text, "", "")
                values = {f"{parts['value']}{parts['marks']}" for one in full if (parts := SCORE.fullmatch(one))}
                assert score in full | values, (table.title, text)
                assert not difference or difference.removeprefix("× ") in full, (table.title, text)
                seen += 1
    assert seen > 5


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_figures_are_those_of_the_full_tables(folder):
    assert_its_figures_are_those_of_the_full_tables(shown(folder))


def test_the_figures_of_every_case_are_those_of_the_full_tables(synthetic):
    assert_its_figures_are_those_of_the_full_tables(shown(synthetic))


def test_a_run_of_algorithms_says_what_each_costs(run_of, row):
    found = answer(run_of, *(row(n, algorithm=name, **COST) for n in range(3) for name in ("maml", "fomaml", "anil")))
    assert found.question == "What do fomaml and anil cost against maml?"
    assert found.ran == "3 configurations × 3 repetitions, 12 s, all ok"
    assert (found.machine, found.failures) == ("Test CPU, 2 cores, torch 2.13", ())
    first, second = found.sentences  # of one task alone, the cheapest comes first
    assert first.startswith("anil: 2.5") and first.endswith(" times as fast as maml, 75 % less memory.")
    assert second.startswith("fomaml: 1.6") and second.endswith(" times as fast as maml, 50 % less memory.")


def test_what_noise_hides_is_not_claimed(run_of, row, pairs):
    rows = [row(number, algorithm=name, **COST) for number in range(3) for name in ("maml", "fomaml")]
    found = answer(run_of, *rows, *pairs((1.0, 50.0), (1.0, 1.0)))
    (said,) = found.sentences
    assert said == "fomaml: no difference in time from maml that can be told, 50 % less memory."
    assert found.noise.startswith("Two measurements of one configuration differ by up to a factor of ")
    assert found.noise.endswith("Noise or drift hides what 1 figure would say.")


def test_a_disturbed_time_is_left_out_and_said(run_of, row):
    rows = [row(algorithm=name, **COST) for name in ("maml", "fomaml")]
    rows[1]["time"]["disturbed"] = {"reason": "another program", "factor": 9.0}
    found = answer(run_of, *rows)
    assert found.sentences == ("fomaml: 50 % less memory than maml, times that were disturbed left out.",)
    assert found.noise.endswith("Other programs disturbed 1 time: close them, and run again.")
    assert any(note.startswith("(disturbed)") for note in found.tables[0].notes)


def judged(row, algorithm, scores):
    """The row of one training with the number of right answers of each of its tasks, of five."""
    made = row(algorithm=algorithm, eval_tasks=len(scores), ways=5, shots=1, query=1)
    mean = statistics.fmean(scores) / 5
    made["quality"] |= {"metric": "accuracy", "value": mean, "low": mean - 0.1, "high": mean + 0.1, "by_step": []}
    made["quality"] |= {"tasks": len(scores), "task_scores": {"unit": 0.2, "numbers": scores}}
    return made


def test_accuracies_that_were_compared_task_by_task_are_told_apart(run_of, row):
    found = answer(run_of, judged(row, "maml", [4, 5, 3, 4]), judged(row, "anil", [3, 5, 2, 3]))
    assert found.question == "What does anil cost against maml, and how accurate is it?"
    assert found.sentences[0].endswith("75 % less memory, 15 points lower accuracy [5, 25] (1 seed).")
    assert dict(zip(found.tables[0].columns, found.tables[0].rows[1], strict=True))[
        "accuracy, difference to maml"
    ].endswith("%, -15 pp [-25, -5]")


def test_accuracies_that_do_not_differ_are_not_told_apart(run_of, row):
    found = answer(run_of, judged(row, "maml", [4, 5, 3, 4]), judged(row, "anil", [3, 5, 4, 4]))
    assert found.sentences[0].endswith("no difference in accuracy that can be told (1 seed).")


def test_scores_that_were_not_compared_task_by_task_are_named_without_a_claim(run_of, row):
    found = answer(run_of, row(), row(algorithm="fomaml"))
    assert found.sentences[0].endswith("50 % less memory, MSE 0.45 against 0.40 (1 seed).")


def test_a_training_that_was_judged_in_several_ways_is_compared_in_the_usual_one(run_of, row):
    others = [{"eval_queries": "single"}, {"batch_norm": "running"}, {"eval_query": 200}]
    names = ("maml", "anil")
    usual = [row(algorithm=name, measure=["quality"]) for name in names]
    rest = [row(algorithm=name, measure=["quality"], **axes) for name in names for axes in others]
    for each in rest:
        each["quality"] |= {"value": 0.01, "low": 0.009, "high": 0.011}
    found = answer(run_of, *rest, *usual)
    assert [line[0] for line in found.tables[0].rows] == ["maml", "anil"]
    assert found.sentences[0].startswith("maml has the lowest MSE: 0.40 ")


def test_a_run_that_only_trains_says_which_is_best(run_of, row):
    rows = [row(algorithm=name, measure=["quality"]) for name in ("reptile", "maml", "fomaml")]
    found = answer(run_of, *rows)
    assert found.question == "Which of 3 algorithms has the lowest error?"
    assert [r[0] for r in found.tables[0].rows] == ["maml", "fomaml", "reptile"]
    assert found.sentences == ("maml has the lowest MSE: 0.40 [0.37, 0.43].",)
    rows[2]["quality"] |= {"value": 0.41, "low": 0.37, "high": 0.45}
    assert answer(run_of, *rows).sentences[0].endswith("; no difference from fomaml can be told.")
    longer = row(algorithm="maml", measure=["quality"], iterations=2000)
    longer["quality"] |= {"value": 0.41, "low": 0.37, "high": 0.45}
    rows[2]["quality"] |= {"value": 0.6, "low": 0.57, "high": 0.63}
    assert answer(run_of, *rows, longer).sentences == ("maml has the lowest MSE: 0.40 [0.37, 0.43].",)
    easier = row(algorithm="anil", measure=["quality"], eval_queries="independent")
    easier["quality"] |= {"value": 0.1, "low": 0.08, "high": 0.12}
    said = answer(run_of, *rows, easier).sentences
    assert said == ("maml has the lowest MSE of 3 that were judged alike: 0.40 [0.37, 0.43].",)
    assert found.noise == ""


def test_a_run_of_engines_says_how_fast_each_is(run_of, row):
    rows = [
        row(number, engine=engine, meta_batch=size, **COST)
        for number in range(3)
        for engine in ("loop", "vmap")
        for size in (4, 25)
    ]
    found = answer(run_of, *rows)
    assert found.question == "How fast is each engine?"
    (said,) = found.sentences
    assert said.startswith("vmap against loop: on sinusoid ") and said.endswith(" times as fast.")
    assert {text for row in found.tables[0].rows for text in row} >= {"loop", "vmap"}


def test_a_run_of_one_algorithm_has_its_table(run_of, row):
    found = answer(run_of, row(algorithm="anil", **COST), row(algorithm="anil", meta_batch=50, **COST))
    assert (found.question, found.sentences) == ("What does anil cost?", ())
    assert [line[0] for line in found.tables[0].rows] == ["25", "50"] and "All of anil." in found.tables[0].says
    assert answer(run_of, row(measure=["quality"])).question == "How well does maml learn?"


def test_what_failed_is_said_with_the_reason_of_the_first(run_of, row):
    rows = [row(algorithm="maml", **COST), row(algorithm="anil", **COST)]
    rows += [row(0, "oom", "no bytes left", algorithm="fomaml", meta_batch=size, **COST) for size in (25, 50)]
    found = answer(run_of, *rows, row(0, "unsupported", "needs a GPU", engine="cudagraph", **COST))
    assert found.ran.endswith(", 2 configurations failed, 1 configuration could not be run")
    assert found.failures == (
        "2 configurations ran out of memory (the first is fomaml/vmap, mlp-40x2, inner steps 1, meta-batch 25): "
        "no bytes left.",
        "1 configuration cannot be run here (maml/cudagraph, mlp-40x2, inner steps 1, meta-batch 25): needs a GPU.",
    )
    names = [line[0] for table in found.tables for line in table.rows]
    assert "fomaml (oom)" in names


def test_a_run_without_a_figure_has_no_table(run_of, row):
    found = answer(run_of, row(0, "crashed", "it fell"), row(0, "crashed", "it fell", algorithm="anil"))
    assert (found.tables, found.sentences, found.noise) == ((), (), "")
    assert found.failures[0].startswith("2 configurations crashed (the first is ")
    assert found.failures[0].endswith(": it fell.")


def test_other_reasons_of_a_failure_are_counted(run_of, row):
    why = {"maml": "it fell", "anil": "it broke", "fomaml": "it fell"}
    found = answer(run_of, *(row(0, "crashed", reason, algorithm=name) for name, reason in why.items()))
    assert found.failures[0].endswith(": it fell; 1 for another reason.")


def test_pauses_do_not_count_and_what_ran_side_by_side_counts_once(row):
    rows = [row() | {"started": f"2026-11-21T0{hour}:00:00Z", "seconds": 60.0} for hour in (5, 5, 7)]
    assert seconds_of(records(rows)) == 120.0
    assert seconds_of(records([row() | {"started": "", "seconds": 60.0}, row() | {"seconds": None}])) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.6, "1 min"), (826, "13 min 46 s"), (7500, "2 h 5 min"), (86_400, "24 h 0 min")],
)
def test_durations_are_said_as_persons_do(seconds, text):
    assert duration(seconds) == text


def test_ratios_in_words():
    assert speed(Ratio(0.5, 0.4, 0.625, 3), 1.0, "maml") == "2.0 [1.6, 2.5] times as fast as maml"
    assert speed(Ratio(2.0, 1.6, 2.5, 3), 1.0, "maml") == "2.0 [1.6, 2.5] times as long as maml"
    assert speed(Ratio(0.9, 0.7, 1.1, 3), 1.0, "maml") == "no difference in time from maml that can be told"
    assert speed(Ratio(0.5, 0.4, 0.625, 3), 2.0, "maml") == "a difference in time from maml that drift could explain"
    assert less_memory([0.586]) == "41 % less memory"
    assert less_memory([0.2, 0.75]) == "25 to 80 % less memory"
    assert less_memory([1.0]) == "no less memory"
    assert less_memory([1.25]) == "25 % more memory"
    assert less_memory([0.5, 3.0]) == "50 to 300 % of the memory"
    assert times([Ratio(130, 100, 170, 3), Ratio(210, 150, 290, 3)]) == "130 to 210"


def test_tables_begin_with_the_answer(synthetic):
    found = shown(synthetic)
    text = as_markdown(found)
    assert text.startswith(f"# {found.answer.question}\n\n- ")
    body = text.partition("\n- **run**")[0]
    assert all(sentence.split(":")[0] in body for sentence in found.answer.sentences)
    assert not any(line.startswith("|") for line in body.splitlines())  # a table that stood twice cannot be quoted


def test_programs_get_the_answer(synthetic):
    found = shown(synthetic)
    made = json.loads(json.dumps(as_json(found)))["answer"]
    assert made["question"] == found.answer.question
    assert made["sentences"] == list(found.answer.sentences)
    assert [table["rows"] for table in made["tables"]] == [
        [list(map(str, row)) for row in table.rows] for table in found.answer.tables
    ]


def test_notes_that_tables_share_are_said_once(synthetic):
    found = shown(synthetic)
    common = common_notes(found)
    memory = next(note for note in common if note.startswith("Peak memory of one meta-iteration, measured from"))
    assert as_markdown(found).count(f"- {memory}") == 1
    assert memory in as_text(found).partition("\nIn all tables:\n")[2].partition("\n\n")[0].splitlines()
    assert not any(note.startswith(("(a) ", "Hyper-parameters")) for note in common)


def test_marks_of_the_tables_are_explained(synthetic):
    for table in shown(synthetic).answer.tables:
        marked = {mark for row in table.rows for text in row for mark in "≈↕‡†" if mark in text}
        assert marked == {note[0] for note in table.notes if note[0] in "≈↕‡†"}


def test_each_of_several_machines_has_its_own_table(run_of, row):
    rows = [
        row(algorithm=name, **COST) | {"machine": where} for where in ("here", "there") for name in ("maml", "anil")
    ]
    found = answer(run_of, *rows)
    assert [where in found.tables[i].title for i, where in enumerate(("on here", "on there"))] == [True, True]
    assert [said.partition(":")[0] for said in found.sentences] == [
        "anil on sinusoid, 10 points, on here",
        "anil on sinusoid, 10 points, on there",
    ]
