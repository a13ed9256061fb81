"""A stand-in takes the place of a data set that is not at hand, under its own name, or is refused."""

import pytest
import torch

from metabench.errors import UserError
from metabench.sweep.spec import parse_sweep
from metabench.sweep.stand_in import with_data
from metabench.tasks.base import TASKS, TaskSource
from metabench.tasks.download import DataMissing
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.image_set import image_set


def images(shape, data_dir):
    """Six classes of four images of 4x4 pixels in colour."""
    pixels = torch.zeros(24, 3, 4, 4, dtype=torch.uint8).numpy()
    names = [f"class {number}" for number in range(6)]
    made = image_set("small", "made here", pixels, [number // 4 for number in range(24)], names, "hash")
    return ImageSetTasks(made, {"train": tuple(names[:2]), "validation": (), "test": tuple(names[2:4])}, shape)


def missing(shape, data_dir, path="", image_size=0):
    raise DataMissing("no such data")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    TASKS.names()
    for name in ("birds", "fish"):
        source = TaskSource("classification", missing, ("path", "image_size"), (3, 84, 84))
        monkeypatch.setitem(TASKS._entries, name, source)
    monkeypatch.setitem(TASKS._entries, "small", TaskSource("classification", images, input_shape=(3, 4, 4)))


def sweep(stand_in, **grid):
    grid = {"algorithm": "maml", "ways": 2, "query": 1, "eval_query": 1, **grid}
    return parse_sweep("test", {"run": {"stand_in": stand_in}, "grid": [grid]}, "", 2)


def test_a_stand_in_is_named_and_has_no_path():
    made, used, warnings = with_data(sweep("small", task=["birds", "fish"], path="here", image_size=32), None)
    (cell,) = made.cells  # two data sets that are not at hand become the same configuration
    assert (cell.task, cell.path, cell.image_size, used) == ("small", "", 0, "small")
    assert warnings[0] == "birds is not at hand, so small stand in for it: no such data"


def test_without_a_stand_in_it_is_an_error():
    with pytest.raises(DataMissing, match="no such data"):
        with_data(sweep("", task="birds"), None)


@pytest.mark.parametrize("stand_in", ["glyphs", "sinusoid"])
def test_a_stand_in_of_another_kind_or_without_colour_is_refused(stand_in):
    with pytest.raises(UserError, match=f"birds is not at hand, and {stand_in} cannot stand in for it: emblems stand"):
        with_data(sweep(stand_in, task="birds"), None)
