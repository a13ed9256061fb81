from msgspec.structs import replace

from metabench.record.cell import Cell
from metabench.sweep.jobs import is_larger

CELL = Cell(algorithm="maml", task="omniglot", train_ways=5, train_shots=1)


def test_larger_cells_of_the_same_line():
    parameters = {"conv4-64": 100, "conv4-128": 400}

    def larger(**changes):
        return is_larger(replace(CELL, **changes), CELL, parameters.__getitem__)

    assert larger(meta_batch=8)
    assert larger(inner_steps=5, model="conv4-128")
    assert larger(seed=3)
    assert not larger(meta_batch=2, inner_steps=5)
    assert not larger(engine="vmap", meta_batch=8)
    assert not is_larger(CELL, replace(CELL, model="conv4-128"), parameters.__getitem__)


def test_a_cell_on_other_images_is_no_larger_one():
    folder = replace(CELL, task="images", path="birds")
    assert is_larger(replace(folder, meta_batch=8), folder, len)
    assert not is_larger(replace(folder, meta_batch=8, path="fish"), folder, len)
    assert not is_larger(replace(folder, meta_batch=8, image_size=84), folder, len)
