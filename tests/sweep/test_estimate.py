"""What a measurement is expected to take, held against the committed runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from metabench.record.axes import LARGEST_WHOLE
from metabench.record.cell import Cell
from metabench.report.results import read_run
from metabench.sweep.estimate import beyond_limit, evaluation_seconds, expected, memory_bytes, step_seconds
from metabench.sweep.jobs import Job
from metabench.sweep.remaining import Remaining
from metabench.sweep.sizes import adapts_head_alone, network_size
from metabench.sweep.spec import Settings, parse_sweep

RESULTS = Path(__file__).parents[2] / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/*/measurements.jsonl"))

NO_QUERY_PASS = "2026-11-29"
"""Before, a step of Reptile took its query set through the network once more, for a loss to report."""


def cell(algorithm="maml", **axes) -> Cell:
    grid = {"task": "sinusoid", "algorithm": algorithm, "measure": ["time"], **axes}
    (made,) = parse_sweep("one", {"grid": [grid]}, "", 1).cells
    return made


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_guess_of_peak_memory_is_right_within_a_factor_of_two(folder):
    for row in read_run(folder).measurements:
        if row.cell.algorithm == "reptile" and row.started < NO_QUERY_PASS:
            continue
        found = row.memory and (row.memory.tracked_bytes or row.memory.cuda_allocated_bytes)
        guess = memory_bytes(row.cell)
        if row.status == "ok" and found and guess and row.cell.engine in ("loop", "vmap"):
            assert 1 / 2 < guess / found < 2, row.cell.describe()


def test_memory_that_cannot_be_known_is_left_out():
    assert memory_bytes(cell(engine="compile")) is None  # nobody says whether it holds all tasks at once
    assert memory_bytes(replace(cell(), task="of-a-plug-in")) is None
    assert memory_bytes(replace(cell(), model="conv4-64")) is None  # takes no points


def test_the_guesses_grow_as_the_work_does():
    small, more_steps, more_tasks = cell(inner_steps=1), cell(inner_steps=5), cell(inner_steps=1, meta_batch=100)
    assert step_seconds(small) < step_seconds(more_steps)
    assert step_seconds(small) == pytest.approx(step_seconds(more_tasks) * small.meta_batch / 100)
    assert memory_bytes(small) == memory_bytes(more_tasks)  # one task after the other
    assert memory_bytes(cell(engine="vmap")) < memory_bytes(cell(engine="vmap", meta_batch=100))
    assert step_seconds(cell("fomaml", inner_steps=5)) < step_seconds(more_steps)
    assert memory_bytes(cell("fomaml", inner_steps=5)) < memory_bytes(more_steps)
    assert step_seconds(cell("anil", inner_steps=5)) < step_seconds(more_steps)


@pytest.mark.parametrize(
    ("algorithm", "threads", "milliseconds"), [("maml", 1, 82), ("maml", 2, 41), ("fomaml", 1, 44), ("fomaml", 2, 22)]
)
def test_published_trainings_on_native_are_expected_within_a_factor_of_two(algorithm, threads, milliseconds):
    """On two cores of an EPYC; those of the committed runs are compared as well."""
    axes = {"task": "omniglot", "model": "conv4-64", "ways": 5, "shots": 1, "query": 1, "inner_steps": 1}
    published = cell(algorithm, engine="native", meta_batch=32, threads=threads, **axes)
    assert 1 / 2 < 1e3 * step_seconds(published) / milliseconds < 2


@pytest.mark.parametrize(("machine", "factor"), [("epyc-2core", 2), ("epyc-avx2-2core", 3)])
def test_steps_of_native_in_committed_runs_are_expected_within_a_factor(machine, factor):
    """A processor with AVX2 alone is slower: its vectors have half the length."""
    runs = [run for run in RUNS if run.parent.name == machine]
    rows = [row for run in runs for row in read_run(run).measurements if row.cell.engine == "native" and row.time]
    assert len(rows) >= 15
    assert all(1 / factor < step_seconds(row.cell) / row.time.step.median < factor for row in rows)


def test_where_steps_are_kept_each_is_computed_again_on_the_way_back():
    """On loop even where all of them are, since the way there keeps none; native keeps them on the way there."""

    def seconds(engine, steps, kept):
        axes = {"task": "omniglot", "model": "conv4-32", "second_order": "forward-over-reverse"}
        return step_seconds(cell("maml", engine=engine, inner_steps=steps, kept_steps=kept, **axes))

    assert seconds("loop", 10, 0) < seconds("loop", 10, 11) < 2 * seconds("loop", 10, 0)
    assert seconds("native", 10, 11) == seconds("native", 10, 0)
    for engine in ("loop", "native"):
        assert 10 * seconds(engine, 10, 11) < seconds(engine, 100, 11) < seconds(engine, 100, 4)


def test_evaluations_of_committed_runs_are_expected_within_a_factor_of_three():
    """On the processors that the guesses are of. A second of a test on few tasks is torch's first calls, which no guess
    is about."""
    runs = [run for run in RUNS if run.parent.name.startswith("epyc")]
    rows = [row for folder in runs for row in read_run(folder).measurements if row.cell.device == "cpu"]
    judged = [(row.cell, row.quality.eval_s) for row in rows if row.quality and (row.quality.eval_s or 0) > 1]
    guesses = [(one, one.eval_tasks * evaluation_seconds(one) / seconds) for one, seconds in judged]
    near = [one for one, ratio in guesses if 1 / 3 < ratio < 3]
    assert len(near) > 0.8 * len(guesses) > 50
    assert {one.batch_norm for one in near} >= {"transductive", "one-query"}


def test_a_long_training_and_a_compiler_are_expected():
    settings = Settings(time_budget_s=0.6)
    short, long = (cell(measure=["quality"], iterations=number, engine="vmap") for number in (100, 70_000))
    assert expected(long, settings).seconds > expected(short, settings).seconds + 60
    plain, compiled = (cell(engine=engine) for engine in ("loop", "compile"))
    assert expected(compiled, settings).fixed > expected(plain, settings).fixed + 5
    patient = Settings(time_budget_s=30)
    assert expected(plain, patient).seconds > expected(plain, settings).seconds + 30


def test_native_writes_down_one_of_many_steps_that_are_alike():
    tangents = {"engine": "native", "second_order": "forward-over-reverse", "kept_steps": 11}

    def compiling(**axes):
        return expected(cell(**axes), Settings()).fixed

    assert compiling(inner_steps=1000, **tangents) == compiling(inner_steps=10, **tangents)
    assert compiling(inner_steps=20, engine="native") > compiling(inner_steps=10, engine="native")
    assert compiling(inner_steps=1000, first_order=1.0, engine="native") < compiling(inner_steps=10, engine="native")
    assert compiling(inner_steps=20, inner_optimizer="adam", **tangents) > compiling(inner_steps=20, **tangents)


def test_a_training_that_another_makes_is_not_expected_twice():
    settings = Settings(time_limit_s=100)
    axes = {"measure": ["quality"], "iterations": 70_000, "engine": "vmap"}
    long, other = cell(**axes), cell(**axes, eval_query=7)
    alone = expected(long, settings).seconds
    assert expected(other, settings, trains=False).seconds < alone / 10
    assert "and 1 other" not in beyond_limit([long, other], settings) and beyond_limit([other], settings)
    patient = Settings(time_limit_s=10 * alone)
    both = Remaining([Job(long, 0), Job(other, 0)], patient, lambda: 0.0)
    assert alone < both.seconds < 1.1 * alone


def test_no_time_limit_is_advised_that_no_sweep_may_have():
    endless = cell(measure=["quality"], iterations=LARGEST_WHOLE, inner_steps=1000)
    said = beyond_limit([endless], Settings(time_limit_s=600))
    assert "set time_limit_s" not in said and said.endswith(": go on with what was ended by --resume")
    long = beyond_limit([cell(measure=["quality"], iterations=10**7)], Settings(time_limit_s=600))
    assert re.search(r": set time_limit_s = \d+ in \[run\], or go on with what was ended by --resume$", long)


def test_what_is_timed_apart_takes_its_budgets():
    settings = Settings(time_budget_s=10)
    plain = expected(cell(measure=["memory"]), settings).seconds
    assert expected(cell(measure=["memory", "adaptation"]), settings).seconds > plain + 15
    assert plain + 10 < expected(cell(measure=["memory", "double_backward"]), settings).seconds < plain + 15


def test_a_network_is_sized_without_torchs_compiler():
    """Which takes seconds to import, and memory: a dry run would wait for it."""
    program = "import sys; from metabench.sweep.sizes import network_size; network_size('conv4-64', 'omniglot', 5)"
    program += "; assert not {'torch._dynamo', 'triton'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_network_is_sized_without_data():
    size = network_size("conv4-64", "omniglot", 5)
    assert size is not None and size.parameters == 112_005
    first = 2 * 9 * 64 * 28 * 28 / 4  # of its first convolution, whose stride is 2
    assert size.flops == size.tiled_flops > first  # tiles are for convolutions without strides
    pooled = network_size("conv4-64-maxpool", "omniglot", 5)
    assert pooled is not None and pooled.flops / 2 < pooled.tiled_flops < 0.6 * pooled.flops
    assert network_size("conv4-64", "sinusoid", 1) is None
    assert network_size("mlp-40x2", "nowhere", 1) is None


@pytest.mark.parametrize(("algorithm", "alone"), [("anil", True), ("maml", False), ("prototypical", False)])
def test_what_adapts_the_head_alone(algorithm, alone):
    assert adapts_head_alone(algorithm, "conv4-16", "glyphs", 5) is alone
    assert adapts_head_alone("nobody", "conv4-16", "glyphs", 5) is False
