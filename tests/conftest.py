"""What several tests share."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

# Torch reads these when it is imported. Tests run beside each other: one thread each is fastest, unless more are asked
# for. Threads that spin while they wait take cores from others: on a busy machine tests would take 30 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from installed import Installed, install, once

HERE = Path(__file__).parent
UNTIL = "TESTS_UNTIL"
"""Variable with the second since 1970 after which no test begins."""

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # by itself torch takes no more than there are cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the time is bounded, what looks at the whole tree comes first."""
    if UNTIL in os.environ:
        items.sort(key=lambda item: item.path.parent != HERE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Skip what would begin too late, with its reason."""
    if time.time() > float(os.environ.get(UNTIL, "inf")):
        pytest.skip("the time for tests is used up")


@pytest.fixture(autouse=True)
def no_folder_of_another_test() -> Iterator[None]:
    """Names by path are looked for in the current folder again, whatever sweep a test has loaded."""
    yield
    os.environ.pop("METABENCH_SOURCES", None)


@pytest.fixture(scope="session")
def plugin() -> Path:
    """A folder with an installed package outside the tree; put it on PYTHONPATH.

    It is laid out as pip would install it, so that no test has to build and install a package.
    """
    return HERE / "plugin"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout, in an environment that does not see the checkout; made once for all processes."""
    base = tmp_path_factory.getbasetemp()
    return once((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed", install)


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
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}


@pytest.fixture
def metabench(tmp_path: Path, in_plugin: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in an empty folder, with the plug-in installed."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "metabench", *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**in_plugin, **environment}, capture_output=True, text=True)

    return run
