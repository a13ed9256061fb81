"""pytest-benchmark set-up: the machine fingerprint beside every saved run, pinned threads."""

from typing import Any

import pytest
import torch

from metabench.measure.machine import fingerprint, physical_cores
from metabench.sweep.cell import Cell
from metabench.sweep.spec import parse_sweep
from metabench.tasks import omniglot


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["metabench"] = fingerprint(physical_cores())


def cells() -> list[Cell]:
    """One cell for each implementation and task, small enough that the whole suite takes a minute or two.

    Engines that compile or need a library are left to `metabench run engines`.
    """
    from metabench.algorithms.base import ALGORITHMS
    from metabench.engines.base import in_process

    common = {"algorithm": ALGORITHMS.names(), "engine": in_process(), "inner_steps": 1, "iterations": 0}
    document = {
        "grid": [
            {**common, "task": "sinusoid", "meta_batch": 25},
            {**common, "task": ["omniglot", "glyphs"], "model": "conv4-32", "meta_batch": 4, "query": 5},
        ]
    }
    return list(parse_sweep("bench", document, "", physical_cores()).cells)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", cells(), ids=lambda cell: f"{cell.implementation}-{cell.task}")


@pytest.fixture(autouse=True)
def pinned_threads(cell: Cell) -> None:
    torch.set_num_threads(cell.threads)


@pytest.fixture(scope="session")
def omniglot_at_hand() -> bool:
    return omniglot.available(None)


@pytest.fixture(autouse=True)
def data_at_hand(cell: Cell, omniglot_at_hand: bool) -> None:
    if cell.task == "omniglot" and not omniglot_at_hand:
        pytest.skip("Omniglot is not at hand: set METABENCH_DATA, or run `metabench data prepare`")
