"""Two revisions measured in turn: the plan, interruption and resuming, and once for real."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from listening import Silent
from metabench import sources
from metabench.errors import UserError
from metabench.record.measurement import Noise
from metabench.sweep import revisions
from metabench.sweep.builtin import find_sweep
from metabench.sweep.revisions import ROUNDS, measure_revisions, turn_pairs
from metabench.sweep.spec import Sweep, load_sweep, parse_sweep
from places import ROOT
from repositories import commit, git, start
from runs import made

GRID = {"task": "sinusoid", "engine": "vmap", "inner_steps": 1, "iterations": 3}


def sweep(*algorithms: str) -> Sweep:
    grid = {**GRID, "algorithm": list(algorithms)}
    quality = {**GRID, "algorithm": "maml", "seed": 1, "measure": "quality"}
    return parse_sweep("tiny", {"grid": [grid, quality]}, "text\n", 1)


def test_every_cell_is_timed_in_every_round_on_both_sides_in_turn():
    planned = turn_pairs(sweep("maml", "anil"), 6)
    cells = [(a.job, b.job) for a, b in planned if not a.job.noise]
    assert all({a.side, b.side} == {0, 1} for a, b in planned if not a.job.noise)
    assert all(a == b for a, b in cells)
    counts = Counter((a.cell.algorithm, a.cell.seed) for a, _ in cells)
    assert counts == {("maml", 0): 6, ("anil", 0): 6, ("maml", 1): 1}
    assert [a.round for a, _ in cells] == sorted(a.round for a, _ in cells)
    assert {a.cell.measure for a, _ in cells if a.round} == {("time",)}
    assert {a.cell.measure for a, _ in cells if not a.round} == {("time", "memory", "quality"), ("quality",)}
    references = [pair for pair in planned if pair[0].job.noise]
    assert [[turn.job.noise for turn in pair] for pair in references] == [
        [Noise(pair, "a"), Noise(pair, "b")] for pair in range(2)
    ]
    assert {turn.side for pair in references for turn in pair} == {0}
    assert turn_pairs(sweep("maml", "anil"), 6) == planned


def test_the_smoke_sweep_by_default():
    smoke = load_sweep(find_sweep("smoke"), {}, 1)
    assert 2 * len(turn_pairs(smoke, ROUNDS)) == 384  # as the quickstart says


def test_who_goes_first_is_drawn():
    planned = [first for first, _ in turn_pairs(sweep("maml", "anil"), 40) if not first.job.noise]
    assert min(Counter(first.side for first in planned).values()) > 25
    orders = Counter(first.job.cell.algorithm for first in planned[3::2])  # of the two of a round
    assert min(orders.values()) > 10


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = start(tmp_path / "repository")
    for number in range(2):
        commit(folder, {"file": str(number)})
    return folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def test_an_interrupted_comparison_goes_on_and_leaves_nothing_checked_out(repository, tmp_path, monkeypatch):
    seen: list[tuple[str, str, int]] = []
    stop_after, stop = 5, Event()

    def observed(job, settings, data_dir, code):
        cell, number = job.cell, job.round
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        if len(seen) == 7:
            stop.set()
        seen.append(((code / "file").read_text(), cell.id, number))
        return made(cell, number, "ok", "")

    monkeypatch.setattr(revisions, "observed", observed)
    small = sweep("maml", "anil")

    def measure(resume: bool) -> tuple[Path, Path]:
        return measure_revisions(
            ("HEAD~1", "HEAD"), small, 4, tmp_path / "out", resume=resume, data_dir=None, progress=Silent(),
            repository=repository, stop=stop,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        measure(resume=False)
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    stop_after = 10**6
    with pytest.raises(KeyboardInterrupt):
        measure(resume=True)
    assert len(seen) == 8  # what was running when it was asked to stop is there
    stop.clear()
    with pytest.raises(UserError, match="add --resume"):
        measure(resume=False)
    base, new = measure(resume=True)
    keys = [(row["id"], row["round"], str(row.get("reference"))) for row in rows(base)]
    assert len(keys) == len(set(keys)) == 9 + 4  # and two pairs of the reference
    assert len(rows(new)) == 9
    # each side by its own code
    assert Counter(text for text, *_ in seen) == {"0": 13, "1": 9}
    pairings = set()
    for path, revision in ((base, "HEAD~1"), (new, "HEAD")):
        environment = json.loads((path / "environment.json").read_text())
        assert environment["machine"]["metabench"] == {
            "commit": git(repository, "rev-parse", revision).strip(),
            "dirty": False,
        }
        *commits, token = environment["pairing"].split()
        assert commits == git(repository, "rev-list", "--reverse", "HEAD").split()
        pairings.add(token)
        assert (path / "sweep.toml").read_text().endswith("text\n")
    assert len(pairings) == 1
    # Another comparison of the same commits is no pair of this one, and going on with it does not make it one.
    again = measure_revisions(
        ("HEAD~1", "HEAD"), small, 4, tmp_path / "again", resume=False, data_dir=None, progress=Silent(),
        repository=repository,
    )  # fmt: skip
    assert {json.loads((path / "environment.json").read_text())["pairing"].split()[-1] for path in again} - pairings


def test_what_fails_on_one_side_is_measured_once_more_on_the_other_and_then_no_more(repository, tmp_path, monkeypatch):
    def observed(job, settings, data_dir, code):
        cell, number = job.cell, job.round
        broken = (code / "file").read_text() == "1" and cell.algorithm == "anil"
        status, reason = ("crashed", "cannot read the job") if broken else ("ok", "")
        return made(cell, number, status, reason)

    monkeypatch.setattr(revisions, "observed", observed)
    (repository / "file").write_text("changed")
    progress = Silent()
    base, new = measure_revisions(
        ("HEAD~1", "HEAD"), sweep("maml", "anil"), 5, tmp_path / "out", resume=False, data_dir=None, progress=progress,
        repository=repository,
    )  # fmt: skip
    for path, status in ((base, "ok"), (new, "crashed")):
        assert [row["status"] for row in rows(path) if row["cell"]["algorithm"] == "anil"] == [status]
    timed = [row for row in rows(new) if (row["cell"]["algorithm"], row["cell"]["seed"]) == ("maml", 0)]
    assert [row["round"] for row in timed] == list(range(5))
    assert any("what is committed is measured" in sentence for sentence in progress.warnings)


def test_each_side_has_the_files_of_its_own_revision(tmp_path, monkeypatch):
    repository = start(tmp_path / "repository")
    for number in range(2):
        commit(repository, {"file": str(number)})
    seen: list[str] = []

    def observed(job, settings, data_dir, code):
        file = sources.folder() / "file"
        assert file.is_relative_to(code)
        seen.append(file.read_text())
        return made(job.cell, job.round, sources={"file": str(sources.digest_of(file))})

    monkeypatch.setattr(revisions, "observed", observed)
    sources.use(repository)
    out = tmp_path / "out"

    def measure(resume: bool) -> tuple[Path, Path]:
        return measure_revisions(
            ("HEAD~1", "HEAD"), sweep("maml"), 1, out, resume=resume, data_dir=None, progress=Silent(),
            repository=repository,
        )  # fmt: skip

    base, new = measure(resume=False)
    assert sorted(seen) == ["0"] * 4 + ["1"] * 2  # and a pair of the noise configuration
    assert [(folder / "sources" / "file").read_text() for folder in (base, new)] == ["0", "1"]
    assert sources.folder() == repository
    monkeypatch.setattr(revisions, "observed", None)
    measure(resume=True)
    text = (base / "measurements.jsonl").read_text()
    (base / "measurements.jsonl").write_text(text.replace(str(sources.digest_of(base / "sources" / "file")), "0" * 64))
    with pytest.raises(UserError, match="the file 'file' has changed since rows of"):
        measure(resume=True)


def test_two_revisions_of_this_tree_for_real(tmp_path):
    """The new one cannot measure: a finding, and nothing that a threshold can vouch for.

    Each worker is of its own revision's code.
    """
    repository = start(tmp_path / "repository")
    shutil.copytree(ROOT / "metabench", repository / "metabench", ignore=shutil.ignore_patterns("__pycache__"))
    sweep_file = '[run]\ntime_budget_s = 0.05\n[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\nmeasure = "time"\n'
    commit(repository, {"tiny.toml": sweep_file})
    measuring = (repository / "metabench" / "sweep" / "measuring.py").read_text(encoding="utf-8")
    broken = measuring.replace('record({"phase": "timing"})', 'raise ValueError("of this revision")')
    assert broken != measuring
    commit(repository, {"metabench/sweep/measuring.py": broken})
    command = [sys.executable, "-P", "-m", "metabench", "compare", "--rev", "main~1", "--rev", "main"]
    command += ["--sweep", "tiny.toml", "--rounds", "1", "--out", "out", "--fail-above", "5%", "--markdown"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "1 repetition of 1 configuration can call no difference of time; from 7 repetitions on" in " ".join(
        done.stderr.split()
    )
    (base,) = (repository / "out").glob("base-*")
    (new,) = (repository / "out").glob("new-*")
    assert [row["status"] for row in rows(base)] == ["ok"]
    assert [(row["status"], row["reason"]) for row in rows(new)] == [("crashed", "ValueError: of this revision")]
    assert "the base has its time, and the new run: crashed: ValueError: of this revision" in done.stderr
    assert "the threshold cannot vouch for 1 configuration of the base" in done.stderr
    assert "Statuses that differ" in done.stdout
    assert len(git(repository, "worktree", "list").splitlines()) == 1
