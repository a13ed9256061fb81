"""A figure is marked where its cell is not trained or judged as those of the other lines, or not as its title says."""

from metabench.record.cell import Cell
from metabench.report.numbers import NOTHING, Valued, true_value
from metabench.report.sections.base import Column, sections_of, table_of
from metabench.report.sections.differences import in_words
from runs import run

QUALITY = {"measure": ["quality"]}
COST = {"measure": ["time", "memory"]}


def table(rows, start):
    found = [one for section in sections_of(run(rows)) for one in section.tables if one.title.startswith(start)]
    assert len(found) == 1
    return found[0]


def records(shown):
    return {row[0]: dict(zip(shown.columns, row, strict=True)) for row in shown.rows}


def marked(text):
    return text.endswith(")") and text.split(" ")[-1] in ("(a)", "(b)", "(c)")


def test_a_score_after_other_steps_is_marked_where_it_stands(row):
    rows = [row(algorithm=name, **QUALITY) for name in ("maml", "fomaml")]
    rows.append(row(algorithm="anil", eval_steps=7, **QUALITY))
    shown = table(rows, "Cost and quality")
    scores = {name: line["MSE"] for name, line in records(shown).items()}
    assert scores["anil"].endswith(" (a)") and not marked(scores["maml"]) and not marked(scores["fomaml"])
    assert true_value(scores["anil"]) is not None
    assert "(a) test steps 7, not 2." in shown.notes


def test_a_score_on_other_query_sets_is_marked(row):
    rows = [row(algorithm=name, **QUALITY) for name in ("maml", "fomaml")]
    rows.append(row(algorithm="anil", eval_queries="single", **QUALITY))
    shown = table(rows, "Cost and quality")
    assert records(shown)["anil"]["MSE"].endswith(" (a)")
    assert "(a) classes of test queries single, not balanced." in shown.notes


def test_each_way_of_being_different_has_a_mark_of_its_own(row):
    rows = [row(algorithm="maml", **QUALITY), row(algorithm="fomaml", eval_query=5, **QUALITY)]
    rows += [row(algorithm="anil", eval_query=5, eval_tasks=50, **QUALITY)]
    rows += [row(algorithm="reptile", eval_query=5, **QUALITY)]
    shown = table(rows, "Cost and quality")
    scores = {name: line["MSE"].split(" ")[-1] for name, line in records(shown).items()}
    assert (scores["maml"], scores["anil"]) == ("(a)", "(b)")
    assert shown.notes[:2] == ("(a) test queries 100, not 5.", "(b) test tasks 50, not 600.")


def test_a_shape_of_training_that_is_not_the_one_in_the_title_is_marked_at_cost_and_score(row):
    rows = [row(algorithm=name, shots=5, train_shots=10) for name in ("maml", "anil")]
    shown = table(rows, "Cost and quality")
    assert "5 points" in shown.title
    for line in records(shown).values():
        assert marked(line["step time"]) and marked(line["MSE"])
    assert "(a) trained on 10 points." in shown.notes
    growing = [row(algorithm="maml", shots=5, train_shots=10, inner_steps=n, **COST) for n in (1, 2)]
    for start in ("Time with inner steps", "Memory with inner steps"):
        for line in records(table(growing, start)).values():
            assert marked(line["1"]) and marked(line["2"]) and not marked(line["growth"])


def test_what_changes_the_cost_is_marked_at_the_cost_alone(row):
    rows = [row(algorithm="maml"), row(algorithm="anil"), row(algorithm="reptile", outer="sgd")]
    shown = table(rows, "Cost and quality")
    line = records(shown)["reptile"]
    assert marked(line["step time"]) and marked(line["peak memory"]) and not marked(line["MSE"])
    assert "(a) outer sgd, not adam." in shown.notes


def test_a_column_of_the_axis_is_enough(row):
    rows = [row(algorithm="maml", **QUALITY), row(algorithm="anil", iterations=5, **QUALITY)]
    shown = table(rows, "Cost and quality")
    assert not any(marked(line["MSE"]) for line in records(shown).values())
    processes = [row(world_size=n, meta_batch=tasks, **COST) for n, tasks in ((1, 8), (2, 16))]
    assert not any(marked(text) for line in table(processes, "Weak scaling").rows for text in line)


def test_rows_that_are_alike_have_no_mark(row):
    shown = table([row(algorithm=name) for name in ("maml", "anil")], "Cost and quality")
    assert not any(note.startswith("(") for note in shown.notes)
    assert not any(marked(text) for line in shown.rows for text in line)


def test_an_algorithm_without_an_inner_loop_has_no_steps_to_differ_in():
    maml = Cell(algorithm="maml", task="omniglot", inner_steps=1, eval_steps=3, train_ways=5, train_shots=1)
    prototypical = Cell(algorithm="p", task="omniglot", inner_steps=0, eval_steps=0, train_ways=20, train_shots=1)
    words = in_words([prototypical, prototypical, maml, None], "score", ())
    assert words == ["trained on 20-way 1-shot", "trained on 20-way 1-shot", "", ""]


def test_only_figures_are_marked_and_letters_do_not_end():
    cells = [Cell(algorithm="maml", task="sinusoid", eval_tasks=2 + n, train_ways=5, train_shots=1) for n in range(30)]
    columns = [Column("score", lambda cell: Valued("1", 1.0), score=lambda cell: cell)]
    shown = table_of("T", "", columns, cells)
    texts = [text for (text,) in shown.rows]
    assert texts[:3] == ["1", "1 (a)", "1 (b)"] and len(set(texts)) == 30
    columns = [Column("score", lambda cell: NOTHING, score=lambda cell: cell)]
    assert {text for (text,) in table_of("T", "", columns, cells).rows} == {NOTHING}
