"""What was disturbed is measured again at the end of a run, once: cells are stand-ins."""

import json
import tomllib
from threading import Event

import pytest
from msgspec import structs

from listening import Silent
from metabench.record.environment import Machine
from metabench.record.measurement import Noise
from metabench.record.timing import Adaptation, Disturbance, Time, Timed
from metabench.statistics.intervals import summarise
from metabench.sweep import brief, environment, jobs
from metabench.sweep.again import is_disturbed, settled, timed_alone
from metabench.sweep.jobs import Job
from metabench.sweep.runner import run_sweep
from metabench.sweep.spec import parse_sweep
from runs import made

TEXT = """
[run]
noise_pairs = {pairs}
[[grid]]
task = "sinusoid"
algorithm = ["maml", "fomaml", "anil"]
measure = ["time", "memory", "quality"]
"""
BUSY = Disturbance("others were busy", 3.0)


def timed(seconds: float, disturbed: Disturbance | None = None) -> Time:
    return Time(summarise([seconds] * 8), 0.0, disturbed=disturbed)


class Run:
    """A run whose cells take the times of a script, in the order in which each algorithm is measured."""

    def __init__(self, folder, monkeypatch, script, pairs=0):
        text = TEXT.format(pairs=pairs)
        self.sweep = parse_sweep("test", tomllib.loads(text), text, 1)
        self.folder, self.progress, self.script = (
            folder,
            Silent(),
            {name: iter(times) for name, times in script.items()},
        )
        self.measured, self.then = [], {}
        for module in (jobs, brief):
            monkeypatch.setattr(module, "run_cell", self.run_cell)
        monkeypatch.setattr(brief, "warnings_now", lambda cells: [])
        monkeypatch.setattr(environment, "fingerprint", lambda threads: Machine())
        monkeypatch.setattr(environment, "short_name", lambda machine: "a machine")
        monkeypatch.setattr(environment, "warnings_now", lambda cells: [])

    def run_cell(self, cell, number, settings, data_dir, stop=None, **_):
        self.measured.append((cell.algorithm, cell.measure))
        self.then.get(len(self.measured), lambda: None)()
        time = next(self.script.get(cell.algorithm, iter([])), timed(1.0))
        return made(cell, number, "ok", "", **({"time": time} if isinstance(time, Time) else time))

    def go(self, stop=None, resume=False):
        run_sweep(self.sweep, self.folder, resume=resume, data_dir=None, progress=self.progress, stop=stop)
        return self.rows

    @property
    def rows(self):
        rows = [json.loads(line) for line in (self.folder / "measurements.jsonl").read_text().splitlines()]
        return {row["cell"]["algorithm"]: row for row in rows if not row.get("reference")}


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda script, **more: Run(tmp_path / "run", monkeypatch, script, **more)


def test_a_disturbed_cell_is_timed_again_last_and_the_quiet_time_counts(run):
    made_up = run({"maml": [timed(9.0, BUSY), timed(2.0)]})
    rows = made_up.go()
    assert [name for name, _ in made_up.measured][-1] == "maml" and len(made_up.measured) == 4
    assert made_up.measured[-1][1] == ("time",)  # neither trained nor weighed again
    assert rows["maml"]["time"]["step"]["median"] == 2.0 and rows["maml"]["time"]["disturbed"] is None
    assert rows["maml"]["cell"]["measure"] == ["time", "memory", "quality"]
    assert rows["maml"]["id"] == next(cell.id for cell in made_up.sweep.cells if cell.algorithm == "maml")
    (warning,) = [sentence for sentence in made_up.progress.warnings if "again" in sentence]
    assert "was disturbed (others were busy): it is measured again at the end" in warning


@pytest.mark.parametrize(("first", "second", "kept"), [(9.0, 5.0, 5.0), (5.0, 9.0, 5.0)])
def test_what_is_disturbed_twice_is_marked_and_has_the_faster_time(run, first, second, kept):
    made_up = run({"anil": [timed(first, BUSY), timed(second, BUSY)]})
    rows = made_up.go()
    assert len(made_up.measured) == 4  # no third time
    assert rows["anil"]["time"]["step"]["median"] == kept
    assert rows["anil"]["time"]["disturbed"] == {"reason": "others were busy", "factor": 3.0}
    assert rows["anil"]["status"] == "ok"


def test_a_run_that_is_stopped_keeps_what_was_to_be_measured_again(run):
    stop = Event()
    made_up = run({name: [timed(9.0, BUSY)] for name in ("maml", "fomaml", "anil")})
    made_up.then[3] = stop.set
    with pytest.raises(KeyboardInterrupt):
        made_up.go(stop)
    assert len(made_up.measured) == len(made_up.rows) == 3
    assert all(row["time"]["disturbed"] for row in made_up.rows.values())


def test_what_is_to_be_measured_again_is_on_disk_at_once_and_is_replaced_where_it_stands(run):
    """A kill at whatever moment loses nothing: the row is there before the next configuration begins."""
    made_up, there = run({name: [timed(9.0, BUSY), timed(2.0)] for name in ("maml", "fomaml", "anil")}), []
    for number in range(2, 7):
        made_up.then[number] = lambda: there.append({name: row["time"] for name, row in made_up.rows.items()})
    before = [row["cell"]["algorithm"] for row in made_up.go().values()]
    assert [len(rows) for rows in there] == [1, 2, 3, 3, 3]
    replaced = [sum(time["disturbed"] is None for time in rows.values()) for rows in there]
    assert replaced == [0, 0, 0, 1, 2]
    assert before == list(dict.fromkeys(name for name, _ in made_up.measured))
    assert not any("unsettled" in row for row in made_up.rows.values())


def test_a_run_that_is_resumed_measures_again_what_was_disturbed_before_and_nothing_twice(run):
    stop = Event()
    made_up = run({"maml": [timed(9.0, BUSY), timed(2.0)], "anil": [timed(9.0, BUSY), timed(8.0, BUSY), timed(1.0)]})
    made_up.then[2] = stop.set
    with pytest.raises(KeyboardInterrupt):
        made_up.go(stop)
    waiting = [name for name, row in made_up.rows.items() if row.get("unsettled")]
    assert waiting == [name for name in made_up.rows if name != "fomaml"]
    rows = made_up.go(resume=True)
    assert made_up.progress.total == 3
    assert (rows["maml"]["time"]["step"]["median"], rows["anil"]["time"]["step"]["median"]) == (2.0, 8.0)
    assert len(rows) == 3 and len(made_up.measured) == 5
    assert {measure for name, measure in made_up.measured[3:]} == {("time",)}
    assert rows["anil"]["time"]["disturbed"]  # twice, which is the most
    assert made_up.go(resume=True) == rows and len(made_up.measured) == 5


def test_the_noise_configuration_is_not_measured_again(run):
    made_up = run({"maml": [timed(9.0, BUSY)] * 10}, pairs=1)
    made_up.go()
    # a pair of two processes (of the fewest two pairs, one is asked for), the cell, and the cell again
    assert sum(name == "maml" for name, _ in made_up.measured) == 4
    cell = made_up.sweep.cells[0]
    noise = Job(cell, 0, Noise(0, "a"))
    assert not is_disturbed(noise, made(cell, time=timed(9.0, BUSY)))
    assert is_disturbed(Job(cell, 0), made(cell, time=timed(9.0, BUSY)))
    assert not is_disturbed(Job(cell, 0), made(cell, 0, "timeout", time=timed(9.0, BUSY)))
    assert not is_disturbed(Job(cell, 0), made(cell, time=timed(9.0)))


def test_a_second_measurement_that_failed_changes_nothing(run):
    cell = run({}).sweep.cells[0]
    first = made(cell, time=timed(9.0, BUSY))
    assert settled(first, made(cell, 0, "crashed", "of itself", time=timed(1.0))) is first
    assert settled(first, made(cell, 0, "ok")) is first
    assert settled(first, structs.replace(made(cell, time=timed(1.0)), machine="another")) is first


def test_each_part_that_was_disturbed_is_measured_again_by_itself(run):
    """The second time, the iteration was disturbed again and is slower; the held-out task was not, and counts."""

    def held_out(seconds, disturbed=None):
        part = Timed(summarise([seconds] * 8))
        return Adaptation(structs.replace(part, disturbed=disturbed), part, part)

    cell = structs.replace(run({}).sweep.cells[0], measure=("time", "work", "adaptation", "memory"))
    first = made(cell, time=timed(5.0, BUSY), adaptation=held_out(5.0, BUSY))
    assert is_disturbed(Job(cell, 0), made(cell, adaptation=held_out(5.0, BUSY)))
    assert timed_alone(cell).measure == ("time", "work", "adaptation")
    found = settled(first, made(cell, time=timed(9.0, BUSY), adaptation=held_out(2.0)))
    assert found.time == first.time and found.adaptation == held_out(2.0) and found.seconds == 2.0
    # a cell without a time of the iteration is settled, too
    alone = made(cell, adaptation=held_out(5.0, BUSY))
    assert settled(alone, made(cell, adaptation=held_out(4.0, BUSY))).adaptation == held_out(4.0, BUSY)
    assert settled(alone, made(cell, adaptation=held_out(6.0, BUSY))) is alone


def test_advice_stands_on_what_was_measured_again(run):
    made_up = run({"maml": [timed(9.0, BUSY), timed(2.0)]})
    rows = {row.cell.algorithm: row for row in brief.measure_briefly(made_up.sweep, None, made_up.progress)}
    assert rows["maml"].time.step.median == 2.0
    assert len(made_up.measured) == 4
