"""Which cell is the noise configuration, and where its pairs stand in a sweep."""

import itertools
import json
import tomllib

import pytest

from listening import Silent
from metabench.report.frames import to_frame
from metabench.report.noise import floor_text
from metabench.report.results import read_run
from metabench.statistics.intervals import summarise
from metabench.sweep import environment, jobs
from metabench.sweep.builtin import find_sweep
from metabench.sweep.noise import noise_cell, pairs_for, spread
from metabench.sweep.runner import plan, run_sweep
from metabench.sweep.spec import load_sweep, parse_sweep
from runs import made

GRID = '[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\n'


def sweep(text):
    return parse_sweep("test", tomllib.loads(text), text, 1)


def cell_of(text):
    return noise_cell(sweep(text).cells)


def test_the_noise_cell_is_the_first_timed_cell_that_is_cheap_to_start():
    assert cell_of(GRID + 'engine = ["loop", "vmap"]\n').engine == "loop"
    assert cell_of(GRID + 'engine = ["compile", "higher", "vmap"]\n').engine == "vmap"
    assert cell_of(GRID + 'engine = "compile"\n').engine == "compile"  # there is no other
    assert cell_of(GRID + 'measure = ["quality"]\n') is None
    assert cell_of(GRID + 'measure = ["quality"]\n' + GRID + "meta_batch = 8\n").meta_batch == 8


@pytest.mark.parametrize(
    ("wanted", "timed", "pairs"), [(5, 100, 5), (5, 10, 5), (5, 6, 3), (5, 1, 2), (1, 100, 1), (0, 100, 0)]
)
def test_the_noise_cell_takes_no_more_processes_than_the_cells(wanted, timed, pairs):
    assert pairs_for(wanted, timed) == pairs


def test_pairs_are_spread_evenly_from_the_start_to_the_end():
    assert spread([1, 2, 3, 4], ["ab", "cd", "ef"]) == ["a", "b", 1, 2, "c", "d", 3, 4, "e", "f"]
    assert spread([1], ["ab", "cd", "ef"]) == ["a", "b", "c", "d", 1, "e", "f"]
    assert spread([1, 2], []) == [1, 2]
    assert spread([1, 2], ["ab"]) == ["a", "b", 1, 2]


def test_a_plan_has_the_pairs_in_it_and_all_its_jobs_are_told_apart():
    text = "[run]\nrounds = 3\nnoise_pairs = 4\n" + GRID + 'engine = ["loop", "vmap"]\ninner_steps = [1, 5]\n'
    jobs = plan(sweep(text))
    assert len({job.key for job in jobs}) == len(jobs) == 3 * 4 + 2 * 4
    pairs = [(job.noise.pair, job.noise.side) for job in jobs if job.noise]
    assert pairs == [(pair, side) for pair in range(4) for side in "ab"]
    assert {job.cell.measure for job in jobs if job.noise} == {("time",)}
    assert len({job.cell.id for job in jobs if job.noise}) == 1
    places = [i for i, job in enumerate(jobs) if job.noise]
    assert places[:2] == [0, 1] and places[-2:] == [18, 19]
    assert [later - earlier for earlier, later in itertools.pairwise(places)] == [1, 5, 1, 5, 1, 5, 1]
    assert not any(job.noise for job in plan(sweep(text.replace("noise_pairs = 4", "noise_pairs = 0"))))


def test_built_in_sweeps_that_time_have_a_noise_floor():
    for name, processes in (("first", 8), ("smoke", 4), ("default", 10), ("engines", 10)):
        jobs = [job for job in plan(load_sweep(find_sweep(name), {}, 1)) if job.noise]
        assert len(jobs) == processes
        assert jobs[0].cell.task == "sinusoid"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a sweep without processes: cells of `loop` take 1, 2, … ms, one after the other, those of `vmap` fail."""
    taken = itertools.count(1)

    def run_cell(cell, number, settings, data_dir, **_):
        if cell.engine == "vmap":
            return made(cell, number, "crashed", "it fell")
        step = summarise([next(taken) / 1000] * 6)
        time = {"step": step, "sampling": step, "noisy": False, "compile_s": 0.0}
        return made(cell, number, "ok", "", time=time)

    monkeypatch.setattr(jobs, "run_cell", run_cell)
    monkeypatch.setattr(environment, "warnings_now", lambda cells: [])

    def run(text, resume=False):
        progress = Silent()
        run_sweep(sweep(text), tmp_path, resume=resume, data_dir=None, progress=progress)
        rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
        return rows, progress

    return run


TIMED = '[run]\nnoise_pairs = 2\n[[grid]]\ntask = "sinusoid"\nmeasure = ["time"]\n'


def test_a_run_times_its_reference_as_two_and_a_resumed_one_goes_on_with_it(run, tmp_path):
    text = TIMED + 'algorithm = ["maml", "fomaml"]\n'
    rows, progress = run(text)
    assert (progress.total, progress.done) == (6, 0)
    assert [(row.get("reference"), row["round"]) for row in rows if "reference" in row] == [
        ({"pair": pair, "side": side}, pair) for pair in range(2) for side in "ab"
    ]
    assert [i for i, row in enumerate(rows) if "reference" in row] == [0, 1, 4, 5]
    assert {row["cell"]["algorithm"] for row in rows if "reference" in row} == {"maml"}
    assert len(to_frame(read_run(tmp_path))) == 2

    file = tmp_path / "measurements.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], *lines[2:5]]))  # a side of either pair is lost
    again, progress = run(text, resume=True)
    assert (progress.total, progress.done) == (6, 4)
    assert again[:4] == [rows[0], *rows[2:5]]
    assert [row["reference"] for row in again[4:]] == [{"pair": 0, "side": "b"}, {"pair": 1, "side": "b"}]


def test_a_reference_that_fails_is_tried_no_more_and_says_so(run, tmp_path):
    rows, _ = run(TIMED + 'algorithm = ["maml", "fomaml"]\nengine = "vmap"\n')
    references = [row for row in rows if "reference" in row]
    assert [(row["status"], row["reason"]) for row in references] == [
        ("crashed", "it fell"),
        *[("skipped", "the noise configuration was crashed before")] * 3,
    ]
    assert [row["status"] for row in rows if "reference" not in row] == ["crashed"] * 2
    assert floor_text(read_run(tmp_path).noise_rows, 1) == "not measured: it fell; no interval includes it"
