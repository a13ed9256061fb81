"""What a cell's process makes of the techniques that the cell asks for."""

import json
import tomllib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from msgspec import to_builtins

from metabench.algorithms.base import ALGORITHMS
from metabench.autodiff import TAPE
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES, Engine, Stepwise
from metabench.engines.convolutions import forms_for
from metabench.engines.outer import MetaOptimizer
from metabench.errors import Incorrect, Unsupported
from metabench.measure import energy
from metabench.measure.roofline import step_flops
from metabench.record.measurement import Energy, Launches, Memory, Peaks
from metabench.record.quality import TaskScores
from metabench.record.timing import GpuState
from metabench.statistics.intervals import mean_interval
from metabench.sweep import judging, measuring, scoring
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep
from metabench.sweep.workload import Workload, build_algorithm, in_precision, initial_meta, outer_of
from metabench.tasks.base import TASKS, EpisodeShape, Provenance, TaskSource
from metabench.tasks.sinusoid import Sinusoid
from metabench.tensors import Batch, Task, task_at
from metabench.training import train

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)
LOOP = ENGINES.get("loop")
SETTINGS = asdict(Settings())


def cell_of(**axes):
    """A cell of MAML on sinusoids, in ten iterations of two tasks, with changes."""
    axes = {"task": "sinusoid", "algorithm": "maml", "meta_batch": 2, "iterations": 10, **axes}
    (cell,) = parse_sweep("test", {"grid": [axes]}, "", 1).cells
    return cell


def trained(cell):
    """The meta-parameters after the cell's iterations."""
    workload = Workload(cell, SINUSOID)
    iteration, enter = workload.training(initial_meta(cell, workload.algorithm))
    sample = workload.sampler(iteration.meta["head.weight"])
    return train(iteration, sample, cell.iterations, lambda done, meta: 0.0, curve_points=1, enter=enter).meta


class Images:
    """Images of noise, as tasks of five classes."""

    kind = "classification"
    input_shape = (1, 28, 28)
    outputs = 5
    training_classes = 5

    def sample(self, split, tasks, generator):
        x, y = torch.rand(tasks, 20, 1, 28, 28, generator=generator), torch.arange(5).repeat(tasks, 4)
        return Task(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]), y[:, :5])


@pytest.mark.parametrize(("share", "first"), [(0.0, 0), (0.3, 3), (0.5, 5), (0.75, 8), (1.0, 10)])
def test_first_order_is_a_share_of_the_iterations(share, first, monkeypatch):
    """Counted in steps of a stand-in; built anew only where the algorithm changes."""
    cell = cell_of(first_order=share)
    built, taken = [], []

    def build(algorithm):
        built.append(algorithm.first_order)

        def step(meta, episodes):
            taken.append(algorithm.first_order)
            return {name: torch.zeros_like(p) for name, p in meta.items()}, {"loss": torch.tensor(0.0)}

        return step

    monkeypatch.setitem(ENGINES._entries, "loop", Engine("a stand-in", build))
    trained(cell)
    assert taken == [True] * first + [False] * (10 - first)
    assert built == [kind for kind in (True, False) if kind in taken]


@pytest.mark.parametrize(
    ("technique", "sentence"),
    [
        ({"checkpoint": True}, "maml with first_order = 1 keeps no graph of its inner loop"),
        ({"second_order": "forward-over-reverse"}, "maml with first_order = 1 does not differentiate inner gradients"),
        ({"second_order": "forward-over-reverse", "kept_steps": 2}, "maml with first_order = 1 does not differentiate"),
    ],
)
def test_what_the_second_order_alone_can_use_is_refused_where_there_is_none(technique, sentence):
    with pytest.raises(Unsupported, match=f"^{sentence}"):
        build_algorithm(cell_of(first_order=1, **technique), SINUSOID)
    for share in (0, 0.5):
        assert build_algorithm(cell_of(first_order=share, **technique), SINUSOID).order == "second"


def test_half_of_first_order_is_fomaml_then_maml():
    cell = cell_of(first_order=0.5)
    algorithm = build_algorithm(cell, SINUSOID)
    start = initial_meta(cell, algorithm)
    half = trained(cell)
    optimizer = MetaOptimizer({name: p.clone() for name, p in start.items()}, outer_of(cell))
    sample = Workload(cell, SINUSOID).sampler(start["head.weight"])
    for first_order in [True] * 5 + [False] * 5:
        step = LOOP.build(replace(algorithm, first_order=first_order))
        optimizer.update(step(optimizer.meta, sample())[0])
    assert relative_error(half, optimizer.meta) < 1e-6
    assert relative_error(trained(cell_of(first_order=1.0)), half) > 1e-5


def test_an_algorithm_that_changes_itself_is_built_for_each_of_its_stages(monkeypatch):
    maml = ALGORITHMS.get("maml")
    monkeypatch.setattr(maml, "at", lambda self, progress: replace(self, inner_lr=0.01 if progress < 0.2 else 0.02))
    built = []
    engine = Engine("a stand-in", lambda algorithm: built.append((algorithm.inner_lr, algorithm.first_order)))
    monkeypatch.setitem(ENGINES._entries, "loop", engine)
    workload = Workload(cell_of(first_order=0.5), SINUSOID)
    iteration, enter = workload.training(initial_meta(workload.cell, workload.algorithm))
    for stage in range(100):
        iteration = enter(iteration, stage / 100)
    assert built == [(0.01, True), (0.02, True), (0.02, False)]


@pytest.mark.parametrize("model", ["mlp-40x2", "conv4-16"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_bfloat16_is_that_of_the_forward_passes_alone(engine, model):
    distribution = SINUSOID if model.startswith("mlp") else Images()
    cell = cell_of(precision="bfloat16", model=model, inner_steps=2, inner_lr=0.05)
    algorithm = build_algorithm(cell, distribution)
    meta = initial_meta(cell, algorithm)
    assert {p.dtype for p in meta.values()} == {torch.float32}
    episodes = distribution.sample("train", 2, torch.Generator().manual_seed(0))
    x = task_at(episodes, 0).query.x
    assert in_precision(cell, algorithm.learner.predict)(meta, x).dtype == torch.bfloat16
    assert algorithm.learner.predict(meta, x).dtype == torch.float32

    step = ENGINES.get(engine).build(algorithm)
    direction, metrics = step(meta, episodes)
    rounded, rounded_metrics = in_precision(cell, step)(meta, episodes)
    assert {d.dtype for d in rounded.values()} == {torch.float32}
    assert rounded_metrics["loss"].dtype == torch.float32
    assert 1e-5 < abs(float(rounded_metrics["loss"] / metrics["loss"]) - 1) < 1e-1
    cosine = torch.nn.functional.cosine_similarity(
        *(torch.cat([d.flatten() for d in each.values()]) for each in (direction, rounded)), dim=0
    )
    assert 0.8 < float(cosine) < 1 - 1e-6
    first_order = ENGINES.get(engine).build(replace(algorithm, first_order=True))
    again, _ = in_precision(cell, first_order)(meta, episodes)
    assert relative_error(again, rounded) > 1e-3  # the second order is still there


def test_checkpointing_recomputes_in_the_precision_of_the_first_time():
    cell = cell_of(precision="bfloat16", model="conv4-16", inner_steps=2, inner_lr=0.05)
    algorithm = build_algorithm(cell, Images())
    meta = initial_meta(cell, algorithm)
    episodes = Images().sample("train", 2, torch.Generator().manual_seed(0))
    kept, _ = in_precision(cell, LOOP.build(algorithm))(meta, episodes)
    recomputed, _ = in_precision(cell, LOOP.build(replace(algorithm, checkpoint=True)))(meta, episodes)
    for name in meta:
        torch.testing.assert_close(recomputed[name], kept[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32"])
def test_other_precisions_leave_the_step_as_it_is(precision):
    cell = cell_of(precision=precision)
    step = LOOP.build(build_algorithm(cell, SINUSOID))
    assert in_precision(cell, step) is step
    wanted = torch.float64 if precision == "float64" else torch.float32
    assert {p.dtype for p in initial_meta(cell, build_algorithm(cell, SINUSOID)).values()} == {wanted}


def test_tf32_is_refused_on_a_processor_before_anything_is_measured():
    recorded = []
    with pytest.raises(Unsupported, match="tf32 is a precision of CUDA devices"):
        measure_cell(cell_of(precision="tf32"), {}, None, recorded.append)
    assert recorded == [{"phase": "set-up"}]


def test_a_head_is_of_one_number_of_ways(monkeypatch):
    cell = cell_of(task="glyphs", ways=5, train_ways=20)
    with pytest.raises(Unsupported, match="^maml has a head for 20 classes: it cannot tell 5 apart$"):
        build_algorithm(cell, Images())
    assert build_algorithm(cell_of(task="glyphs", ways=5, train_ways=5), Images()).learner.model.outputs == 5
    monkeypatch.setattr(ALGORITHMS.get("maml"), "any_ways", True)
    assert build_algorithm(cell, Images()).autodiff != TAPE


def test_what_adapts_to_whole_support_sets_refuses_minibatches_of_them():
    assert build_algorithm(cell_of(algorithm="reptile", eval_batch=4), SINUSOID).eval_batch == 4
    with pytest.raises(Unsupported, match="^maml adapts to the whole support set at once: eval_batch is for"):
        build_algorithm(cell_of(eval_batch=4), SINUSOID)


def test_a_minibatch_of_the_support_set_has_each_example_once():
    points = {"algorithm": "reptile", "shots": 10}
    assert build_algorithm(cell_of(**points, eval_batch=10), SINUSOID).eval_batch == 10
    with pytest.raises(Unsupported, match="^a minibatch of 11 examples is more than the support set of 10: let eval_b"):
        build_algorithm(cell_of(**points, eval_batch=11), SINUSOID)
    drawings = {"task": "glyphs", "algorithm": "reptile", "ways": 5, "shots": 2}
    assert build_algorithm(cell_of(**drawings, eval_batch=10), Images()).eval_batch == 10
    with pytest.raises(Unsupported, match="^a minibatch of 11 examples is more than the support set of 10"):
        build_algorithm(cell_of(**drawings, eval_batch=11), Images())


def test_a_cell_is_judged_by_minibatches_where_it_asks_for_them():
    """Of the same training, whose score before any inner step is the same."""
    reptile = {"algorithm": "reptile", "measure": ["quality"], "iterations": 2, "eval_tasks": 10, "eval_steps": 2}
    whole, portions = (measured(cell_of(**reptile, eval_batch=size), curve_points=0)["quality"] for size in (0, 3))
    assert whole.by_step[0] == portions.by_step[0]
    assert whole.by_step[1].value != portions.by_step[1].value


def test_what_normalises_over_pairs_depends_on_the_other_queries_whatever_the_network():
    """The relation module normalises over all pairs of a query and a class."""
    axes = {"task": "glyphs", "algorithm": "relation", "model": "conv4-16-nonorm", "train_ways": 5, "eval_tasks": 3}
    axes |= {"measure": ["quality"], "iterations": 1, "meta_batch": 1}
    found = measured(cell_of(**axes), curve_points=0)["quality"]
    assert found.batch_norm == "transductive"
    with pytest.raises(Unsupported, match="^Relation keeps no running statistics of its own: choose another batch_nor"):
        measured(cell_of(**axes, batch_norm="running"), curve_points=0)


TECHNIQUES = {
    "first order": "first_order = 1",
    "checkpoint": "checkpoint = true",
    "inner adam": 'inner_optimizer = "adam"\ninner_lr = 0.001',
    "bfloat16": 'precision = "bfloat16"\nbatch_norm = "one-query"',
    "running": 'batch_norm = "running"',
    "tf32": 'precision = "tf32"',
}
SWEEP = """
title = "techniques"
[run]
noise_pairs = 0
time_budget_s = 0.05
curve_points = 1
threads = 1
[defaults]
task = "glyphs"
algorithm = "maml"
model = "conv4-16"
meta_batch = 2
inner_steps = 1
iterations = 3
eval_tasks = 5
eval_steps = 1
measure = ["time", "quality"]
"""


def test_every_technique_goes_through_the_harness(metabench, tmp_path):
    text = SWEEP + "".join(f"[[grid]]\n{axes}\n" for axes in TECHNIQUES.values())
    (tmp_path / "tiny.toml").write_text(text)
    done = metabench("run", "tiny.toml", "--out", "run")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "measurements.jsonl").read_text().splitlines()]

    def row(name):
        (found,) = (row for row in rows if asked(name).items() <= row["cell"].items())
        return found

    def asked(name):
        axes = tomllib.loads(TECHNIQUES[name])
        plain = {"first_order": 0, "checkpoint": False, "inner_optimizer": "sgd", "precision": "float32"}
        return plain | {"batch_norm": "transductive"} | axes

    assert len(rows) == len(TECHNIQUES)
    for name in ("first order", "checkpoint", "inner adam", "bfloat16", "running"):
        assert (row(name)["status"], row(name)["reason"]) == ("ok", "")
        assert row(name)["time"]["step"]["n"] > 0
        assert row(name)["gate"]["definition_error"] < 1e-5
        assert 0 <= row(name)["gate"]["timed_excess"] <= 1
        assert 0 < row(name)["gate"]["timed_s"] < row(name)["seconds"]
        assert row(name)["quality"]["batch_norm"] == asked(name)["batch_norm"]
    assert row("tf32")["status"] == "unsupported"
    assert "on a processor it would be float32" in row("tf32")["reason"]
    assert "## Techniques" in (tmp_path / "run" / "tables.md").read_text()
    # matched: the same weights are evaluated on the same tasks before the first iteration
    curves = {name: row(name)["quality"]["curve"][0]["value"] for name in ("first order", "checkpoint")}
    assert curves["first order"] == pytest.approx(curves["checkpoint"], rel=1e-6)


@pytest.mark.parametrize("measure", [["time"], ["memory"], ["quality"]])
def test_what_is_first_order_in_float32_alone_gets_no_figure(monkeypatch, measure):
    """It passes the gate in float64, and whatever is measured, the iteration itself is looked at."""

    def build(algorithm):
        first_order = LOOP.build(replace(algorithm, first_order=True))
        right = LOOP.build(algorithm)

        def step(meta, episodes):
            single = next(iter(meta.values())).dtype == torch.float32
            return (first_order if single else right)(meta, episodes)

        return step

    monkeypatch.setitem(ENGINES._entries, "vmap", Engine("right in float64 alone", build))
    state = {}
    with pytest.raises(Incorrect, match="in float32 on 2 tasks, differs from float64 by"):
        measure_cell(cell_of(engine="vmap", measure=measure), SETTINGS, None, state.update)
    assert state["gate"].engine_error < 1e-12
    assert not {"time", "memory", "quality"} & state.keys()


def test_bfloat16_on_an_engine_that_autocast_does_not_reach_is_unsupported():
    cell = cell_of(precision="bfloat16", engine="vmap")
    with pytest.raises(Unsupported, match="bfloat16 does not reach all that vmap runs.*use loop, compile or cudagraph"):
        measure_cell(cell, {}, None, lambda part: None)


def test_work_is_that_of_loop_beside_what_the_machine_can_do(monkeypatch):
    """A pass of a task through the network takes 2·10·1680 operations; an iteration, between 5 and 20 passes."""
    monkeypatch.setattr(measuring, "measure_peaks", lambda threads, dtype, device: Peaks(1e9, 2e9, 3e9, False))
    parts = {}
    measure_cell(cell_of(measure=["work"], inner_steps=1, engine="vmap"), SETTINGS, None, parts.update)
    assert parts["work"].peaks == Peaks(1e9, 2e9, 3e9, False)
    workload = Workload(cell_of(inner_steps=1), SINUSOID)
    meta = initial_meta(workload.cell, workload.algorithm)
    episodes = SINUSOID.sample("train", 2, torch.Generator())
    assert parts["work"].flops == step_flops(workload.algorithm, episodes, meta)
    assert 2 * 5 * 2 * 10 * 1680 < parts["work"].flops < 2 * 20 * 2 * 10 * 1680


def test_loop_calls_operators_for_each_task_and_vmap_for_all_at_once(monkeypatch):
    monkeypatch.setattr(measuring, "measure_peaks", lambda threads, dtype, device: Peaks(1e9, 2e9, 3e9, False))

    def calls(engine, tasks):
        parts = {}
        cell = cell_of(measure=["work"], inner_steps=1, engine=engine, meta_batch=tasks)
        measure_cell(cell, SETTINGS, None, parts.update)
        return parts["work"].calls

    loop = [calls("loop", tasks) for tasks in (2, 3, 4)]
    assert loop[2] - loop[1] == loop[1] - loop[0] > 50
    assert calls("vmap", 2) == calls("vmap", 4) < loop[0]


def test_a_validation_score_that_is_not_finite_is_a_gap_in_the_curve(monkeypatch):
    """Early in a training, adaptation may overflow on validation tasks and be sound in the end."""

    def scores(algorithm, meta, distribution, split, tasks, steps, *rest):
        return torch.full((tasks, 2), torch.inf if split == "validation" else 0.5, dtype=torch.float64)

    monkeypatch.setattr(judging, "evaluate", scores)
    parts = {}
    cell = cell_of(measure=["quality"], iterations=2, eval_tasks=3)
    measure_cell(cell, SETTINGS | {"curve_points": 1}, None, parts.update)
    assert [point.value for point in parts["quality"].curve] == [None, None]
    assert parts["quality"].value == 0.5
    json.dumps(to_builtins(parts), allow_nan=False)


def measured(cell, **settings):
    """What measuring a cell records, by part."""
    found = {}
    measure_cell(cell, {**SETTINGS, "time_budget_s": 0.05, **settings}, None, found.update)
    return found


def test_evaluation_has_its_share_of_the_time():
    found = measured(cell_of(measure=["quality"], iterations=2, eval_tasks=30, eval_query=10), curve_points=1)[
        "quality"
    ]
    assert 0 < found.test_s < found.eval_s


class Enough(Images):
    """Images of noise, of a set that has so many examples of each class."""

    examples = 20

    def __init__(self, shape, data_dir):
        if shape.shots + shape.query > self.examples:
            raise Unsupported(f"a class has {self.examples} images: ask for fewer")
        self.shape, self.outputs = shape, shape.ways

    def sample(self, split, tasks, generator):
        ways, shots = self.shape.ways, self.shape.shots
        x = torch.rand(tasks, ways * (shots + self.shape.query), 1, 28, 28, generator=generator)
        y = torch.arange(ways).repeat(tasks, shots + self.shape.query)
        k = ways * shots
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), y[:, :ways])

    @property
    def provenance(self):
        return Provenance("noise", "0" * 64)


@pytest.mark.parametrize("kind", ["independent", "single"])
def test_queries_may_be_of_classes_that_are_drawn(kind, monkeypatch):
    monkeypatch.setitem(TASKS._entries, "glyphs", TaskSource("classification", Enough))
    axes = {"task": "glyphs", "model": "conv2-8", "iterations": 0, "eval_tasks": 40, "measure": ["quality"]}
    found = measured(cell_of(**axes, ways=3, eval_query=2, eval_queries=kind), curve_points=0)["quality"]
    assert (found.task_scores.unit, len(found.task_scores.numbers)) == (1 / 6, 40)
    reason = "^with eval_queries .* all 21 queries of a task may be of one class, and a class has 20 images"
    with pytest.raises(Unsupported, match=reason):
        measured(cell_of(**axes, ways=3, eval_query=7, eval_queries=kind), curve_points=0)


def test_queries_of_regression_have_no_classes():
    with pytest.raises(Unsupported, match="^queries of a regression task have no classes: no eval_queries single$"):
        measured(cell_of(measure=["quality"], eval_queries="single"), curve_points=0)


def test_the_score_of_each_test_task_is_kept(monkeypatch):
    """Its mean is the value of the row, and its interval is formed of it."""
    found = measured(cell_of(measure=["quality"], iterations=2, eval_tasks=30, eval_query=10), curve_points=0)[
        "quality"
    ]
    scores = found.task_scores.values
    assert (len(scores), found.task_scores.unit, found.steps) == (30, 1.0, 1)
    assert np.mean(scores) == pytest.approx(found.value, rel=1e-4)
    expected = mean_interval(scores, "mse")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-3)
    assert 0 < found.low < found.value < found.high
    assert found.train_s > 0 and len(found.curve) == 1


def test_accuracies_are_kept_as_numbers_of_right_answers():
    kept = scoring.task_scores([float(np.float32(0.2)), 1.0, float(np.float32(0.6))], 5)
    assert (kept.unit, kept.numbers, json.dumps(kept.numbers)) == (0.2, [1, 5, 3], "[1, 5, 3]")
    # another task distribution gave three answers, not five
    assert scoring.task_scores([1 / 3, 1.0], 5) == TaskScores(1.0, [0.3333, 1.0])


def test_energy_is_measured_where_it_is_asked_for_and_its_absence_has_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    found = measured(cell_of(engine="vmap", measure=["energy"]))
    assert found["energy"].joules is None and found["energy"].method.startswith("unavailable (RAPL: no package")
    assert "energy" not in measured(cell_of(engine="vmap", measure=["time"]))


def test_energy_on_a_processor_is_of_the_cells_own_iterations(monkeypatch, tmp_path):
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    for file, value in (("name", "package-0"), ("energy_uj", 0), ("max_energy_range_uj", 10**12)):
        (package / file).write_text(str(value))
    runs = []

    def window(run, wait, read, method):
        run()
        wait()
        runs.append(method)
        return Energy(2.0, 100.0, 3.0, 1, method)

    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "over_window", window)
    found = measured(cell_of(engine="vmap", measure=["energy"]))["energy"]
    assert (found.joules, found.method, runs) == (2.0, energy.RAPL_METHOD, [energy.RAPL_METHOD])


def test_the_busy_share_is_of_the_time_by_the_clock(monkeypatch):
    """Under the profiler a step takes longer; and kernels never take more than the step."""
    workload = Workload(cell_of(engine="vmap"), SINUSOID)
    meta = initial_meta(workload.cell, workload.algorithm)
    asked = []

    def measure(start, seconds):
        run, wait = start()
        run()
        wait()
        asked.append(seconds)
        return Launches(7.0, 9.0, 2e-3, "")

    monkeypatch.setattr(measuring, "measure_launches", measure)
    found = measuring._launches(workload, meta, 8e-3)
    assert (found.launches, found.kernels, found.busy_share, asked) == (7.0, 9.0, 0.25, [8e-3])
    assert measuring._launches(workload, meta, 1e-3).busy_share == 1.0
    monkeypatch.setattr(measuring, "measure_launches", lambda start, seconds: Launches(None, None, None, "no CUPTI"))
    assert measuring._launches(workload, meta, 1e-3).busy_share is None


def test_the_gpu_is_looked_at_before_and_after_the_timing(monkeypatch):
    idle, busy = GpuState(300, 2619, ["idle"], 30, 70.0), GpuState(1980, 2619, ["power limit"], 60, 690.0)
    monkeypatch.setattr(measuring, "gpu_state", lambda device: busy)
    assert measuring._gpu(torch.device("cuda")) == busy
    assert measuring._gpu(torch.device("cpu")) is None
    assert measured(cell_of(engine="vmap", measure=["time"]))["time"].gpu == []
    states = iter([idle, busy])
    monkeypatch.setattr(measuring, "_gpu", lambda device: next(states))
    found = measured(cell_of(engine="vmap", measure=["time"]))["time"]
    assert [state.sm_mhz for state in found.gpu] == [300, 1980]


def test_the_memory_of_an_engine_that_keeps_its_work_space_has_it(monkeypatch):
    asked = []

    def measure(step, device, held, foreign, unused):
        step()
        asked.append((held, foreign, unused))
        return Memory(5, "by hand", None, "", None, None, None, "")

    monkeypatch.setattr(measuring, "measure_memory", measure)
    monkeypatch.setattr(Stepwise, "held", 1234)
    found = measured(cell_of(engine="vmap", measure=["memory"]))["memory"]
    assert (found.tracked_bytes, asked) == (5, [(1234, None, {})])


def test_what_an_engine_chooses_by_itself_stands_in_the_row(monkeypatch):
    monkeypatch.setattr("metabench.engines.compile.compiled", lambda function, inputs: function)
    monkeypatch.setattr("metabench.engines.convolutions.measured", lambda *_: {"grouped": 2.0, "matrix": 1.0})
    monkeypatch.setattr("metabench.engines.convolutions._kept", lambda device: {})
    monkeypatch.setattr("metabench.engines.convolutions._keep", lambda *_: None)
    forms_for.cache_clear()
    rows = {}
    for engine in ("compile", "vmap"):
        axes = {"task": "glyphs", "model": "conv2-8", "ways": 2, "shots": 1, "query": 1, "inner_steps": 1}
        cell = cell_of(engine=engine, measure=["time"], **axes)
        measure_cell(cell, SETTINGS | {"time_budget_s": 0.01}, None, rows.setdefault(engine, {}).update)
    forms_for.cache_clear()
    assert rows["compile"]["time"].choices == {
        "2×1×28×28 to 8 by 3×3, stride 2×2, padding 1×1": "matrix",
        "2×8×14×14 to 8 by 3×3, stride 2×2, padding 1×1": "matrix",
    }
    assert rows["vmap"]["time"].choices == {}


@pytest.fixture
def broken(monkeypatch):
    """Registers sinusoids of another class, under the name of sinusoids."""

    def register(kind):
        monkeypatch.setitem(TASKS._entries, "sinusoid", TaskSource("regression", lambda shape, folder: kind(shape)))

    return register


class Flat(Sinusoid):
    def make(self, drawn, like):
        support, query, classes = super().make(drawn, like)
        return Task(Batch(support.x, support.y[..., 0]), Batch(query.x, query.y[..., 0]), classes)


class FlatOnHeldOut(Sinusoid):
    def make(self, drawn, like):
        support, query, classes = super().make(drawn, like)
        held_out = self.shape.query == 7
        return Task(support, Batch(query.x, query.y[..., 0]) if held_out else query, classes)


def test_tasks_that_break_a_promise_are_refused_before_the_gate(broken):
    broken(Flat)
    recorded = {}
    with pytest.raises(Unsupported, match=r"y of the support set of 'train' has shape \(2, 10\), .* \(2, 10, 1\)"):
        measure_cell(cell_of(measure=["time"]), SETTINGS, None, recorded.update)
    assert recorded["phase"] == "correctness gate" and "gate" not in recorded


def test_held_out_tasks_that_break_a_promise_are_refused_before_the_training(broken, monkeypatch):
    broken(FlatOnHeldOut)
    monkeypatch.setattr(scoring, "train", None)
    recorded = {}
    with pytest.raises(Unsupported, match=r"y of the query set of 'validation' has shape \(2, 7\), .* \(2, 7, 1\)"):
        measure_cell(cell_of(measure=["time", "quality"], eval_query=7), SETTINGS, None, recorded.update)
    assert recorded["time"].step.n > 0  # what was measured before stays
