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
