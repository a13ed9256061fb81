import dataclasses
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.errors import UserError
from metabench.files import cache_dir
from metabench.tasks import packed as module
from metabench.tasks.packed import cache_file, load, load_or_prepare, pack, save, shrink


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def example(origin="a test"):
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 28, 28), dtype=np.uint8)
    return pack("example", origin, images, ["Ა", "Ა", "b"], ["one", "two", "one"], "0" * 64)


def test_what_was_saved_is_loaded(tmp_path):
    path, before = tmp_path / "example.npz", example()
    save(before, path)
    after = load(path, "example")
    assert torch.equal(after.images, before.images)
    for field in dataclasses.fields(before):
        if field.name != "images":
            assert getattr(after, field.name) == getattr(before, field.name)
    assert [file.name for file in tmp_path.iterdir()] == ["example.npz"]


def test_a_file_is_read_once_in_a_process_until_it_changes(tmp_path):
    path = tmp_path / "example.npz"
    save(example(), path)
    first = load(path, "example")
    assert load(path, "example") is first
    save(example("another origin"), path)
    assert load(path, "example").origin == "another origin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged"):
        load(path, "example")


def test_the_pixel_hash_is_of_the_pixels():
    assert example().pixel_hash == hashlib.sha256(example().images.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_cache_file_is_named_with_the_remedy(tmp_path, fraction, damage):
    path = tmp_path / "example.npz"
    save(example(), path)
    content = bytearray(path.read_bytes())
    at = int(fraction * len(content))
    if damage == "flip":
        content[at : at + 16] = bytes(255 - byte for byte in content[at : at + 16])
    path.write_bytes(content if damage == "flip" else content[:at])
    with pytest.raises(UserError, match=r"example\.npz is damaged: delete it and run `metabench data prepare`"):
        load(path, "example")


def test_pixels_that_do_not_match_their_hash_are_refused(tmp_path):
    path = tmp_path / "example.npz"
    save(dataclasses.replace(example(), pixel_hash="1" * 64), path)
    with pytest.raises(UserError, match="damaged"):
        load(path, "example")


def test_the_cache_of_other_data_is_refused(tmp_path):
    save(example(), tmp_path / "example.npz")
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path / "example.npz", "omniglot")


def test_a_pickle_is_never_run(tmp_path):
    path = tmp_path / "example.npz"
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (ran,))

    np.savez(path, format=np.array(1), name=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        load(path, "example")
    assert not ran.exists()


def test_a_cache_file_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "example.npz"
    np.savez_compressed(path, format=np.array(1), images=np.zeros(1 << 20, np.uint8))
    assert path.stat().st_size < 1 << 14
    monkeypatch.setattr("metabench.tasks.packed.MOST_BYTES", 1 << 16)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)  # nothing of it is read
    with pytest.raises(UserError, match=r"example\.npz is damaged"):
        load(path, "example")


def test_an_interrupted_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "example.npz"
    save(example(), path)
    before = path.read_bytes()

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(UserError, match=r"cannot write to .*example\.npz': No space left on device"):
        save(example(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["example.npz"]


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    for name in ("METABENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "metabench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "metabench"
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "own"))
    assert cache_file("glyphs") == tmp_path / "own" / "glyphs-28.npz"


def test_a_cache_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="cannot be written to: set METABENCH_CACHE"):
        load_or_prepare("example", example)


def test_prepared_once_and_then_loaded(cache):
    calls = []

    def prepare():
        calls.append(1)
        return example()

    first, second = load_or_prepare("example", prepare), load_or_prepare("example", prepare)
    assert len(calls) == 1
    assert torch.equal(first.images, second.images)


def test_what_is_out_of_date_is_prepared_again(cache):
    load_or_prepare("example", lambda: example("old"))
    fresh = load_or_prepare("example", lambda: example("new"), lambda packed: packed.origin == "new")
    assert fresh.origin == load(cache_file("example"), "example").origin == "new"


def test_those_who_ask_together_prepare_once(cache):
    calls = []

    def prepare():
        calls.append(1)
        time.sleep(0.3)
        return example()

    threads = [threading.Thread(target=load_or_prepare, args=("example", prepare)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_shrink_keeps_ink_white_and_paper_black():
    drawing = np.full((105, 105), 255, dtype=np.uint8)
    drawing[:, 45:60] = 0  # a stroke of four pixels of the small image
    small = shrink(Image.fromarray(drawing))
    assert small.shape == (28, 28)
    assert small[:, 13:15].min() == 255
    assert max(small[:, :10].max(), small[:, 18:].max()) <= 1  # Pillow rounds


def test_pack_refuses_what_is_not_a_set_of_characters():
    good = np.zeros((2, 20, 28, 28), dtype=np.uint8)
    for images, names in ((good.astype(np.float32), ["x", "y"]), (good[:, :19], ["x", "y"]), (good, ["x"])):
        with pytest.raises(ValueError, match="images of shape"):
            pack("example", "a test", images, ["a"] * len(names), names, "0")
    with pytest.raises(ValueError, match="same name"):
        pack("example", "a test", good, ["a", "a"], ["x", "x"], "0")


def test_importing_task_distributions_loads_no_image_library():
    heavy = "{'PIL', 'matplotlib', 'torchvision', 'scipy', 'filelock'}"
    code = (
        "import sys, torch, numpy; before = set(sys.modules)\n"
        "from metabench.tasks import glyphs, images, omniglot, packed\n"
        f"print(sorted({heavy} & (set(sys.modules) - before)))"
    )
    root = Path(module.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
