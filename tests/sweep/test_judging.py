"""Whoever judges meta-parameters judges them on the query sets that the cell asks for."""

import pytest
import torch

from metabench.errors import Diverged
from metabench.sweep import judging
from metabench.sweep.cell_tasks import held_out_tasks, training_tasks
from metabench.sweep.judging import Judge
from metabench.sweep.spec import parse_sweep
from metabench.tasks.query_sets import QuerySets

GRID = {"algorithm": "maml", "task": "glyphs", "model": "conv4-16", "ways": 3, "shots": 1, "eval_query": 1}


def cell_with(**axes):
    (cell,) = parse_sweep("x", {"grid": [{**GRID, **axes, "measure": ["quality"]}]}, "", 1).cells
    return cell


def test_tasks_have_the_query_sets_that_are_asked_for(monkeypatch):
    judged_on = []
    monkeypatch.setattr(judging, "evaluate", lambda algorithm, meta, tasks, *rest: judged_on.append(tasks))
    for queries in ("balanced", "single"):
        cell = cell_with(eval_queries=queries)
        held_out = held_out_tasks(cell, None)
        judge = Judge(cell, training_tasks(cell, None), held_out)
        judge.scores({}, "validation", 2, 0)
        assert (judge.metric, judge.answers) == ("accuracy", 3)
    plain, chosen = judged_on
    assert not isinstance(plain, QuerySets)
    assert isinstance(chosen, QuerySets) and chosen.single and chosen.queries == 3


def test_means_are_those_of_each_step():
    judge = Judge(cell_with(), None, held_out_tasks(cell_with(), None))
    means = judge.means(torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64))
    assert [(each.step, each.value) for each in judging.by_step(means)] == [(0, 0.5), (1, 1.0)]


def test_tasks_without_a_finite_score_are_counted():
    judge = Judge(cell_with(), None, held_out_tasks(cell_with(), None))
    scores = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, torch.inf], [1.0, torch.nan, torch.inf]], dtype=torch.float64)
    with pytest.raises(Diverged, match="^2 of 3 held-out tasks have no finite score, the first after 1 inner step$"):
        judge.means(scores)
