import os

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.errors import UserError
from metabench.registry import Registry


def test_finds_every_file_of_its_package():
    assert {"maml", "fomaml", "reptile", "anil"} <= set(ALGORITHMS.names())
    assert ALGORITHMS.origin("maml") == "metabench"


def test_an_unknown_name_gets_the_nearest_valid_one():
    with pytest.raises(UserError, match=r"unknown algorithm 'mamml': did you mean 'maml'\?"):
        ALGORITHMS.get("mamml")


def test_a_name_like_no_other_gets_all_valid_ones():
    with pytest.raises(UserError, match=r"choose one of .*anil.*maml.*reptile"):
        ALGORITHMS.get("xyzzy")


def test_two_things_cannot_have_one_name():
    registry: Registry[object] = Registry("thing", "metabench.engines")
    registry.register("a")(object())
    with pytest.raises(UserError, match="two things are called 'a'"):
        registry.register("a")(object())


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
