import os
import subprocess
import sys

import pytest

from metabench import registry
from metabench.algorithms.base import ALGORITHMS
from metabench.errors import UserError, nearest
from metabench.registry import Registry


def test_finds_every_file_of_its_package():
    assert {"maml", "fomaml", "reptile", "anil"} <= set(ALGORITHMS.names())
    assert ALGORITHMS.origin("maml") == "metabench"


def test_what_a_gpu_is_called_elsewhere_is_known():
    for name in ("gpu", "GPU"):
        assert nearest(name, ["cpu", "cuda"]) == "did you mean 'cuda'?"
    assert nearest("cpi", ["cpu", "cuda"]) == "did you mean 'cpu'?"


def test_an_unknown_name_gets_the_nearest_valid_one():
    with pytest.raises(UserError, match=r"unknown algorithm 'mamml': did you mean 'maml'\?"):
        ALGORITHMS.get("mamml")


def test_a_name_like_no_other_gets_all_valid_ones():
    with pytest.raises(UserError, match=r"choose one of .*anil.*maml.*reptile"):
        ALGORITHMS.get("xyzzy")


def test_two_things_cannot_have_one_name():
    things: Registry[object] = Registry("thing", "metabench.engines")
    things.register("a")(object())
    with pytest.raises(UserError, match="two things are called 'a'"):
        things.register("a")(object())


DECORATING = """
from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.maml import MAML
from metabench.engines import loop
from metabench.engines.base import ENGINES, Engine

ENGINES.register("decorated")(Engine("is decorated", loop.build))


@ALGORITHMS.register("decorated")
class Decorated(MAML):
    source = "a test"
"""


def test_what_a_module_from_outside_the_tree_registers_is_listed_under_its_distribution(metabench, tmp_path):
    (tmp_path / "decorating.py").write_text(DECORATING)
    info = tmp_path / "decorating_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: decorating-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[metabench.algorithms]\nany = decorating\n[metabench.engines]\nany = decorating\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for kind, own in (("algorithms", "maml"), ("engines", "loop")):
        lines = metabench("list", kind, PYTHONPATH=path).stdout.splitlines()
        origins = {line.split()[0]: line.split()[-1] for line in lines if line}
        assert (origins["decorated"], origins[own]) == ("decorating-plugin", "metabench")


def test_what_no_distribution_holds_comes_from_its_package():
    registry: Registry[object] = Registry("thing", "metabench.engines")
    registry._loaded = True
    registry.register("a")(object())
    assert registry.origin("a") == __name__.partition(".")[0]


class Point:
    """An entry point whose import raises."""

    name, dist = "mine", None

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def load(self):
        raise self.error


class Panic(BaseException):
    """What an extension in Rust raises."""


@pytest.mark.parametrize("error", [SystemExit(1), Panic("in its start"), ImportError("a library is missing")])
def test_a_plug_in_that_ends_the_interpreter_has_failed_to_load(monkeypatch, error):
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(error)])
    things: Registry[object] = Registry("thing", "metabench.models")
    assert "mine" not in things
    assert things.broken["mine"].endswith(f"{type(error).__name__}: {error}")
    with pytest.raises(UserError, match="thing 'mine' comes from a package that failed to load: "):
        things.get("mine")


def test_ctrl_c_while_a_plug_in_loads_still_ends_the_command(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        Registry("thing", "metabench.models").names()


def test_a_plug_in_that_calls_sys_exit_leaves_the_other_names_and_is_named(metabench, tmp_path):
    (tmp_path / "mine.py").write_text("import sys\n\nsys.exit(1)\n")
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[metabench.algorithms]\nmine = mine:Mine\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = metabench("list", "algorithms", PYTHONPATH=path)
    assert done.returncode == 0 and "reptile" in done.stdout
    assert "algorithm 'mine' could not be loaded: it ended the interpreter: SystemExit: 1" in done.stderr


def test_the_order_of_names_does_not_depend_on_which_module_was_imported_first():
    say = "print(*[name for name, _ in base.ENGINES])"
    orders = [
        subprocess.run(
            [sys.executable, "-c", f"import {first}; from metabench.engines import base; {say}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for first in ("metabench.engines.base", "metabench.engines.native")
    ]
    assert orders[0] == orders[1] and "native" in orders[0]
