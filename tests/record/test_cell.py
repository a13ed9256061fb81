import pytest
from msgspec.structs import replace

from metabench.record.cell import Cell


@pytest.fixture
def cell() -> Cell:
    return Cell(
        algorithm="maml", engine="loop", task="omniglot", model="conv4-64", inner_steps=1, meta_batch=4, ways=5,
        shots=1, query=5, train_ways=5, train_shots=1, inner_optimizer="sgd", first_order=0.0, checkpoint=False,
        precision="float32", device="cpu", seed=0, preset="quick", inner_lr=0.4, eval_steps=3,
        eval_query=1, batch_norm="transductive", outer="adam", outer_lr=1e-3, outer_decay="none", outer_warmup=0,
        outer_clip=0.0, iterations=10, eval_tasks=600, threads=2, world_size=1, measure=("time",),
    )  # fmt: skip


PURPOSES = ("init", "train", "validation", "test")


def seeds(cell: Cell) -> list[int]:
    return [cell.seed_for(purpose) for purpose in PURPOSES]


def test_algorithms_and_engines_share_weights_and_tasks(cell):
    other = replace(cell, algorithm="reptile", engine="vmap", inner_steps=5, meta_batch=9, inner_lr=1.0, iterations=99)
    assert seeds(other) == seeds(cell)
    assert len(set(seeds(cell))) == 4


def test_a_seed_changes_weights_and_training_but_not_what_is_judged_on(cell):
    init, train, validation, test = zip(seeds(cell), seeds(replace(cell, seed=1)), strict=True)
    assert init[0] != init[1] and train[0] != train[1]
    assert validation[0] == validation[1] and test[0] == test[1]


def test_training_queries_do_not_change_what_is_judged_on(cell):
    assert replace(cell, query=9).seed_for("test") == cell.seed_for("test")
    assert replace(cell, eval_query=9).seed_for("test") != cell.seed_for("test")


def test_query_sets_that_are_not_balanced_are_chosen_from_the_same_tasks(cell):
    several = replace(cell, ways=5, eval_query=3)
    independent, single = (replace(several, eval_queries=kind) for kind in ("independent", "single"))
    balanced = replace(several, eval_query=15)
    assert independent.seed_for("test") == single.seed_for("test") == balanced.seed_for("test")
    assert independent.eval_query_drawn == single.eval_query_drawn == balanced.eval_query_drawn == 15
    assert independent.seed_for("train") == several.seed_for("train")
    assert len({several.id, independent.id, single.id}) == 3 and "eval_queries" not in several.to_json()


def test_training_may_be_on_other_ways_and_shots_than_what_is_judged_on(cell):
    other = replace(cell, train_ways=20, train_shots=5)
    assert other.seed_for("test") == cell.seed_for("test") and other.seed_for("init") == cell.seed_for("init")
    assert other.seed_for("train") != cell.seed_for("train")


def test_a_cell_of_one_process_is_what_it_was_before_there_could_be_several(cell):
    assert "world_size" not in cell.to_json() and Cell.from_json(cell.to_json()) == cell
    several = replace(cell, world_size=2)
    assert several.to_json()["world_size"] == 2 and Cell.from_json(several.to_json()) == several
    assert several.id != cell.id == "bfb355f865a9c597"
    assert seeds(several) == seeds(cell)


def test_a_cell_tested_on_whole_support_sets_is_what_it_was_before_there_could_be_minibatches(cell):
    assert "eval_batch" not in cell.to_json() and cell.id == "bfb355f865a9c597"
    portioned = replace(cell, eval_batch=5)
    assert Cell.from_json(portioned.to_json()) == portioned and portioned.id != cell.id
    assert seeds(portioned) == seeds(cell)


def test_seeds_are_the_same_everywhere(cell):
    """A fixed value: a change here changes every published figure."""
    assert cell.seed_for("init") == 66657718027416292


def test_identity_does_not_depend_on_what_is_measured(cell):
    assert replace(cell, measure=("quality",)).id == cell.id
    assert replace(cell, inner_lr=0.5).id != cell.id
    assert len(cell.id) == 16


def test_json_and_back(cell):
    assert Cell.from_json(cell.to_json()) == cell


def test_measures_are_united_in_order(cell):
    assert cell.with_measures_of(replace(cell, measure=("quality", "time"))).measure == ("time", "quality")


def test_a_cell_on_no_data_of_a_users_own_is_what_it_was_before_there_could_be_any(cell):
    axes = {"path", "split", "image_size"}
    assert axes.isdisjoint(cell.to_json()) and cell.id == "bfb355f865a9c597" and cell.problem == "omniglot"
    assert replace(cell, path="", split="classes", image_size=0).seed_for("train") == cell.seed_for("train")


@pytest.mark.parametrize("change", [{"path": "birds"}, {"split": "groups"}, {"image_size": 84}])
def test_other_data_are_another_cell_with_seeds_and_a_setting_of_its_own(cell, change):
    other = replace(cell, **change)
    assert Cell.from_json(other.to_json()) == other and other.id != cell.id
    assert all(mine != its for mine, its in zip(seeds(other), seeds(cell), strict=True))
    assert other.setting != cell.setting and other.data == change
