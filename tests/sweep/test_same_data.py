"""A file that is exchanged for another under the hash of its source."""

from types import UnionType
from typing import get_type_hints

from msgspec.structs import replace

from metabench.record.cell import Cell
from metabench.record.measurement import PARTS, Measurement
from metabench.sweep.same_data import SameData, without_figures
from runs import made


def drawn(pixels="a" * 64, source="s" * 64, **axes):
    others = {"pixel_hash": pixels} if pixels else {}
    cell = Cell.from_json({"task": "omniglot", "algorithm": "maml", "engine": "vmap", "model": "conv4-64"} | axes)
    return made(cell, data={"name": "omniglot", "content_hash": source, **others})


def test_rows_on_the_same_pixels_stay_as_they_are():
    same = SameData([drawn()])
    assert same.checked(drawn(engine="loop")) == drawn(engine="loop")


def test_other_pixels_under_the_same_source_hash_are_refused():
    same = SameData([drawn()])
    found = same.checked(drawn(pixels="b" * 64, engine="loop"))
    assert found.status == "incorrect"
    assert "changed during the run (hash bbbbbbbbbbbb, where earlier rows have aaaaaaaaaaaa)" in found.reason
    assert found.time is None and found.quality is None


def test_what_must_not_be_used_keeps_no_figure():
    """Every part of a measurement is one, but for what says what was measured."""
    about = {"data", "implementation", "gate", "noise"}
    optional = {name for name, hint in get_type_hints(Measurement).items() if isinstance(hint, UnionType)}
    assert set(PARTS) == optional - about - {"seconds", "parameters"}
    whole = replace(made(drawn().cell), **dict.fromkeys(PARTS, "a figure"))
    kept = without_figures(whole, "a reason")
    assert (kept.status, kept.reason) == ("incorrect", "a reason")
    assert [getattr(kept, part) for part in PARTS] == [None] * len(PARTS)


def test_a_definition_without_pixels_has_its_own_hash():
    same = SameData([drawn(pixels="", source="1" * 64)])
    assert same.checked(drawn(pixels="", source="1" * 64)).status == "ok"
    assert same.checked(drawn(pixels="", source="2" * 64)).status == "incorrect"


def test_other_tasks_have_other_data():
    same = SameData([drawn()])
    other = drawn(pixels="", task="sinusoid")
    assert same.checked(other).status == "ok"
