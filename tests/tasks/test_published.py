"""Published splits: the lists that come with metabench, and the folders that they refuse."""

import hashlib
import itertools
import pickle

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR100

from metabench.correctness.verification import comply_tasks
from metabench.errors import UserError
from metabench.files import DATA
from metabench.tasks import cifar100, download, local_sets
from metabench.tasks import published as lists
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.download import DataMissing
from metabench.tasks.published import published
from places import ROOT

SIZES = {
    "miniimagenet": (64, 16, 20),
    "tieredimagenet": (351, 97, 160),
    "cub": (100, 50, 50),
    "cifar-fs": (64, 16, 20),
    "fc100": (60, 20, 20),
    "omniglot": (33, 5, 16),  # alphabets, and four characters apart from theirs
}
SHAPE = EpisodeShape(2, 1, 1)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Neither data nor cache of this machine."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METABENCH_DATA", raising=False)


def test_every_list_belongs_to_a_task():
    assert {file.stem for file in (DATA / "splits").glob("*.toml")} == set(SIZES)
    assert set(SIZES) <= set(TASKS.names())


@pytest.mark.parametrize("name", SIZES)
def test_splits_have_the_published_sizes_and_share_no_class(name):
    split = published(name)
    parts = list(split.splits.values())
    assert tuple(len(part) for part in parts) == tuple(len(set(part)) for part in parts) == SIZES[name]
    assert not any(set(one) & set(other) for one, other in itertools.combinations(parts, 2))
    assert split.source.rpartition(", ")[2].startswith("https://")
    assert TASKS.get(name).input_shape[1:] == (split.side, split.side)


def test_the_splits_are_those_of_the_papers():
    """By digests of lists that two sources agreed on; and what is known of each by its rule."""
    hashes = {name: published(name).content_hash[:16] for name in SIZES}
    assert hashes == HASHES
    numbers = {split: sorted(int(name[:3]) % 4 for name in names) for split, names in published("cub").splits.items()}
    assert numbers == {"train": [1] * 50 + [3] * 50, "validation": [2] * 50, "test": [0] * 50}
    assert published("cifar-fs").classes == published("fc100").classes
    assert {"apple", "worm", "lawn_mower"} < published("fc100").classes


HASHES = {
    "miniimagenet": "680bb7f49df2c7b9",
    "tieredimagenet": "8a11973b446ab9d7",
    "cub": "85af6f9e0ede6e54",
    "cifar-fs": "394dc1fe31bcf607",
    "fc100": "b0d4bc964a752ea9",
    "omniglot": "783a82bf8e2389c0",
}


def tiny(monkeypatch, name="miniimagenet", **changes):
    """A data set of six classes with two images each, in place of the published one."""
    classes = [f"n0000000{number}" for number in range(6)]
    parts = {"train": classes[:2], "validation": classes[2:4], "test": classes[4:]}
    split = msgspec.structs.replace(
        published(name), **{part: tuple(names) for part, names in parts.items()}, images=12, files=(), **changes
    )
    monkeypatch.setattr(local_sets, "published", {name: split}.__getitem__)
    return classes


def write(folder, classes, each=2, form="{place}/{image}"):
    """Images of 20x10 pixels, with names such as n000000010000001.jpg, each with a colour of its own."""
    for number, name in enumerate(classes):
        for image in range(each):
            file = folder / form.format(place=name, image=f"{name}{image:08}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((10, 20, 3), (40 * number, 100 * image, 200), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
    return folder


def sampled(tasks, split="train"):
    return tasks.sample(split, 3, torch.Generator().manual_seed(0))


def test_a_folder_is_read_however_it_is_arranged(tmp_path, monkeypatch):
    classes = tiny(monkeypatch)
    plain = write(tmp_path / "plain", classes)
    below = write(tmp_path / "below" / "mini-imagenet" / "images", classes)
    write(tmp_path / "flat" / "images", classes, form="{image}")
    parts = tmp_path / "parts"
    for number, part in enumerate(("val", "train", "test")):
        write(parts / part, classes[2 * number : 2 * number + 2])
    (tmp_path / "flat" / "train.csv").write_text("filename,label\n")
    build = TASKS.get("miniimagenet").build
    found = [build(SHAPE, None, str(plain)), build(SHAPE, below.parents[1]), build(SHAPE, tmp_path / "flat")]
    found.append(build(SHAPE, None, str(parts)))
    assert {tasks.provenance.name for tasks in found} == {"miniImageNet"}
    assert {tasks.input_shape for tasks in found} == {(3, 84, 84)}
    for tasks in found:
        assert tasks.provenance.details["split"] == "train 2, validation 2, test 2"
        if tasks is not found[-1]:  # its files are others: the colours go by the order in which they were written
            assert torch.equal(sampled(tasks).support.x, sampled(found[0]).support.x)
    assert build(SHAPE, None, str(plain), image_size=12).input_shape == (3, 12, 12)


def test_the_provenance_names_the_split_and_no_path(tmp_path, monkeypatch):
    classes = tiny(monkeypatch)
    provenance = TASKS.get("miniimagenet").build(SHAPE, None, str(write(tmp_path / "mini", classes))).provenance
    assert provenance.details["split_by"].startswith("the published split: Ravi and Larochelle 2017")
    assert len(provenance.details["split_hash"]) == len(provenance.details["pixel_hash"]) == 64
    assert str(tmp_path) not in str(provenance)


def refused(tmp_path, classes, **options):
    with pytest.raises(UserError) as caught:
        TASKS.get("miniimagenet").build(SHAPE, None, str(write(tmp_path / "mini", classes, **options)))
    return str(caught.value)


def test_other_classes_are_refused_by_name(tmp_path, monkeypatch):
    classes = tiny(monkeypatch)
    said = refused(tmp_path, [*classes[:-2], "n12345678"])
    assert "does not hold miniImageNet: it lacks 2 of the 6 classes (n00000004, n00000005)" in said
    assert "and it has 1 that are none of them (n12345678)" in said
    assert said.endswith('task = "images" takes it under its own name')


def test_another_number_of_images_is_refused(tmp_path, monkeypatch):
    assert "it has 18 images, not 12;" in refused(tmp_path, tiny(monkeypatch), each=3)


def test_other_file_names_are_refused_where_a_list_names_them(tmp_path, monkeypatch):
    classes = tiny(monkeypatch)
    names = "\n".join(sorted(f"{name}{image:08}" for name in classes for image in range(2)))
    split = local_sets.published("miniimagenet")
    listed = msgspec.structs.replace(split, files=("0" * 64, hashlib.sha256(names.encode()).hexdigest()))
    monkeypatch.setattr(local_sets, "published", lambda name: listed)
    write(tmp_path / "mini", classes)
    assert TASKS.get("miniimagenet").build(SHAPE, None, str(tmp_path / "mini")).training_classes == 2
    image = next((tmp_path / "mini").rglob("*.png"))
    image.rename(image.with_name("another.png"))
    with pytest.raises(UserError, match="do not have the names of the published list"):
        TASKS.get("miniimagenet").build(SHAPE, None, str(tmp_path / "mini"))


def test_a_folder_without_the_data_is_named(tmp_path, monkeypatch):
    build = TASKS.get("miniimagenet").build
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match="no miniImageNet: metabench does not download it"):
        build(SHAPE, None)
    with pytest.raises(DataMissing, match="holds no miniImageNet"):  # the folder of all data: a stand-in may be used
        build(SHAPE, tmp_path / "empty")
    with pytest.raises(UserError, match="holds no miniImageNet") as caught:
        build(SHAPE, None, str(tmp_path / "empty"))
    assert not isinstance(caught.value, DataMissing)
    with pytest.raises(UserError, match="there is no folder"):
        build(SHAPE, None, str(tmp_path / "nowhere"))


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder with CIFAR-100 of two training images and a test image of each class, as torchvision leaves it."""
    names = sorted(published("cifar-fs").classes)
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    generator, sums = np.random.default_rng(0), {}
    for part, each in (("train", 2), ("test", 1)):
        labels = list(range(100)) * each
        data = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        content = {"data": data, "fine_labels": labels, "coarse_labels": labels, "filenames": labels}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": []}))
    for part in ("train", "test", "meta"):
        sums[part] = hashlib.md5((folder / part).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    return folder


@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_cifar_100_is_split_as_published(cifar, name):
    tasks = TASKS.get(name).build(SHAPE, cifar.parent)
    split = published(name)
    assert tasks.input_shape == (3, 32, 32)
    for part, classes in tasks.classes.items():
        assert {tasks.images.classes[place] for place in classes.tolist()} == set(split.splits[part])
    assert tasks.images.counts.tolist() == [3] * 100
    assert tasks.provenance.name == split.title
    raw = pickle.loads((cifar / "test").read_bytes())
    whale = tasks.images.classes.index("whale")
    own = tasks.images.images[tasks.images.labels == whale]
    assert torch.equal(own[-1], torch.from_numpy(raw["data"][whale].reshape(3, 32, 32)))


def test_cifar_100_is_found_by_path_by_folder_and_in_the_cache(cifar, monkeypatch):
    build = TASKS.get("cifar-fs").build
    first = sampled(build(SHAPE, None, str(cifar)))
    monkeypatch.setenv("METABENCH_DATA", str(cifar.parents[1]))
    assert torch.equal(sampled(build(SHAPE, None)).support.x, first.support.x)
    monkeypatch.delenv("METABENCH_DATA")
    monkeypatch.setattr(cifar100, "_fetch", lambda: pytest.fail("it is in the cache"))
    assert torch.equal(sampled(build(SHAPE, None)).support.x, first.support.x)


def test_two_splits_of_the_same_images_keep_their_names(cifar):
    names = [TASKS.get(name).build(SHAPE, cifar.parent).provenance.name for name in ("cifar-fs", "fc100", "cifar-fs")]
    assert names == ["CIFAR-FS", "FC100", "CIFAR-FS"]


def test_what_is_not_cifar_100_is_refused(cifar, tmp_path):
    build = TASKS.get("cifar-fs").build
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="does not hold CIFAR-100"):
        build(SHAPE, None, str(tmp_path / "empty"))
    with (cifar / "test").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(UserError, match="a file is missing or has another MD5"):
        build(SHAPE, None, str(cifar))


def test_without_a_connection_it_says_what_to_give(monkeypatch):
    monkeypatch.setattr(download, "_PROBE", "raise SystemExit(1)")
    with pytest.raises(DataMissing, match=r"no CIFAR-100 \(there is no connection to download it\): give path"):
        TASKS.get("cifar-fs").build(SHAPE, None)


def test_a_download_is_read_and_kept(cifar, monkeypatch):
    monkeypatch.setattr(download, "_PROBE", "")
    copied = f"shutil.copytree({str(cifar)!r}, sys.argv[1] + '/cifar-100-python')"
    monkeypatch.setattr(cifar100, "_DOWNLOAD", f"import shutil, sys; {copied}")
    monkeypatch.setattr(download, "CONNECT_SECONDS", 120.0)
    tasks = TASKS.get("cifar-fs").build(SHAPE, None)
    assert tasks.provenance.details["origin"] == "torchvision's download"
    assert [file.suffix for file in sorted((cifar.parents[1] / "cache").iterdir())] == [".lock", ".npz"]


def test_named_sets_keep_the_contract(cifar, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(cifar.parent))
    (found,) = comply_tasks(["cifar-fs"])
    assert found.word == "ok", [finding for finding in found.findings if finding.word == "incorrect"]


def test_a_split_without_its_field_is_refused(tmp_path, monkeypatch):
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "mine.toml").write_text('titel = "Mine"\n')
    monkeypatch.setattr(lists, "DATA", tmp_path)
    with pytest.raises(UserError, match="titel"):
        published("mine")


def test_the_page_has_every_named_set_with_its_sizes_and_its_hash():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name, sizes in (SIZES | {"omniglot": (1100, 100, 423)}).items():  # by character, where nothing is asked for
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` | ") and line.count("|") == 6]
        assert " / ".join(map(str, sizes)) in row and published(name).source.partition(",")[0] in row
        assert f"| `{name}` | `{published(name).content_hash[:16]}` |" in page
