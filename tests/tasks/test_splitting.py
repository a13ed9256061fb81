"""Which classes are for training, validation and testing."""

import json
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.tasks.base import TASKS, EpisodeShape, check_split
from metabench.tasks.listing import Listing
from metabench.tasks.splitting import SPLITS, by_hash, split_by


def listing(classes, groups=()):
    names = tuple(classes)
    return Listing("birds", Path("birds"), names, tuple(groups) or ("",) * len(names), (), ())


NAMES = [f"class{i:02}" for i in range(20)]
GROUPED = listing([f"group{i % 10}/c{i}" for i in range(20)], [f"group{i % 10}" for i in range(20)])


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (15, (10, 2, 3)), (25, (16, 4, 5)), (100, (64, 16, 20))],
)
def test_classes_are_split_by_shares(count, sizes):
    names = [f"c{i}" for i in range(count)]
    splits = by_hash(names)
    assert tuple(len(splits[split]) for split in SPLITS) == sizes
    assert sorted(name for found in splits.values() for name in found) == sorted(names)


def test_a_split_by_names_is_the_same_everywhere_and_in_any_order():
    splits, how = split_by("classes", listing(NAMES), Path())
    assert splits == by_hash([*reversed(NAMES)])
    assert splits["test"] == ("class01", "class02", "class07", "class17")
    assert how == "by a hash of class names, 64/16/20 %"


def test_whole_groups_go_to_one_split():
    splits, how = split_by("groups", GROUPED, Path())
    groups = [{name.partition("/")[0] for name in splits[split]} for split in SPLITS]
    assert [len(found) for found in groups] == [6, 2, 2] and len(set.union(*groups)) == 10
    assert [len(splits[split]) for split in SPLITS] == [12, 4, 4]
    assert how.endswith("train 6, validation 2, test 2 groups")


def test_folders_say_the_split():
    names = ["train/a", "train/b", "val/c", "test/d"]
    found = listing(names, [name.partition("/")[0] for name in names])
    splits, _ = split_by("folders", found, Path())
    assert splits == {"train": ("train/a", "train/b"), "validation": ("val/c",), "test": ("test/d",)}
    for name, message in (
        ("test/a", "class 'a' of 'birds' is in train and in test: splits share no class"),
        ("other/e", "for the folders train, val and test: 'birds' has train, val, test, other"),
    ):
        more = listing([*names, name], [each.partition("/")[0] for each in (*names, name)])
        with pytest.raises(UserError, match=message):
            split_by("folders", more, Path())


LISTED = {"train": ("class00", "class01"), "validation": ("class02",), "test": ("class03",)}


def test_a_list_names_the_classes_of_each_split(tmp_path):
    (tmp_path / "lists.json").write_text(json.dumps({"train": NAMES[:2], "val": [NAMES[2]], "test": [NAMES[3]]}))
    rows = ["class,split", "class00,train", "class01,train", "class02,valid", "class03,test"]
    (tmp_path / "lists.csv").write_text("\n".join(rows))
    (tmp_path / "train.csv").write_text("filename,label\n1.jpg,class00\n2.jpg,class01\n3.jpg,class01\n")
    (tmp_path / "val.csv").write_text("filename,label\n4.jpg,class02\n")
    (tmp_path / "test.csv").write_text("filename,label\n5.jpg,class03\n")
    hows = set()
    for rule in ("lists.json", "lists.csv", "train.csv"):
        splits, how = split_by(rule, listing(NAMES), tmp_path)
        assert splits == LISTED
        hows.add(how)
    (how,) = hows
    assert how.startswith("by a list of classes, hash ") and how.endswith(", 16 classes in no split")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "'a.json' is not valid JSON"),
        ("a.json", "[1]", "'a.json' must name the classes of each split"),
        ("a.json", '{"train": "class00"}', "must name the classes"),
        ("a.json", '{"trian": ["class00"]}', "unknown split in 'a.json' 'trian': did you mean 'train'"),
        ("a.json", '{"train": ["class001"]}', "class in 'a.json' of folder 'birds' 'class001': did you mean 'class0"),
        ("a.json", '{"train": ["class00"], "test": ["class00"]}', "'class00' in test, and it is in train too"),
        ("a.csv", "name,split\na,train\n", "must have a column class or label"),
        ("a.csv", "label\nclass00\n", "a column split unless it is called train.csv"),
        ("a.csv", 'class,split\n"' + "x" * 140_000, "^'a.csv' is not valid CSV: field larger than field limit"),
        ("a.csv", '"' + "x" * 140_000, "^'a.csv' is not valid CSV: field larger than field limit"),
        ("b.json", None, "there is no list 'b.json'"),
        ("b\0.json", None, r"^cannot read '.*b\\x00.json': embedded null"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        split_by(name, listing(NAMES), tmp_path)


def test_a_rule_is_a_word_or_a_list():
    images = TASKS.get("images")
    for rule in ("classes", "folders", "groups", "mine.JSON", "train.csv"):
        check_split(rule, [images])
    for rule in ("class", "Classes"):
        with pytest.raises(UserError, match=f"unknown split '{rule}': did you mean 'classes'"):
            check_split(rule, [images])
    with pytest.raises(UserError, match="unknown split 'vinyals'"):
        images.on(EpisodeShape(2, 1, 1), None, {"split": "vinyals"})


def test_a_split_is_one_of_those_of_its_task():
    for rule in ("classes", "classes-trainval", "vinyals", "vinyals-trainval"):
        check_split(rule, [TASKS.get("omniglot")])
    with pytest.raises(UserError, match="unknown split 'vinyal': did you mean 'vinyals'"):
        check_split("vinyal", [TASKS.get("images"), TASKS.get("omniglot")])
    with pytest.raises(UserError, match="unknown split 'groups'"):
        TASKS.get("omniglot").on(EpisodeShape(2, 1, 1), None, {"split": "groups"})
