"""Splits of Omniglot: by character, by alphabet as published, with or without validation characters."""

import hashlib

import numpy as np
import pytest
import torch

from metabench.correctness.case import TaskCase
from metabench.correctness.contract import check_tasks
from metabench.record.quality import Quality
from metabench.sweep.cell_tasks import held_out_tasks, training_tasks
from metabench.sweep.scoring import measure_quality
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, initial_meta
from metabench.tasks import omniglot
from metabench.tasks.base import SPLITS, EpisodeShape, splits_of
from metabench.tasks.characters import RULES, split_by
from metabench.tasks.images import ImageTasks
from metabench.tasks.packed import pack
from metabench.tasks.published import published

CHARACTERS = {
    "Alphabet_of_the_Magi": 20, "Angelic": 20, "Anglo-Saxon_Futhorc": 29, "Arcadian": 26, "Armenian": 41,
    "Asomtavruli_(Georgian)": 40, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26,
    "Balinese": 24, "Bengali": 46, "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14, "Braille": 26,
    "Burmese_(Myanmar)": 34, "Cyrillic": 33, "Early_Aramaic": 22, "Futurama": 26, "Ge_ez": 26, "Glagolitic": 45,
    "Grantha": 43, "Greek": 24, "Gujarati": 48, "Gurmukhi": 45, "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16, "Japanese_(hiragana)": 52, "Japanese_(katakana)": 47,
    "Kannada": 41, "Keble": 26, "Korean": 40, "Latin": 26, "Malay_(Jawi_-_Arabic)": 40, "Malayalam": 47, "Manipuri": 40,
    "Mkhedruli_(Georgian)": 41, "Mongolian": 30, "N_Ko": 33, "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46, "Sanskrit": 42, "Sylheti": 28, "Syriac_(Estrangelo)": 23,
    "Syriac_(Serto)": 23, "Tagalog": 17, "Tengwar": 25, "Tibetan": 42, "Tifinagh": 55, "ULOG": 26,
}  # fmt: skip
"""How many characters each alphabet of Omniglot has."""
NAMES = [(alphabet, f"character{1 + i:02}") for alphabet, count in CHARACTERS.items() for i in range(count)]


@pytest.fixture(scope="module")
def images():
    """The characters of Omniglot by their names, each with drawings of noise of its own."""
    noise = np.random.default_rng(0).integers(0, 256, (len(NAMES), 20, 28, 28), dtype=np.uint8)
    return pack("omniglot", "test", noise, *map(list, zip(*NAMES, strict=True)), "source")


def digest(places):
    """Of the sorted names of characters, as the authors' files have them."""
    return hashlib.sha256("\n".join(sorted("/".join(NAMES[i]) for i in places)).encode()).hexdigest()[:16]


def test_the_split_by_alphabet_is_that_of_the_authors_files(images):
    """Digests of the names in train.txt, val.txt and test.txt, each without its four rotations."""
    classes, details = split_by("vinyals", images)
    assert [len(classes[split]) for split in SPLITS] == [1028, 172, 423]
    assert [digest(classes[split]) for split in SPLITS] == ["c350ea5778649d32", "d3f56052fbd17195", "bbbdc01c73fd2d34"]
    assert details["split_hash"] == published("omniglot").content_hash
    assert "Vinyals et al. 2016" in details["split_by"]


def test_one_test_alphabet_alone_is_seen_in_training(images):
    classes, _ = split_by("vinyals", images)
    of_split = {split: {NAMES[i][0] for i in places} for split, places in classes.items()}
    assert {split: len(found) for split, found in of_split.items()} == {"train": 33, "validation": 5, "test": 13}
    assert of_split["train"] & of_split["test"] == {"Gurmukhi"}
    assert not of_split["validation"] & (of_split["train"] | of_split["test"])
    by_character, _ = split_by("classes", images)
    assert {NAMES[i][0] for i in by_character["test"]} == {NAMES[i][0] for i in by_character["train"]}


@pytest.mark.parametrize(("rule", "trained_on"), [("classes", "1200"), ("vinyals", "1200")])
def test_validation_characters_may_be_trained_on(images, rule, trained_on):
    before, _ = split_by(rule, images)
    after, details = split_by(f"{rule}-trainval", images)
    assert after["train"].tolist() == sorted([*before["train"].tolist(), *before["validation"].tolist()])
    assert torch.equal(after["test"], before["test"])
    assert len(after["validation"]) == 0
    assert "validation characters are trained on" in details["split_by"]
    assert ImageTasks(images, EpisodeShape(5, 1, 1), split=f"{rule}-trainval").provenance.details["split"] == (
        f"train {trained_on}, validation 0, test 423"
    )


@pytest.mark.parametrize("rule", RULES)
def test_tasks_keep_the_contract_whatever_the_split(images, rule):
    case = TaskCase(
        lambda: ImageTasks(images, EpisodeShape(5, 1, 1), split=rule), EpisodeShape(5, 1, 1), "classification"
    )
    assert ("validation" in splits_of(case.distribution)) == (not rule.endswith("trainval"))
    assert [one for one in check_tasks(case) if one.word == "incorrect"] == []


def test_test_tasks_may_be_made_of_any_characters(images):
    """Those of training among them, in the share that they have of all."""
    shape, rule = EpisodeShape(5, 1, 1), "classes-trainval"
    new, any_of = (ImageTasks(images, shape, split=rule, eval_classes=which) for which in ("new", "any"))
    assert any_of.classes["test"].tolist() == list(range(len(NAMES)))
    assert all(torch.equal(any_of.classes[split], new.classes[split]) for split in ("train", "validation"))
    assert any_of.provenance.details["split"] == "train 1200, validation 0, test 1623"
    assert "those of training among them" in any_of.provenance.details["test_classes"]
    drawn = any_of.sample("test", 2000, torch.Generator().manual_seed(0)).classes // 4
    seen = torch.isin(drawn, new.classes["train"]).double().mean()
    assert float(seen) == pytest.approx(1200 / 1623, abs=0.02)
    train = [one.sample("train", 5, torch.Generator().manual_seed(0)).classes for one in (new, any_of)]
    assert torch.equal(*train)


def quality_of(**axes: object) -> Quality:
    """What a training of two iterations comes to, with the checks that go before it."""
    grid = {"algorithm": "maml", "task": "omniglot", "model": "conv2-8", "iterations": 2, "eval_tasks": 4, **axes}
    (cell,) = parse_sweep("test", {"grid": [grid]}, "", 1).cells
    workload, held_out = Workload(cell, training_tasks(cell, None)), held_out_tasks(cell, None)
    workload.check(held_out)
    found = measure_quality(workload, initial_meta(cell, workload.algorithm), held_out, 2)
    assert found is not None
    return found


def test_without_validation_characters_there_is_no_curve(images, monkeypatch):
    monkeypatch.setattr(omniglot, "find", lambda data_dir: images)
    assert [point.iteration for point in quality_of(split="vinyals").curve] == [0, 1, 2]
    without = quality_of(split="vinyals-trainval")
    assert without.curve == []
    assert without.tasks == 4


def test_the_tasks_of_training_are_never_of_any_characters(images, monkeypatch):
    monkeypatch.setattr(omniglot, "find", lambda data_dir: images)
    grid = {"algorithm": "maml", "task": "omniglot", "eval_classes": "any"}
    (cell,) = parse_sweep("test", {"grid": [grid]}, "", 1).cells
    assert [len(tasks(cell, None).classes["test"]) for tasks in (training_tasks, held_out_tasks)] == [423, 1623]


def test_training_and_held_out_tasks_are_turned_as_each_is_asked_for(images, monkeypatch):
    monkeypatch.setattr(omniglot, "find", lambda data_dir: images)
    grid = {"algorithm": "maml", "task": "omniglot", "rotation": "classes", "eval_rotation": "none"}
    (cell,) = parse_sweep("test", {"grid": [grid]}, "", 1).cells
    said = [tasks(cell, None).provenance.details["augmentation"] for tasks in (training_tasks, held_out_tasks)]
    assert said[0].endswith("a class of its own") and said[1] == "none"
