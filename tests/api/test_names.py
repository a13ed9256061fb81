"""The names of the package: cheap to import, known to editors."""

import ast
import subprocess
import sys
from importlib import import_module

import pytest

import metabench
from places import AVX2, ROOT


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has loaded after it ran the code."""
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_package_loads_nothing_of_its_own_until_a_name_is_used():
    ours = {name for name in loaded("import metabench") if name.startswith("metabench")}
    assert ours == {"metabench", "metabench.version"}


def test_a_run_is_loaded_without_torch_and_without_pandas():
    found = loaded(f"import metabench; metabench.load({str(AVX2 / 'default')!r})")
    assert found & {"torch", "pandas", "scipy", "numpy", "IPython"} == set()
    assert "metabench.report.results" in found


@pytest.mark.parametrize("name", metabench.__all__)
def test_every_name_is_there(name):
    assert getattr(metabench, name) is not None
    assert name in dir(metabench)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = metabench.laod


def test_editors_are_told_of_the_same_names_and_places():
    tree = ast.parse((ROOT / "metabench" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert told == metabench._PLACES
    assert {*told, "__version__"} == set(metabench.__all__)
    assert all(hasattr(import_module(str(place)), str(name)) for name, place in told.items())
