"""What a user has who installs the wheel: everything that the checkout has, and nothing of the checkout is needed."""

import re
import shutil
import tomllib
import zipfile

import pytest

from metabench.extras import INSTALL
from metabench.sweep.builtin import builtin_sweeps
from places import EPYC, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_wheel_holds_the_package_and_nothing_else(installed):
    with zipfile.ZipFile(installed.wheel) as wheel:
        held = {name for name in wheel.namelist() if not name.startswith("metabench-")}
    files = [file for file in (ROOT / "metabench").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert held == {file.relative_to(ROOT).as_posix() for file in files}
    assert "metabench/py.typed" in held, "type checkers take our types from it"


def said(installed, place, line):
    done = installed.run(line, place)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_of_the_checkout_is_seen(installed, tmp_path):
    code = "import metabench, sys; print(metabench.__file__, *sys.path, sep='\\n')"
    own, *places = said(installed, tmp_path, f'python -c "{code}"').splitlines()
    assert own.startswith(str(installed.folder))
    assert str(ROOT) not in places


def test_a_report_the_claims_and_a_forecast_of_a_run(installed, tmp_path):
    """With the templates, scripts, claims and hardware that come with the package."""
    shutil.copytree(EPYC / "gpu-work", tmp_path / "run")
    said(installed, tmp_path, "metabench report run")
    assert "<script>" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "not measured" in said(installed, tmp_path, "metabench claims run")
    assert "h100" in said(installed, tmp_path, "metabench forecast run --hardware h100 --devices 1").lower()


def test_the_built_in_sweeps_and_the_machine(installed, tmp_path):
    assert "Every day" in said(installed, tmp_path, "metabench --help")
    listed = said(installed, tmp_path, "metabench list sweeps")
    assert {file.stem for file in builtin_sweeps()} <= set(listed.split())
    assert "maml/vmap" in said(installed, tmp_path, "metabench run first --dry-run --full")
    # There is no checkout, so there is no commit to tell of: the version alone is known.
    machine = said(installed, tmp_path, "metabench env")
    assert re.search(r'"metabench": \{\s+"version": "[\d.]+"\s+\}', machine)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", INSTALL)
def test_what_is_optional_is_installed_as_the_extra_of_that_name_says(library):
    """The versions in messages are those of pyproject.toml, which `make peers` and `make clusters` install."""
    extra = "bench" if library == "pytest-benchmark" else library
    for requirement in PROJECT["optional-dependencies"][extra]:
        assert requirement in INSTALL[library]


def test_no_message_names_an_extra_that_there_is_not():
    """`metabench[NAME]` is for pyproject.toml alone: nothing of that name is known to be in a registry."""
    for file in (ROOT / "metabench").rglob("*.py"):
        assert not re.search(r"metabench\[\w", file.read_text(encoding="utf-8")), file
