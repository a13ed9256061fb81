"""What is timed beside the meta-iteration is what a test of a training does; clocks are stand-ins, but for one."""

from dataclasses import asdict, replace

import pytest
import torch

from metabench.correctness.gate import relative_error
from metabench.errors import Unsupported
from metabench.evaluation import evaluate, population_statistics
from metabench.measure.clock import Budget
from metabench.record.timing import Timed
from metabench.statistics.intervals import summarise
from metabench.sweep import apart
from metabench.sweep.apart import PART, measure_adaptation, measure_double_backward
from metabench.sweep.cell_tasks import held_out_tasks, training_tasks
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep
from metabench.sweep.workload import EPISODE_POOL, Workload, build_algorithm, initial_meta
from metabench.tensors import Batch, Task, task_at

BUDGET = Budget(seconds=8.0)


class Images:
    """Images of noise, as tasks of five classes with one support and three query examples each."""

    kind = "classification"
    input_shape = (1, 16, 16)
    outputs = 5
    training_classes = 5
    whole_numbers = False

    def sample(self, split, tasks, generator):
        x, y = torch.rand(tasks, 20, 1, 16, 16, generator=generator), torch.arange(5).repeat(tasks, 4)
        x = (255 * x).to(torch.uint8) if self.whole_numbers else x
        return Task(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]), y[:, :5])


def workload_of(distribution, **axes):
    axes = {"task": "sinusoid", "algorithm": "maml", "model": "conv2-8", "meta_batch": 3, "inner_lr": 0.1, **axes}
    (cell,) = parse_sweep("test", {"grid": [axes]}, "", 1).cells
    return Workload(cell, distribution)


@pytest.fixture
def calls(monkeypatch):
    """Budgets and calls that were to be timed, in their order."""
    found = []

    def timed(workload, call, budget):
        found.append((budget.seconds, call))
        return Timed(summarise([1.0 + len(found)] * 6))

    monkeypatch.setattr(apart, "timed", timed)
    return found


@pytest.mark.parametrize("batch_norm", ["transductive", "one-query", "running"])
@pytest.mark.parametrize("algorithm", ["maml", "anil", "meta-sgd", "prototypical"])
def test_a_held_out_task_is_predicted_as_in_a_test(calls, algorithm, batch_norm):
    workload = workload_of(Images(), algorithm=algorithm, batch_norm=batch_norm, inner_steps=1, eval_steps=3)
    cell, meta = workload.cell, initial_meta(workload.cell, workload.algorithm)
    found = measure_adaptation(workload, meta, Images(), BUDGET)
    assert [part.seconds.median for part in (found.whole, found.support, found.query)] == [2.0, 3.0, 4.0]
    assert [seconds for seconds, _ in calls] == [8.0, 8.0 / PART, 8.0 / PART]
    assert found.steps == cell.eval_steps == (0 if algorithm == "prototypical" else 3)

    judged = build_algorithm(cell, Images())
    population = {}
    if batch_norm == "running":
        draw = torch.Generator().manual_seed(cell.seed_for("train"))
        population = population_statistics(workload.algorithm, meta, Images(), 1, draw)
    generator = torch.Generator().manual_seed(cell.seed_for("test"))
    judging = cell.eval_steps, generator, batch_norm, population
    scores = evaluate(judged, meta, Images(), "test", EPISODE_POOL, *judging)[:, -1]
    # the tasks come in turn, to the predictions alone as to the whole
    tasks = Images().sample("test", EPISODE_POOL, torch.Generator().manual_seed(cell.seed_for("test")))
    with torch.no_grad():
        for _, call in (calls[0], calls[2]):
            outputs = [call() for _ in range(EPISODE_POOL)]
            assert not any(each.requires_grad for each in outputs)
            mine = [judged.learner.score_of(each.double(), y) for each, y in zip(outputs, tasks.query.y, strict=True)]
            assert torch.stack(mine).tolist() == pytest.approx(scores.tolist())
        adapted = calls[1][1]()
    begun = {**meta, **population} if algorithm == "prototypical" else meta  # it compares support set and queries
    expected = replace(judged, inner_steps=cell.eval_steps).adapt(begun, task_at(tasks, 0).support)
    assert relative_error(adapted, {**expected, **population}) < 1e-5


def test_all_examples_of_a_meta_batch_are_differentiated_in(calls):
    workload = workload_of(Images(), algorithm="meta-sgd")
    meta = initial_meta(workload.cell, workload.algorithm)
    found = measure_double_backward(workload, meta, BUDGET)
    assert found.examples == 3 * 20
    assert [part.seconds.median for part in (found.once, found.twice)] == [2.0, 3.0]
    assert [seconds for seconds, _ in calls] == [4.0, 4.0]
    network = workload.algorithm.learner.model.init(torch.Generator())
    assert network.keys() < meta.keys()
    for _, call in calls:
        assert call().keys() == network.keys()  # without the rates that Meta-SGD learns


def test_what_cannot_be_differentiated_in_is_refused(calls):
    images = Images()
    images.whole_numbers = True
    workload = workload_of(images)
    with pytest.raises(Unsupported, match="sinusoid gives whole numbers as inputs"):
        measure_double_backward(workload, initial_meta(workload.cell, workload.algorithm), BUDGET)


def test_a_process_records_both_by_the_clock_and_once_a_phase():
    cell = workload_of(None, model="mlp-40x2", meta_batch=2, query=5, measure=["adaptation", "double_backward"]).cell
    settings = asdict(Settings()) | {"time_budget_s": 0.02}
    rows = []
    measure_cell(cell, settings, None, rows.append)
    phases = [row["phase"] for row in rows if "phase" in row]
    assert phases == ["set-up", "correctness gate", "adaptation", "double backward"]
    (adaptation,) = (row["adaptation"] for row in rows if "adaptation" in row)
    (derivatives,) = (row["double_backward"] for row in rows if "double_backward" in row)
    parts = (adaptation.whole, adaptation.support, adaptation.query, derivatives.once, derivatives.twice)
    assert all(0 < part.seconds.low <= part.seconds.median <= part.seconds.high for part in parts)
    assert derivatives.examples == 2 * (10 + 5)


@pytest.mark.parametrize("eval_queries", ["balanced", "single"])
def test_a_task_has_as_many_queries_as_it_is_judged_on(calls, eval_queries):
    axes = {"task": "glyphs", "ways": 5, "shots": 1, "eval_query": 1, "eval_queries": eval_queries}
    cell = workload_of(None, **axes).cell
    workload = Workload(cell, training_tasks(cell, None))
    measure_adaptation(workload, initial_meta(cell, workload.algorithm), held_out_tasks(cell, None), BUDGET)
    (_, whole), *_ = calls
    assert whole().shape == (5, 5)
