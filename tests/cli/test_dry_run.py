"""What a sweep says of itself before it runs."""

import re
from dataclasses import replace

import pytest
import torch

from metabench.cli import dry_run
from metabench.cli.dry_run import MOST_LINES, dry_run_json, dry_run_text, lacking_here
from metabench.engines.base import Engine
from metabench.extras import INSTALL
from metabench.sweep import remaining
from metabench.sweep.builtin import builtin_sweeps
from metabench.sweep.runner import plan
from metabench.sweep.spec import Settings, load_sweep, parse_sweep

SWEEPS = {path.stem: path for path in builtin_sweeps()}


def sweep(**axes):
    grid = {"task": "sinusoid", "algorithm": ["maml", "fomaml"], "measure": ["time", "memory"], **axes}
    return parse_sweep("one", {"title": "Two algorithms", "grid": [grid]}, "", 1)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_is_told_in_few_lines_that_fit(name, width):
    lines = dry_run_text(load_sweep(SWEEPS[name], {}, 2), width, full=False).splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= width
    assert re.search(r"[:?] \d+ configurations?, \d+ measurements?, about ", " ".join(lines[:2]))


def test_a_sweep_of_many_groups_names_how_many_are_left_out():
    many = sweep(model=[f"mlp-{width}x{depth}" for width in (40, 160, 640) for depth in (2,)], shots=list(range(1, 21)))
    lines = dry_run_text(many, 80, full=False).splitlines()
    assert len(lines) <= MOST_LINES
    (more,) = [line for line in lines if line.startswith("… and ")]
    shown = sum(line.startswith("sinusoid ") for line in lines)
    assert more == f"… and {60 - shown} more groups of configurations"


def test_the_work_of_a_dry_run_grows_neither_with_repetitions_nor_with_groups_times_jobs(monkeypatch):
    looks, guesses = [], []
    group, expected = dry_run._group, remaining.expected
    monkeypatch.setattr(dry_run, "_group", lambda cell: looks.append(cell) or group(cell))
    monkeypatch.setattr(remaining, "expected", lambda *given: guesses.append(given) or expected(*given))
    found = replace(sweep(shots=list(range(1, 11))), settings=Settings(rounds=20, noise_pairs=0))
    dry_run_text(found, 80, full=False)
    assert len(found.cells) == 20 and len(plan(found)) == 400
    assert len(looks) == 20 + 400
    assert len(guesses) == 2 * (20 + 20)  # of the whole and of each group, with all measures and with the time alone


def test_it_says_what_is_measured_how_long_it_takes_and_what_was_filled_in():
    text = dry_run_text(sweep(inner_steps=[1, 5], engine="vmap"), 100, full=False)
    assert text.startswith("Two algorithms: 4 configurations, 8 measurements, about ")
    assert "maml, fomaml on vmap; inner steps 1, 5; meta-batch 25; measured: time, memory" in text
    assert re.search(r"sinusoid 10 points, mlp-40x2: 4 configurations, about \d+ s, peak memory about [\d.]+ MiB", text)
    assert "Filled in for all algorithms, from maml's preset: " in text
    assert text.endswith("Every configuration: add --full. Nothing was measured.")


def test_a_training_of_minutes_is_announced():
    text = " ".join(dry_run_text(sweep(measure=["quality"], iterations=[100, 70_000]), 100, full=False).split())
    long = re.search(r"Longest measurement: about (\d+) min, maml/loop .*, 70000 iterations of training; each", text)
    assert long is not None and int(long[1]) >= 5
    assert "each is ended after 10 min (time_limit_s)" in text


def test_memory_that_cannot_be_known_is_not_made_up():
    assert "peak memory not known" in dry_run_text(sweep(engine="compile"), 100, full=False)
    assert dry_run_json(sweep(engine="compile"))["expected_peak_bytes"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_all_configurations_are_listed_on_demand(width):
    steps = [1, 2, 3, 4, 5]
    lines = dry_run_text(sweep(inner_steps=steps), width, full=True).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.startswith(("maml ", "fomaml "))]
    assert sorted((row[0], int(row[2])) for row in rows) == sorted((n, k) for n in ("maml", "fomaml") for k in steps)
    assert any(line.startswith("The same in all configurations: ") for line in lines)


def test_programs_get_the_guesses_as_numbers():
    found = dry_run_json(sweep())
    assert found["expected_seconds"] > 0
    assert found["expected_peak_bytes"] > 0
    assert len(found["rows"]) == 2


def test_it_says_what_this_machine_lacks(monkeypatch):
    monkeypatch.setattr(Engine, "version", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = sweep(engine=["loop", "torchopt", "higher"], device="cpu")
    assert lacking_here(found) == [
        f"torchopt is not installed: 2 configurations cannot be measured. To install it: {INSTALL['torchopt']}.",
        f"higher is not installed: 2 configurations cannot be measured. To install it: {INSTALL['higher']}.",
    ]
    on_gpu = lacking_here(sweep(device="cuda"))
    assert on_gpu == ["There is no CUDA device here: 2 configurations cannot be measured."]
    assert on_gpu[0] in dry_run_text(sweep(device="cuda"), 100, full=False, lacking=on_gpu)
    assert dry_run_json(sweep(device="cuda"), on_gpu)["lacking"] == on_gpu


def test_nothing_is_said_of_what_is_there(monkeypatch):
    monkeypatch.setattr(Engine, "version", "1.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lacking_here(sweep(engine=["loop", "torchopt"], device="cuda")) == []
