"""What a search does: its trials, its folder, how it is stopped and goes on. Most trainings are stand-ins."""

import json
import tomllib
from hashlib import sha256
from threading import Event
from types import SimpleNamespace

import pytest

from metabench import sources
from metabench.errors import Unsupported, UserError
from metabench.record.cell import AXES
from metabench.record.environment import Machine
from metabench.record.searching import ASKED, CONFIRM, SUMMARY, TRIALS, read_search
from metabench.search import running
from metabench.search.running import Told, run_search
from metabench.search.settings import again, settings_for
from metabench.sweep.folder import BROKEN
from metabench.sweep.process import Ended
from metabench.sweep.spec import load_sweep
from metabench.tasks.base import TASKS, Provenance, TaskSource

AXES_GIVEN = {"task": "sinusoid", "model": "mlp-40x2", "inner_steps": [1, 2], "query": 5, "iterations": 3}


def asked(trials=6, **rest):
    return settings_for("maml", AXES_GIVEN, None, {}, trials=trials, validation_tasks=4, curve_points=2, **rest)


class StandIn:
    """A search whose trials are no processes: an error is the distance of the inner rate from 0.05."""

    def __init__(self, folder, monkeypatch, settings=None):
        self.folder, self.settings, self.jobs, self.said = folder, settings or asked(), [], []
        self.then = lambda number: None
        """What else happens in a trial."""
        self.result = {}
        """What trials find beside, or instead."""
        self.ended = None
        """What is left of every process, in place of what a trial finds."""
        monkeypatch.setattr(running, "run_job", self.run_job)
        monkeypatch.setattr(running, "fingerprint", lambda threads: Machine())
        monkeypatch.setattr(running, "short_name", lambda machine: "a machine")
        monkeypatch.setattr(running, "warnings_for", lambda threads, on_gpu: [])

    def run_job(self, job, *_, **__):
        self.jobs.append(job)
        self.then(len(job["past"]))
        error = abs(job["parameters"]["inner_lr"] - 0.05) + 0.01
        curve = [{"iteration": n, "seconds": float(n), "value": error} for n in (0, 1, 3)]
        score = {"value": error, "low": error / 2, "high": 2 * error, "n": 4}
        scores = {"unit": 1.0, "numbers": [error] * 4}
        found = {"status": "ok", "reason": "", "score": score, "task_scores": scores, "curve": curve, "train_s": 3.0}
        return self.ended or Ended(0, "", found | self.result)

    def go(self, resume=False, stop=None, settings=None):
        told = Told(self.said.append, self.said.append)
        return run_search(settings or self.settings, self.folder, resume=resume, data_dir=None, shown=told, stop=stop)

    @property
    def lines(self):
        return (self.folder / TRIALS).read_text().splitlines()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    return StandIn(tmp_path / "search", monkeypatch)


def parameters(search):
    return [trial.parameters for trial in search.trials]


class Rules:
    """Tasks of noise; of the ways to split their classes, one leaves none for validation, and one cannot be taken."""

    kind, input_shape, outputs, training_classes = "regression", (1,), 1, 0

    def __init__(self, shape, data_dir, split="joined"):
        if split == "impossible":
            raise Unsupported("no such classes")
        self.classes = {"train": ["a"], "validation": [] if split == "joined" else ["b"], "test": ["c"]}


def test_a_search_needs_validation_classes(stand_in, monkeypatch):
    source = TaskSource("regression", Rules, axes=("split",), splits=("joined", "apart", "impossible", "*.csv"))
    monkeypatch.setitem(TASKS._entries, "sinusoid", source)
    said = "^a search is judged on validation classes, and these tasks of sinusoid have none: choose the split apart$"
    settings = settings_for("maml", AXES_GIVEN | {"split": "joined"}, None, {}, trials=2)
    with pytest.raises(UserError, match=said):
        stand_in.go(settings=settings)
    assert not stand_in.jobs and not stand_in.folder.exists()


def test_trials_are_kept_and_read_again(stand_in):
    found = stand_in.go()
    read = read_search(stand_in.folder)
    assert read.trials == found.trials and read.asked == stand_in.settings.asked and read.warnings == ()
    assert [trial.number for trial in read.trials] == list(range(6))
    assert {trial.state for trial in read.trials} == {"complete"}
    assert len(stand_in.said) == 6 and stand_in.said[0].startswith("[1/6] ")


def test_the_first_trial_is_the_preset_moved_into_the_space_and_no_two_are_alike(stand_in):
    tried = parameters(stand_in.go())
    assert tried[0] == {
        "inner_lr": 0.01,
        "inner_steps": 1,
        "meta_batch": 25,
        "outer_lr": 0.001,
        "outer_decay": "linear",
    }
    first = asked(first={"meta_batch": 7, "outer_decay": "cosine"}).first
    assert (first["meta_batch"], first["outer_decay"], first["inner_lr"]) == (7, "cosine", 0.01)
    assert len({json.dumps(one, sort_keys=True) for one in tried}) == 6


def test_what_is_tried_lies_in_the_space_and_the_rest_is_fixed(stand_in):
    for trial in stand_in.go().trials:
        tried, cell = trial.parameters, trial.cell
        assert all(cell[axis] == value for axis, value in tried.items())
        assert 0.003 <= tried["inner_lr"] <= 0.3 and tried["inner_steps"] in (1, 2) and 4 <= tried["meta_batch"] <= 64
        assert (cell.query, cell.iterations, cell.threads, cell.seed) == (5, 3, 1, 1000)
        assert cell.eval_steps == cell.inner_steps + 9  # as the preset, which trains with one and tests with ten


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(stand_in, tmp_path, monkeypatch):
    stop = Event()
    stand_in.then = lambda number: stop.set() if number == 2 else None
    with pytest.raises(KeyboardInterrupt):
        stand_in.go(stop=stop)
    assert len(stand_in.lines) == 3, "the trial that ran has ended"
    stopped = stand_in.lines
    found = stand_in.go(resume=True)
    assert stand_in.lines[:3] == stopped
    whole = StandIn(tmp_path / "whole", monkeypatch)
    assert parameters(whole.go()) == parameters(found)


def test_a_kill_loses_the_trial_that_ran_and_no_other(stand_in):
    def kill(number):
        if number == 4:
            raise KeyboardInterrupt

    stand_in.then = kill
    with pytest.raises(KeyboardInterrupt):
        stand_in.go()
    assert len(stand_in.lines) == 4 and (stand_in.folder / SUMMARY).exists()
    with (stand_in.folder / TRIALS).open("a") as trials:
        trials.write('{"number": 4, "sta')  # what a kill in the middle of a write leaves
    stand_in.then = lambda number: None
    found = stand_in.go(resume=True)
    assert [trial.number for trial in found.trials] == list(range(6))
    assert read_search(stand_in.folder).trials == found.trials
    assert "sta" in (stand_in.folder / BROKEN).read_text()
    assert any("Line 5 of trials.jsonl is left out: it is unfinished" in sentence for sentence in stand_in.said)


def test_a_search_may_go_on_for_longer_but_is_never_another(stand_in):
    stand_in.go()
    with pytest.raises(UserError, match="holds a search already: add --resume"):
        stand_in.go()
    with pytest.raises(UserError, match="holds another search"):
        stand_in.go(resume=True, settings=asked(seed=1))
    assert len(stand_in.go(resume=True, settings=asked(trials=8)).trials) == 8
    assert tomllib.loads((stand_in.folder / ASKED).read_text())["trials"] == 8


def test_a_search_of_another_machine_is_not_gone_on_with(stand_in, monkeypatch):
    stand_in.go()
    monkeypatch.setattr(running, "short_name", lambda machine: "another machine")
    with pytest.raises(UserError, match="was begun on another machine"):
        stand_in.go(resume=True, settings=asked(trials=8))


def data_of(pixels):
    return {"name": "sinusoid", "content_hash": "s" * 64, "pixel_hash": pixels * 64}


def own_tasks(monkeypatch, pixels):
    """Let the process of the search find such data."""
    found = SimpleNamespace(provenance=Provenance("sinusoid", "s" * 64, {"pixel_hash": pixels * 64}))
    monkeypatch.setattr(running, "training_tasks", lambda cell, data_dir: found)


def test_trials_of_other_data_fail_and_their_scores_count_for_nothing(stand_in, monkeypatch):
    """The data change while the third trial is made."""
    own_tasks(monkeypatch, "a")
    stand_in.then = lambda number: stand_in.result.update(data=data_of("b" if number == 2 else "a"))
    found = stand_in.go()
    states = [trial.state for trial in found.trials]
    assert states == ["complete", "complete", "failed", "complete", "complete", "complete"]
    bad = read_search(stand_in.folder).trials[2]
    assert (bad.score, bad.task_scores, bad.by_step, bad.curve) == (None, None, [], [])
    assert bad.reason.startswith("incorrect: the data of sinusoid changed during the search (hash bbbbbbbbbbbb, where ")
    assert bad.number not in [trial.number for trial in found.ranked]
    assert stand_in.jobs[3]["past"][2]["state"] == "failed" and stand_in.jobs[3]["past"][2]["curve"] == []


def test_a_search_goes_on_with_the_same_data_alone(stand_in, monkeypatch):
    own_tasks(monkeypatch, "a")
    stand_in.result = {"data": data_of("a")}
    stand_in.go()
    own_tasks(monkeypatch, "b")
    said = (
        r"^the data of sinusoid changed during the search \(hash bbbbbbbbbbbb, where earlier rows have aaaaaaaaaaaa\)"
    )
    with pytest.raises(UserError, match=said):
        stand_in.go(resume=True, settings=asked(trials=8))
    own_tasks(monkeypatch, "a")
    assert len(stand_in.go(resume=True, settings=asked(trials=8)).trials) == 8


def test_a_search_goes_on_with_the_same_files_of_the_users_own_alone(stand_in, tmp_path, monkeypatch):
    own, digests = tmp_path / "own", {}
    own.mkdir()
    monkeypatch.setattr(sources, "folder", lambda: own)

    def write(text):
        (own / "mine.py").write_text(text)
        digests["mine.py"] = sha256(text.encode()).hexdigest()

    def then(number):
        if number == 4:
            write("two")
        stand_in.result = {"sources": dict(digests)}

    write("one")
    stand_in.then = then
    found = stand_in.go()
    assert [trial.state for trial in found.trials] == ["complete"] * 4 + ["failed"] * 2
    assert found.trials[4].reason.startswith("incorrect: the file 'mine.py' changed during the search (SHA-256 ")
    assert (stand_in.folder / "sources" / "mine.py").read_text() == "one"
    with pytest.raises(UserError, match="the file 'mine.py' has changed since rows of '.*', or start a new search"):
        stand_in.go(resume=True, settings=asked(trials=8))
    write("one")
    assert [trial.state for trial in stand_in.go(resume=True, settings=asked(trials=7)).trials][-1] == "complete"


def test_a_search_of_trials_without_data_and_files_goes_on(stand_in):
    """Trials of an older version say neither."""
    stand_in.go()
    assert {(trial.data, len(trial.sources)) for trial in read_search(stand_in.folder).trials} == {(None, 0)}
    assert {trial.state for trial in stand_in.go(resume=True, settings=asked(trials=7)).trials} == {"complete"}


def test_search_toml_says_all_that_it_takes_to_repeat_it(stand_in, tmp_path, monkeypatch):
    found = stand_in.go()
    repeated = StandIn(tmp_path / "again", monkeypatch, again(stand_in.folder / ASKED))
    assert repeated.settings.asked == stand_in.settings.asked
    assert parameters(repeated.go()) == parameters(found)
    assert again(stand_in.folder / ASKED, trials=2, seed=None).asked.trials == 2


def test_no_trial_begins_after_the_minutes(stand_in):
    stand_in.settings = asked(minutes=1e-9)
    found = stand_in.go()
    assert len(found.trials) == 1, "one is always made"


def test_whatever_ends_a_process_is_a_trial_and_the_sampler_stays_away_from_it(stand_in):
    curve = [{"iteration": 0, "seconds": 0.0, "value": 1.0}]
    stand_in.ended = Ended(-9, "", {"phase": "training", "curve": curve})
    found = stand_in.go()
    assert {trial.state for trial in found.trials} == {"failed"} and found.ranked == []
    assert found.trials[0].reason.startswith("oom: killed in phase 'training'")
    assert found.trials[0].curve[0].value == 1.0
    assert not (stand_in.folder / CONFIRM).exists()
    assert [one["state"] for one in stand_in.jobs[-1]["past"]] == ["failed"] * 5


def test_what_is_no_figure_fails_a_trial_and_not_the_search(stand_in):
    stand_in.result = {"score": {"value": 1.0, "low": 2.0, "high": 3.0}}
    found = stand_in.go()
    assert {trial.state for trial in found.trials} == {"failed"}
    assert "what it found is no trial" in found.trials[0].reason


def test_the_best_trial_is_confirmed_with_other_seeds_and_nothing_else_changed(stand_in):
    best = stand_in.go().ranked[0]
    assert best.score.value == min(trial.score.value for trial in read_search(stand_in.folder).trials)
    cells = load_sweep(stand_in.folder / CONFIRM, {}, 1).cells
    assert [cell.seed for cell in cells] == [0, 1, 2] and {cell.eval_tasks for cell in cells} == {600}
    others = [axis for axis in AXES if axis not in ("seed", "eval_tasks")]
    assert all([cell[axis] for axis in others] == [best.cell[axis] for axis in others] for cell in cells)


def test_trials_are_processes_that_train_on_their_own(tmp_path):
    """The whole way, with a training of three iterations."""
    settings = asked(trials=2, engine="loop")
    said = []
    found = run_search(settings, tmp_path / "s", resume=False, data_dir=None, shown=Told(said.append, said.append))
    assert [trial.reason for trial in found.trials] == ["", ""]
    for trial in read_search(tmp_path / "s").trials:
        assert trial.state == "complete" and trial.score.n == 4 and len(trial.task_scores.numbers) == 4
        assert [point.iteration for point in trial.curve] == [0, 2, 3]
        assert len(trial.by_step) == trial.cell.eval_steps + 1
        assert trial.iteration_s > 0 and trial.train_s > 0 and trial.seconds > trial.ready_s + trial.train_s
        assert trial.gate.engine_error < 1e-8 and trial.gate.timed_error is not None
        assert trial.data.name == "sinusoid" and trial.cell.engine == "loop"
