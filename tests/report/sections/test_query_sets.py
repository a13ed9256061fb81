"""One training, judged on several query sets."""

from metabench.record.cell import Cell
from metabench.report.render.tables import Table
from metabench.report.sections.query_sets import in_words, query_set, query_set_tables
from runs import made, run

SETS = {
    "5 balanced": {},
    "75 balanced": {"eval_query": 15},
    "5, each with the support set": {"batch_norm": "one-query"},
    "5, by running statistics": {"batch_norm": "running"},
    "5 independent": {"eval_queries": "independent"},
    "5 of one class": {"eval_queries": "single"},
}


def judged(algorithm, value, metric="accuracy", **axes):
    axes = {"task": "omniglot", "train_ways": 5, "train_shots": 1, "measure": ("quality",), **axes}
    cell = Cell(algorithm=algorithm, **axes)
    score = {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 600}
    rest = {"metric": metric, "tasks": 600, "iterations": 100, "train_s": 1.0, "batch_norm": cell.batch_norm}
    return made(cell, quality={**score, **rest, "by_step": [{"step": 1, **score}]})


def tables(rows) -> list[Table]:
    return list(query_set_tables.tables(run(rows)))


def test_a_query_set_in_words():
    for words, axes in SETS.items():
        assert in_words(query_set(Cell(algorithm="maml", task="omniglot", **axes))) == words


def test_a_column_for_each_query_set_and_a_line_for_each_training():
    rows = [judged("maml", 0.9 - 0.1 * n, **axes) for n, axes in enumerate(SETS.values())]
    rows += [judged("anil", 0.8), judged("anil", 0.3, eval_queries="single"), judged("reptile", 0.7)]
    (table,) = tables(reversed(rows))
    assert table.columns == ("algorithm", *SETS)
    assert [row[0] for row in table.rows] == ["maml", "anil"]  # reptile was judged in one way alone
    maml, anil = table.rows
    assert [text[:2] for text in maml[1:]] == ["90", "80", "70", "60", "50", "40"]
    assert [text[:2] for text in anil[1:]] == ["80", "–", "–", "–", "–", "30"]
    assert all(
        text.count("(") == 0 for text in (*maml, *anil)
    )  # no figure is marked: each column says how it is judged


def test_trainings_that_differ_are_not_put_into_one_line():
    rows = [judged("maml", 0.9), judged("maml", 0.8, eval_queries="single", iterations=50)]
    assert tables(rows) == []
    rows = [judged("maml", 0.9), judged("maml", 0.9, eval_tasks=50, eval_queries="single")]
    assert tables(rows) == []


def test_seeds_are_one_line_and_errors_are_none():
    rows = [judged("maml", 0.9, seed=seed, **axes) for seed in (0, 1) for axes in ({}, {"eval_query": 15})]
    (table,) = tables(rows)
    assert len(table.rows) == 1
    assert tables([judged("maml", 0.9, "mse"), judged("maml", 0.9, "mse", eval_query=15)]) == []
