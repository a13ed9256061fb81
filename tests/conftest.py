"""What several tests share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

# Parallel tests on few cores: threads of several processes waiting for each other cost 30 times the work.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plugin() -> Path:
    """A folder with an installed package outside the tree; put it on PYTHONPATH.

    It is laid out as pip would install it, so that no test has to build and install a package.
    """
    return HERE / "plugin"


@pytest.fixture
def room() -> Callable[[int], AbstractContextManager[None]]:
    """No file may grow beyond so many bytes meanwhile: a write that reaches them is short, and the next one fails.

    What a full disk does, by a limit that the system itself enforces.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def in_plugin(plugin: Path) -> dict[str, str]:
    """The variables of a process that has the plug-in installed."""
    path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "300"}


@pytest.fixture
def metabench(tmp_path: Path, in_plugin: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in an empty folder, with the plug-in installed."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "metabench", *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**in_plugin, **environment}, capture_output=True, text=True)

    return run
