import http.server
import io
import os
import subprocess
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.errors import UserError
from metabench.tasks import download, omniglot
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.packed import cache_file, load

CLASSES = {
    "images_background": ["Early_(x)/character01", "Early_(x)/character02"],
    "images_evaluation": ["Z/character01"],
}


def png(seed, side=105):
    drawing = np.full((side, side), 255, dtype=np.uint8)
    x, y = np.random.default_rng(seed).integers(10, side - 30, 2)
    drawing[y : y + 20, x : x + 15] = 0
    stream = io.BytesIO()
    Image.fromarray(drawing).convert("1").save(stream, "PNG")
    return stream.getvalue()


def tree():
    """Three characters in the shape of Omniglot: name -> PNG."""
    names = [(part, c) for part, characters in CLASSES.items() for c in characters]
    return {
        f"{part}/{c}/{1 + k:04d}_{n:02d}.png": png(100 * k + n)
        for k, (part, c) in enumerate(names)
        for n in range(1, 21)
    }


def write_zips(folder, files, order=sorted):
    folder.mkdir(parents=True, exist_ok=True)
    for part in CLASSES:
        with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{part}/", "")
            for name in order(files):
                if name.startswith(part):
                    archive.writestr(name, files[name])
    return folder


def write_folders(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A cache of its own, an Omniglot of three characters, and no download."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setattr(omniglot, "EXPECTED", {part: len(characters) for part, characters in CLASSES.items()})
    monkeypatch.setattr(omniglot, "_fetch", lambda: (_ for _ in ()).throw(omniglot._missing("no download in tests")))


def test_zips_and_folders_give_the_same_data(tmp_path):
    files = tree()
    zips = write_zips(tmp_path / "zips", files)
    shuffled = write_zips(tmp_path / "shuffled", files, order=lambda names: sorted(names, key=lambda n: n[::-1]))
    folders = write_folders(tmp_path / "folders", files)
    below = write_folders(tmp_path / "parent" / "omniglot-py", files).parent
    found = [omniglot.prepare(folder) for folder in (zips, shuffled, folders, below)]
    assert len({packed.source_hash for packed in found}) == 1
    assert len({packed.pixel_hash for packed in found}) == 1
    assert found[0].alphabets == ("Early_(x)", "Early_(x)", "Z")
    assert found[0].characters == ("character01", "character02", "character01")
    assert (found[0].origin, found[2].origin) == ("zip files", "folders")


def test_a_zip_for_one_part_and_a_folder_for_the_other(tmp_path):
    folder = write_zips(tmp_path / "mixed", tree())
    expected = omniglot.read(omniglot.locate(folder)).source_hash
    (folder / "images_evaluation.zip").unlink()
    write_folders(folder, {n: c for n, c in tree().items() if n.startswith("images_evaluation")})
    assert omniglot.read(omniglot.locate(folder)).source_hash == expected


def test_drawings_are_reduced_with_ink_white(tmp_path):
    packed = omniglot.prepare(write_zips(tmp_path / "zips", tree()))
    drawing = Image.open(io.BytesIO(png(100 * 1 + 7))).convert("L")
    expected = 255 - np.asarray(drawing.resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(packed.images[1, 6].numpy(), expected)
    assert packed.images[:, :, 0, 0].max() == 0
    assert (packed.images.amax((2, 3)) == 255).all()


def test_every_byte_and_every_name_counts(tmp_path):
    files = tree()
    before = omniglot.prepare(write_zips(tmp_path / "a", files))
    name = "images_background/Early_(x)/character01/0001_01.png"
    other = omniglot.prepare(write_zips(tmp_path / "b", {**files, name: files[name.replace("_01.", "_02.")]}))
    assert other.source_hash != before.source_hash
    moved = {n.replace("Early_(x)", "Late"): content for n, content in files.items()}
    assert omniglot.prepare(write_zips(tmp_path / "c", moved)).source_hash != before.source_hash


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(write_zips(tmp_path / "zips", tree())))
    assert len(omniglot.find().characters) == 3
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        omniglot.find()


def test_the_cache_serves_without_the_source(tmp_path, monkeypatch):
    first = omniglot.find(write_zips(tmp_path / "zips", tree()))
    monkeypatch.setattr(omniglot, "read", None)  # reading again would fail
    assert omniglot.find().pixel_hash == omniglot.find(tmp_path / "zips").pixel_hash == first.pixel_hash


@pytest.mark.parametrize("entry", [omniglot.find, omniglot.prepare, omniglot.status, omniglot.available])
def test_a_folder_that_is_given_must_hold_omniglot_whatever_the_cache_holds(tmp_path, entry):
    omniglot.find(write_zips(tmp_path / "zips", tree()))
    with pytest.raises(UserError, match=r"nowhere does not exist: expected a folder holding images_background\.zip"):
        entry(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty does not hold Omniglot; expected images_background\.zip"):
        entry(tmp_path / "empty")
    (tmp_path / "zips" / "images_evaluation.zip").unlink()
    with pytest.raises(UserError, match="holds only a part: no images_evaluation"):
        entry(tmp_path / "zips")


def test_prepare_reads_the_given_folder_anew(tmp_path):
    files = tree()
    old = omniglot.prepare(write_zips(tmp_path / "old", files))
    new = {n.replace("Early_(x)", "Late"): content for n, content in files.items()}
    assert omniglot.prepare(write_zips(tmp_path / "new", new)).source_hash != old.source_hash
    assert omniglot.find().alphabets[0] == "Late"


def test_nothing_at_hand_is_data_missing(tmp_path):
    for allowed in (True, False):
        assert not omniglot.available(download=allowed)
        with pytest.raises(omniglot.DataMissing, match="give --data-dir or METABENCH_DATA a folder holding"):
            omniglot.find(download=allowed)


def test_a_damaged_cache_is_not_taken_for_missing_data(tmp_path):
    omniglot.find(write_zips(tmp_path / "zips", tree()))
    cache_file("omniglot").write_bytes(b"PK damaged")
    with pytest.raises(UserError, match=r"omniglot-28\.npz is damaged") as caught:
        omniglot.available()
    assert not isinstance(caught.value, omniglot.DataMissing)
    omniglot.prepare(tmp_path / "zips")  # mends it
    assert omniglot.available()


def test_status(tmp_path):
    before = omniglot.status()
    assert (before.prepared, before.source, before.characters) == (False, "torchvision's download", 0)
    folder = write_zips(tmp_path / "zips", tree())
    assert omniglot.status(folder).source == f"zip files in {folder}"
    packed = omniglot.prepare(folder)
    after = omniglot.status()
    assert (after.prepared, after.characters) == (True, 3)
    assert (after.source_hash, after.pixel_hash) == (packed.source_hash, packed.pixel_hash)
    assert after.describe()["cache file"] == str(cache_file("omniglot"))


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
def test_a_damaged_zip_is_named(tmp_path, damage):
    path = write_zips(tmp_path / "zips", tree()) / "images_evaluation.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    cut = path.read_bytes()[: len(content) // 2]
    path.write_bytes({"cut": cut, "flip": bytes(content), "text": b"no zip at all", "empty": b""}[damage])
    with pytest.raises(UserError, match=r"images_evaluation\.zip is damaged or not a zip file"):
        omniglot.find(tmp_path / "zips")
    assert not cache_file("omniglot").exists()


@pytest.mark.parametrize(
    "name",
    [
        "images_background/../../../escaped.png",
        "/images_background/A/character01/0001_01.png",
        "images_evaluation/A/character01/0001_01.png",  # in the zip of the other part
        "images_background/A/character1/0001_01.png",
        "images_background/A/character٠١/0001_01.png",  # other digits
        "images_background/../character01/0001_01.png",
        "loose.png",
    ],
)
def test_unexpected_entries_are_refused(tmp_path, name):
    folder = write_zips(tmp_path / "zips", tree())
    with zipfile.ZipFile(folder / "images_background.zip", "a") as archive:
        archive.writestr(name, png(0))
    with pytest.raises(UserError, match=r"images_background\.zip is not an Omniglot archive: unexpected entry"):
        omniglot.find(folder)
    assert not list(tmp_path.rglob("escaped.png"))


def test_a_second_entry_of_the_same_name_is_refused(tmp_path):
    folder = write_zips(tmp_path / "zips", tree())
    with (
        zipfile.ZipFile(folder / "images_evaluation.zip", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("images_evaluation/Z/character01/0003_01.png", png(0))
    with pytest.raises(UserError, match="unexpected entry"):
        omniglot.find(folder)


def test_what_a_desktop_leaves_behind_is_passed_over(tmp_path):
    litter = {"images_background/.DS_Store": b"x", "images_background/Early_(x)/._0001_01.png": b"x"}
    folder = write_zips(tmp_path / "zips", {**tree(), **litter})
    with zipfile.ZipFile(folder / "images_background.zip", "a") as archive:
        archive.writestr("__MACOSX/images_background/Early_(x)/character01/0001_01.png", b"x")
    folders = write_folders(tmp_path / "folders", {**tree(), **litter})
    assert omniglot.prepare(folder).source_hash == omniglot.prepare(folders).source_hash


def test_entries_too_large_are_refused_before_they_are_read(tmp_path):
    name = "images_evaluation/Z/character01/0003_01.png"
    folder = write_zips(tmp_path / "zips", {**tree(), name: bytes(10_000_000)})
    with pytest.raises(UserError, match=r"0003_01\.png is too large"):
        omniglot.find(folder)


def test_a_pipe_among_the_drawings_is_not_waited_for(tmp_path):
    name = "images_evaluation/Z/character01/0003_01.png"
    folder = write_folders(tmp_path / "folders", tree())
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=r"0003_01\.png is too large, too many, or no file"):
        omniglot.find(folder)


def test_an_archive_too_large_is_not_opened(tmp_path, monkeypatch):
    folder = write_zips(tmp_path / "zips", tree())
    monkeypatch.setattr(omniglot, "MAX_ZIP_BYTES", 100)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(UserError, match=r"images_background\.zip' is too large: .* at most 100 are read"):
        omniglot.find(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no image", "not a readable PNG"), (png(0, 50), r"size is \(50, 50\)"), (png(0)[:-40], "not a readable PNG")],
)
def test_drawings_that_are_none(tmp_path, content, message):
    name = "images_evaluation/Z/character01/0003_05.png"
    for folder in (
        write_zips(tmp_path / "zips", {**tree(), name: content}),
        write_folders(tmp_path / "folders", {**tree(), name: content}),
    ):
        with pytest.raises(UserError, match=rf"0003_05\.png in .*{folder.name} .*{message}"):
            omniglot.find(folder)


def test_an_incomplete_omniglot_says_what_was_found(tmp_path):
    files = tree()
    fewer = {n: c for n, c in files.items() if "character02" not in n}
    with pytest.raises(UserError, match="1 characters in images_background instead of 2"):
        omniglot.find(write_folders(tmp_path / "characters", fewer))
    del files["images_evaluation/Z/character01/0003_20.png"]
    with pytest.raises(UserError, match="images_evaluation/Z/character01 has 19 drawings, not 20"):
        omniglot.find(write_zips(tmp_path / "drawings", files))


def test_the_task_is_registered(tmp_path, monkeypatch):
    folder = write_zips(tmp_path / "zips", tree())
    source = TASKS.get("omniglot")
    assert source.kind == "classification"
    tasks = source.build(EpisodeShape(1, 5, 5), folder)
    assert tasks.provenance.name == "omniglot"
    assert tasks.provenance.content_hash == load(cache_file("omniglot"), "omniglot").source_hash
    assert str(tmp_path) not in str(tasks.provenance)


def fetch(monkeypatch, probe, code):
    """The real `_fetch`, with other code in its processes."""
    monkeypatch.undo()
    monkeypatch.setattr(download, "_PROBE", probe)
    monkeypatch.setattr(omniglot, "_DOWNLOAD", code)
    monkeypatch.setattr(omniglot, "EXPECTED", {part: len(characters) for part, characters in CLASSES.items()})
    # so long that a busy machine can start the processes
    monkeypatch.setattr(download, "CONNECT_SECONDS", 120.0)
    monkeypatch.setattr(omniglot, "DOWNLOAD_SECONDS", 600.0)


def test_no_connection_is_found_out_before_anything_is_downloaded(tmp_path, monkeypatch, capfd):
    fetch(monkeypatch, "import time; time.sleep(60)", "raise SystemExit('must not be reached')")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    with pytest.raises(omniglot.DataMissing, match="there is no connection"):
        omniglot.find()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "message", "longest"),
    [
        ("import time; time.sleep(60)", "took more than 121 s", "2 min"),
        ("print('noise'); raise OSError", "the download failed", "10 min"),
    ],
)
def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch, capfd, code, message, longest):
    fetch(monkeypatch, "", code)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    if "sleep" in code:  # one second beside the time for the probe
        monkeypatch.setattr(omniglot, "DOWNLOAD_SECONDS", 121.0)
    with pytest.raises(omniglot.DataMissing, match=message):
        omniglot.find()
    assert capfd.readouterr() == ("", f"metabench: downloading omniglot: once, for up to {longest}\n")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == []


def test_a_download_is_prepared_and_cached(tmp_path, monkeypatch):
    made = write_zips(tmp_path / "server", tree())
    fetch(monkeypatch, "", f"import shutil, sys; shutil.copytree({str(made)!r}, sys.argv[1] + '/omniglot-py')")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    packed = omniglot.find()
    assert packed.origin == omniglot.status().source == "torchvision's download"
    assert packed.source_hash == omniglot.read(omniglot.locate(made)).source_hash
    assert sorted(p.name for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock") == ["omniglot-28.npz"]


def test_the_download_is_torchvisions_of_both_parts(monkeypatch):
    asked = []
    monkeypatch.setattr("torchvision.datasets.Omniglot", lambda root, **options: asked.append((root, options)))
    monkeypatch.setattr("sys.argv", ["-c", "here"])
    exec(omniglot._DOWNLOAD, {})
    assert asked == [("here", {"background": background, "download": True}) for background in (True, False)]


def test_the_probe_tells_a_server_that_answers_from_one_that_does_not(monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}/images_background.zip"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            download._run(download._PROBE, address, 120)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(subprocess.CalledProcessError):
        download._run(download._PROBE, address, 120)


REAL = os.environ.get("METABENCH_DATA") or str(Path(__file__).parents[3] / "shared" / "omniglot")


@pytest.mark.skipif(
    not Path(REAL).is_dir(), reason="the real Omniglot is not at hand: set METABENCH_DATA to its folder"
)
def test_the_real_omniglot(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    packed = omniglot.prepare(Path(REAL))
    assert packed.images.shape == (1623, 20, 28, 28)
    assert len(set(packed.alphabets)) == 50
    assert packed.source_hash == "6741849fb07548c3fa4587fdfb76c3aab23f34c5dd1f4ab959df450e30f5ea75"
    assert (packed.images.amax((2, 3)) > 150).all()  # every drawing has ink
    assert 0.05 < packed.images.float().mean() / 255 < 0.12  # and it is mostly paper
