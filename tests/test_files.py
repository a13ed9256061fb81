import os
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.files import append, cache_dir, check_plain, read_text, read_toml, replace_file
from metabench.forecast.hardware import read_hardware
from metabench.report.claims.reading import read_claims
from metabench.tasks.places import all_data, at


def test_text_comes_back_up_to_its_size(tmp_path: Path):
    file = tmp_path / "a.txt"
    replace_file(file, "θ\n".encode())
    assert read_text(file, 3) == "θ\n"
    with pytest.raises(UserError, match="is too large: 3 bytes, where at most 2 are read"):
        read_text(file, 2)
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="it is not text in UTF-8"):
        read_text(file, 3)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 3)
    with pytest.raises(UserError, match=r"^cannot read '.*a\\x00b': embedded null"):
        read_text(tmp_path / "a\0b", 3)


def test_a_home_that_there_is_not_is_one_sentence(monkeypatch):
    nobody = "~nobody-has-this-name/here"
    monkeypatch.setenv("METABENCH_CACHE", nobody)
    with pytest.raises(UserError, match=f"there is no home folder for '{nobody}': set METABENCH_CACHE to the whole"):
        cache_dir()
    monkeypatch.setenv("METABENCH_DATA", nobody)
    for place in (lambda: all_data(None), lambda: all_data(Path(nobody)), lambda: at(nobody)):
        with pytest.raises(UserError, match=f"there is no home folder for '{nobody}': write the whole path"):
            place()


def test_where_there_is_no_home_at_all_the_cache_needs_a_place(monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    for name in ("METABENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="there is no home folder for '~': set METABENCH_CACHE to the whole path"):
        cache_dir()


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbftitle = 'a'\n")
    assert read_toml(tmp_path / "a.toml", 100, "file") == ("title = 'a'\n", {"title": "a"})


def test_what_is_no_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")  # whoever opens it waits for ever
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError, match="it is not a file"):
            check_plain(path, 10)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path):
    treasure, link = tmp_path / "treasure", tmp_path / "tables.md"
    treasure.write_text("gold")
    link.symlink_to(treasure)
    with pytest.raises(UserError, match="cannot write to '.*tables.md'"):
        append(link, b"lead")
    replace_file(link, b"lead")
    assert (treasure.read_text(), link.read_text(), link.is_symlink()) == ("gold", "lead", False)


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:7]))
    append(tmp_path / "a", b"twenty-seven characters, so\n")
    assert (tmp_path / "a").read_bytes() == b"twenty-seven characters, so\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_stops_an_append_takes_it_back(tmp_path: Path, monkeypatch, error):
    file = tmp_path / "a"
    append(file, b"one\n")

    def full(handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((UserError, KeyboardInterrupt)) as caught:
        append(file, b"two\n")
    assert file.read_bytes() == b"one\n"
    assert caught.type is KeyboardInterrupt or "No space left on device" in str(caught.value)


def test_a_disk_that_fills_up_leaves_what_there_was(tmp_path: Path, room):
    file = tmp_path / "a"
    append(file, b"one\n")
    for write in (lambda: append(file, b"two\n" * 10), lambda: replace_file(file, b"two\n" * 10)):
        with room(20), pytest.raises(UserError, match="cannot write to '.*a': File too large"):
            write()
        assert file.read_bytes() == b"one\n"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["x = = 3", "x = " + "9" * 5000, "x = " + "[" * 50_000])
def test_what_is_not_toml_is_one_sentence_whatever_is_read(tmp_path, text):
    (tmp_path / "odd.toml").write_text(text)
    for read in (read_claims, read_hardware):
        with pytest.raises(UserError, match="'odd.toml' is not valid TOML"):
            read(tmp_path / "odd.toml")
