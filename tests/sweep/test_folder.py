import json
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.sweep.folder import open_run_folder
from metabench.sweep.measurement import Measurement

CELL = dict.fromkeys(
    ("algorithm", "engine", "task", "model", "inner_steps", "meta_batch", "ways", "shots", "query", "seed")
)


def measurement(number: int) -> Measurement:
    return Measurement(f"{number:016x}", 0, "ok", "", CELL, "2026-01-01T00:00:00Z", 1.0)


def test_rows_come_back_as_written(tmp_path: Path):
    with open_run_folder(tmp_path / "a" / "run") as folder:
        folder.append(measurement(1))
        folder.append(measurement(2))
        assert [row["id"] for row in folder.read()] == ["0000000000000001", "0000000000000002"]
        assert not folder.mend()


def test_a_torn_last_row_is_cut_off_and_nothing_else(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
        whole = folder.measurements.read_bytes()
        folder.measurements.write_bytes(whole + whole[:25])
        assert folder.mend()
        assert folder.measurements.read_bytes() == whole


def test_a_torn_row_with_nothing_before_it(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.measurements.write_text('{"schema"')
        assert folder.mend()
        assert folder.read() == []


def test_a_corrupt_row_is_an_error_with_its_line(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
        folder.measurements.write_text("nonsense\n" + folder.measurements.read_text())
        with pytest.raises(UserError, match=r"line 1 of .* is not JSON: the file is corrupt"):
            folder.read()


def test_a_newer_schema_is_refused(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.measurements.write_text(json.dumps({"schema": 99}) + "\n")
        with pytest.raises(UserError, match="newer metabench"):
            folder.read()


def test_two_writers_are_one_too_many(tmp_path: Path):
    with (
        open_run_folder(tmp_path),
        pytest.raises(UserError, match="another metabench is writing"),
        open_run_folder(tmp_path),
    ):
        pass
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))


def test_a_full_disk_is_one_sentence(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        full = Path("/dev/full")
        if not full.exists():
            pytest.skip("this system has no /dev/full")
        folder.measurements.symlink_to(full)
        with pytest.raises(UserError, match="cannot write to .* No space left on device"):
            folder.append(measurement(1))


def test_no_folder_can_be_made_below_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), open_run_folder(tmp_path / "file" / "run"):
        pass


def test_not_a_number_is_never_written(tmp_path: Path):
    with open_run_folder(tmp_path) as folder, pytest.raises(ValueError, match="JSON"):
        folder.append(Measurement("0", 0, "ok", "", {}, "", float("nan")))
