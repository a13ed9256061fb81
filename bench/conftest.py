"""pytest-benchmark set-up: the machine fingerprint beside every saved run, pinned threads."""

import os
from typing import Any

import pytest

from metabench.machine.cores import bounded_spinning, default_threads

os.environ.update(bounded_spinning(os.environ))  # torch's threads read it when it is imported

import torch

from metabench.machine.fingerprint import fingerprint
from metabench.record.cell import Cell
from metabench.tasks import omniglot


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["metabench"] = fingerprint(default_threads())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each file of this folder says by `cells()` what it measures: cells by the name that they have in reports."""
    if "cell" in metafunc.fixturenames:
        cells = metafunc.module.cells()
        metafunc.parametrize("cell", list(cells.values()), ids=list(cells))


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
