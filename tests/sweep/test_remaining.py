"""The estimate of the time left, replayed on the rows of the committed runs."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace as replaced
from datetime import datetime
from itertools import accumulate
from pathlib import Path

import pytest
from msgspec.structs import replace

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.report.results import read_run
from metabench.statistics.intervals import summarise
from metabench.sweep.again import job_again
from metabench.sweep.checkpoints import Pace
from metabench.sweep.estimate import step_seconds
from metabench.sweep.jobs import Job
from metabench.sweep.remaining import Ratio, Remaining
from metabench.sweep.spec import Settings, parse_sweep
from runs import made

RESULTS = Path(__file__).parents[2] / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/*/measurements.jsonl"))
PAUSE_S = 120
"""Seconds in which a run that goes on begins or measures something."""


def foreseeable(run: Path) -> bool:
    """Whether no other program slowed a run down for part of its time, and it was measured at one sitting."""
    if "other processes use" in (run / "environment.json").read_text(encoding="utf-8"):
        return False
    rows = [row for row in read_run(run).measurements if row.started]
    if all(any("other programs used" in warning for warning in row.warnings) for row in rows):
        return False
    spans = sorted((datetime.fromisoformat(row.started).timestamp(), row.seconds or 0.0) for row in rows)
    ends = accumulate((begin + seconds for begin, seconds in spans), max)
    return all(begin - end < PAUSE_S for (begin, _), end in zip(spans[1:], ends, strict=False))


ALONE = [run for run in RUNS if foreseeable(run)]
BOUNDS = {0.25: 0.35, 0.5: 0.2, 0.75: 0.15}
"""Largest error of the estimate, as a share of the run's time, when that share of it has passed."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def settings_of(folder: Path) -> Settings:
    """The settings that a run was measured with; of a run that was put together from several, the usual ones."""
    file = folder / "sweep.toml"
    return Settings(**tomllib.loads(file.read_text(encoding="utf-8")).get("run", {})) if file.exists() else Settings()


def schedule(rows: list[Measurement], settings: Settings) -> Iterator[tuple[float, float, Measurement]]:
    """Begin and end of each row: one after the other, then those that train alone as many at once as the sweep says."""
    together = settings.side_by_side > 1
    alone = [row for row in rows if together and row.cell.measure == ("quality",)]
    end = 0.0
    for row in rows:
        if row not in alone:
            yield end, end + row.seconds, row
            end += row.seconds
    lanes = [end] * settings.side_by_side
    for row in alone:
        lane = lanes.index(min(lanes))
        yield lanes[lane], lanes[lane] + row.seconds, row
        lanes[lane] += row.seconds


def job_of(row: Measurement) -> Job:
    """The job whose row it is."""
    return Job(row.cell, row.round, row.noise)


def replayed(folder: Path, shares, pace: float = 1.0) -> dict[float, float]:
    """By share of the run's time: what the estimate was off by then, as a share of that time.

    A share other than 0 is left out where no row had ended by then: the machine's pace was not known yet.
    A training says how far it is as often as it is kept.
    """

    def pace_of(cell: Cell) -> Pace | None:
        begin, end = next((begin, end) for begin, end, row in planned if row.cell is cell)
        since = clock.now - begin
        if cell.measure != ("quality",) or since < settings.checkpoint_s:
            return None
        return Pace(int(1000 * since / (end - begin)), 1000, 0, since)

    run, settings, clock = read_run(folder), settings_of(folder), Clock()
    rows = sorted([*run.measurements, *run.noise_rows], key=lambda row: row.started)
    limit = max(settings.time_limit_s, *(row.seconds for row in rows))  # that of a run put together is not known
    settings = Settings(**{**vars(settings), "time_limit_s": pace * limit})
    rows = [replace(row, seconds=pace * row.seconds, id=row.cell.id) for row in rows]  # whose ids may be older
    planned = list(schedule(rows, settings))
    whole = max(end for _, end, _ in planned)
    remaining = Remaining([job_of(row) for row in rows], settings, clock, pace_of)
    errors, ended = {}, 0
    begins = [(begin, 1, i) for i, (begin, _, _) in enumerate(planned)]
    ends = [(end, 0, i) for i, (_, end, _) in enumerate(planned)]
    looks = [(share * whole, 2, share) for share in shares]
    for clock.now, what, which in sorted([*begins, *ends, *looks]):
        if what == 2:
            if ended or which == 0:
                errors[which] = (clock.now + remaining.seconds - whole) / whole
        elif what == 1:
            remaining.began(job_of(planned[which][2]))
        else:
            remaining.finished(planned[which][2])
            ended += 1
    assert remaining.running == {}
    assert abs(remaining.seconds) < 1e-6 * whole  # nothing is left, and nothing is counted twice
    return errors


@pytest.mark.parametrize("folder", ALONE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_error_of_the_time_left_is_bounded_on_every_committed_run(folder):
    errors = replayed(folder, BOUNDS)
    assert errors
    for share, error in errors.items():
        assert abs(error) <= BOUNDS[share], (share, error)


def test_most_runs_are_guessed_within_a_factor_of_two_before_they_begin():
    errors = [replayed(folder, [0.0])[0.0] for folder in RUNS]
    assert sum(1 / 2 <= 1 + error <= 2 for error in errors) > len(errors) / 2


@pytest.mark.parametrize("pace", [0.3, 5.0])
def test_a_machine_of_another_pace_is_learnt(pace):
    for share, error in replayed(RESULTS / "epyc-2core" / "default", BOUNDS, pace).items():
        assert abs(error) <= BOUNDS[share], (share, error)


def test_one_long_training_among_short_ones_does_not_come_as_a_surprise():
    """The run whose estimate went from 9 to 18 minutes, when a measurement counted as much as any other."""
    shares = [i / 20 for i in range(1, 20)]
    errors = replayed(RESULTS / "epyc-2core" / "sinusoid", shares)
    assert max(map(abs, errors.values())) < 0.25


def jobs(**axes) -> list[Job]:
    grid = {"task": "sinusoid", "algorithm": "maml", "measure": ["time"], **axes}
    return [Job(cell, 0) for cell in parse_sweep("one", {"grid": [grid]}, "", 1).cells]


def test_what_has_run_for_longer_than_was_expected_goes_on_a_little_and_never_beyond_its_limit():
    (job,), clock = jobs(), Clock()
    remaining = Remaining([job], Settings(time_limit_s=100), clock)
    guess = remaining.seconds
    remaining.began(job)
    assert remaining.seconds == pytest.approx(guess)
    clock.now = guess / 2
    assert remaining.seconds == pytest.approx(guess / 2)
    clock.now = 50.0
    assert remaining.seconds == pytest.approx(5.0)
    clock.now = 99.0
    assert remaining.seconds == pytest.approx(1.0)
    assert remaining.at_most(99.0) == 1.0


def test_what_failed_teaches_nothing_of_what_is_of_another_kind():
    one, other = jobs(measure=["quality"], algorithm=["maml", "anil"], iterations=20_000, engine="vmap")
    remaining = Remaining([one, other], Settings(), Clock())
    remaining.began(one)
    before = remaining.seconds - remaining.rest(one.cell, 0.0)
    remaining.finished(replace(made(one.cell, 0, "crashed", "a reason"), seconds=3.0))
    assert remaining.seconds == pytest.approx(before)


def test_what_is_expected_beyond_its_limit_counts_as_long_as_the_limit_lets_it():
    one, other = jobs(measure=["quality"], algorithm=["maml", "anil"], iterations=10**7)
    remaining = Remaining([one, other], Settings(time_limit_s=600), Clock())
    assert remaining.seconds == 2 * 600
    remaining.began(one)
    assert remaining.seconds == 2 * 600


def test_repetitions_that_run_at_once_are_told_apart():
    (job,) = jobs()
    three = [replaced(job, round=number) for number in range(3)]
    remaining = Remaining(three, Settings(), Clock())
    for each in three:
        remaining.began(each)
    remaining.finished(made(job.cell, 1))
    assert list(remaining.running) == [three[0].key, three[2].key]
    assert remaining.seconds > 0
    for number in (0, 2):
        remaining.finished(made(job.cell, number))
    assert remaining.running == {} and remaining.seconds == 0


def test_what_is_lost_with_its_node_is_left_again_and_counts_once():
    first, other = jobs(algorithm=["maml", "anil"])
    remaining = Remaining([first, other], Settings(), Clock())
    whole = remaining.seconds
    for _ in range(2):
        remaining.began(first)
        remaining.lost(first)
        assert remaining.running == {} and remaining.seconds == pytest.approx(whole)
    remaining.began(first)
    remaining.finished(first.without("crashed", "lost three times"))
    assert remaining.seconds == pytest.approx(Remaining([other], Settings(), Clock()).seconds)


def test_what_was_disturbed_before_a_run_was_resumed_teaches_nothing_of_one_measurement():
    (job,) = jobs(measure=["time", "quality"])
    remaining = Remaining([job_again(job)], Settings(), Clock())
    remaining.began(job_again(job))
    remaining.finished(replace(made(job.cell), seconds=1e4))  # of both times
    assert remaining.wholes.of([(job.cell.device,)]) == 1.0 and not remaining.again


def test_what_is_timed_again_counts_again_without_what_is_kept():
    (job,) = jobs(measure=["time", "quality"])
    remaining = Remaining([job], Settings(), Clock())
    whole = remaining.seconds
    time = Time(summarise([step_seconds(job.cell)]), 0.0)
    found = replace(made(job.cell, 0, time=time), seconds=whole)  # as expected
    remaining.began(job)
    remaining.put_back(found)
    assert 0 < remaining.seconds < whole
    remaining.began(job_again(job))
    remaining.finished(replace(found, seconds=100 * whole))  # of both times: nothing is learnt of it
    assert remaining.seconds == pytest.approx(0.0)
    assert remaining.wholes.of([(job.cell.device,)]) == pytest.approx(1.0)


def test_the_ratio_of_a_kind_is_drawn_towards_that_of_the_kind_above_it():
    ratio = Ratio()
    assert ratio.of([("a",), ("a", 1)]) == 1.0
    ratio.add([("a",), ("a", 1)], found=6.0, guess=2.0)
    above = (6 + 2) / (2 + 2)
    assert ratio.of([("a",)]) == above
    assert ratio.of([("a",), ("a", 1)]) == (6 + 2 * above) / (2 + 2)
    assert ratio.of([("a",), ("a", 2)]) == above
