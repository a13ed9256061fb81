"""The wheel of this checkout in an environment of its own, which sees our dependencies and not the checkout."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from places import ROOT

LIMIT_S = 600
PYTEST = '#!/bin/sh\nexec "$(dirname "$0")/python" -m pytest "$@"\n'


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and no other metabench."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def wheel(self) -> Path:
        (found,) = self.folder.glob("*.whl")
        return found

    def run(self, line: str, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a line of a shell in a folder, as a reader would who has activated the environment.

        On one thread of the processor. Nothing of this pytest is handed on: pytest-benchmark would measure nothing.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        own = {"PATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "160", **variables}
        command = ["bash", "-euo", "pipefail", "-c", line]
        return subprocess.run(command, cwd=place, env=kept | own, capture_output=True, text=True, timeout=LIMIT_S)


def install(folder: Path) -> Installed:
    """Build the wheel, and install it in a new environment in that folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    here = Installed(folder)
    _call([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    _call([*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)])
    quiet = ["--quiet", "--no-deps", "--no-index", "--no-compile"]
    # Before it sees our dependencies: the metabench among them would count as installed.
    _call([*pip, "--python", str(here.python), "install", *quiet, str(here.wheel)])
    (site,) = folder.glob("lib/python*/site-packages")
    # A folder that is named in a .pth file is searched, but its own .pth files, such as ours, are not read.
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(places)) + "\n")
    script = folder / "bin" / "pytest"
    script.write_text(PYTEST)
    script.chmod(0o755)
    return here


def once(folder: Path, make: Callable[[Path], Installed]) -> Installed:
    """What `make` makes in a folder that several test processes share: the first of them makes it."""
    from filelock import FileLock

    done = folder / "done"
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return Installed(folder)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
