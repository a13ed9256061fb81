"""Every preset is a setting that a sweep can run: its key, its model and its numbers."""

import re
from dataclasses import fields

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner, parameter_count
from metabench.algorithms.presets import NO_AXES
from metabench.models.base import MODELS
from metabench.record.cell import AXES, PARTICULAR
from metabench.sweep.spec import parse_sweep
from metabench.tasks.base import TASKS

KEY = re.compile(r"(published|quick)/(sinusoid|omniglot|miniimagenet)(?:-(\d+)way(?:-(\d+)shot)?)?")
USUAL = ("train_ways", "train_shots", "eval_query", "eval_tasks")
"""Where a preset has 0 of them, a sweep takes the usual number."""
PRESETS = [(name, key) for name, algorithm in ALGORITHMS for key in algorithm.presets]


def parsed(key: str) -> tuple[str, str, int, int]:
    match = KEY.fullmatch(key)
    assert match, f"{key} is not PRESET/TASK[-Nway[-Kshot]]"
    preset, task, ways, shots = match.groups()
    classification = task != "sinusoid"
    return preset, task, int(ways or (5 if classification else 1)), int(shots or (1 if classification else 10))


def resolved(name: str, key: str, **axes: object):
    preset, task, ways, shots = parsed(key)
    grid = {"algorithm": name, "task": task, "preset": preset, "ways": ways, "shots": shots, **axes}
    (cell,) = parse_sweep("test", {"grid": [grid]}, "", 2).cells
    return cell


@pytest.mark.parametrize(("name", "key"), PRESETS)
def test_a_sweep_takes_the_preset_as_it_stands(name, key):
    cell, preset = resolved(name, key), ALGORITHMS.get(name).presets[key]
    for field in fields(preset):
        wanted = getattr(preset, field.name)
        if field.name in NO_AXES or (field.name in USUAL and not wanted):
            continue
        assert getattr(cell, field.name) == wanted, field.name
    assert preset.source


@pytest.mark.parametrize(("name", "key"), PRESETS)
def test_the_numbers_of_a_preset_are_valid_axes(name, key):
    algorithm, preset = ALGORITHMS.get(name), ALGORITHMS.get(name).presets[key]
    axes = {f.name: getattr(preset, f.name) for f in fields(preset) if f.name not in NO_AXES}
    for usual in ("eval_query", "eval_tasks"):
        if not axes[usual]:
            del axes[usual]
    for foreign in set(PARTICULAR) & set(axes) - set(TASKS.get(parsed(key)[1]).axes):
        assert axes.pop(foreign) == AXES[foreign].default
    if algorithm.order == "none":
        assert (axes.pop("inner_lr"), axes["inner_steps"], axes["eval_steps"]) == (0.0, 0, 0)
    else:
        assert min(axes["inner_steps"], axes["eval_steps"]) >= 1
    resolved(name, key, **axes)
    assert preset.iterations >= preset.outer_warmup


@pytest.mark.parametrize(("name", "key"), PRESETS)
def test_the_algorithm_can_be_built_as_the_preset_says(name, key):
    algorithm, preset = ALGORITHMS.get(name), ALGORITHMS.get(name).presets[key]
    _, task, ways, _ = parsed(key)
    kind = TASKS.get(task).kind
    assert kind in algorithm.kinds
    ways = preset.train_ways or ways
    assert ways == parsed(key)[2] or algorithm.any_ways
    outputs = ways if kind == "classification" else 1
    learner = Learner(
        MODELS.get(preset.model)(TASKS.get(task).input_shape, outputs), kind, 4400 if kind == "classification" else 0
    )
    built = algorithm(learner, preset.inner_lr, preset.inner_steps, inner_optimizer=preset.inner_optimizer)
    assert parameter_count(built.init(torch.Generator().manual_seed(0))) > 0


def test_the_default_preset_of_a_sweep_serves_every_algorithm_on_a_task_of_its_kind():
    """An algorithm without any preset takes MAML's: tests/sweep/test_filling.py."""
    tasks = {"classification": ("omniglot", "miniimagenet"), "regression": ("sinusoid",)}
    for name, algorithm in ((name, algorithm) for name, algorithm in ALGORITHMS if algorithm.presets):
        for kind in algorithm.kinds:
            for task in tasks[kind]:
                assert f"quick/{task}" in algorithm.presets, f"{name} has no quick preset for {task}"
