"""These tests need a GPU: `pytest -m cuda`. Without one they are skipped, and say so."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cuda)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no GPU: torch.cuda is not available on this machine"))


@pytest.fixture(scope="session")
def gpu():
    return torch.device("cuda")
