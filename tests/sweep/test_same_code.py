"""Files of the user's own that change while a run goes on, or before it is resumed."""

import hashlib

import pytest

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.sweep.folder import RunFolder
from metabench.sweep.same_code import SameCode
from runs import made

ONE, TWO = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))


def measured(digest=ONE, file="mine.py", **parts):
    cell = Cell(algorithm=f"{file}:Mine", task="sinusoid")
    return made(cell, sources={file: digest, "layers.py": ONE}, memory={"tracked_bytes": 1}, **parts)


def test_rows_of_the_same_files_stay_as_they_are():
    same = SameCode([measured()])
    assert same.checked(measured()) == measured()
    assert same.checked(measured(TWO, file="other.py")).status == "ok"


def test_a_file_that_changes_during_a_run_is_refused():
    found = SameCode([measured()]).checked(measured(TWO))
    assert (found.status, found.memory) == ("incorrect", None)
    assert "the file 'mine.py' changed during the run (SHA-256 " in found.reason
    assert f"(SHA-256 {TWO[:12]}, where earlier rows have {ONE[:12]})" in found.reason


def test_a_run_goes_on_with_the_same_files_alone(tmp_path):
    same = SameCode([measured()])
    for name in ("mine.py", "layers.py"):
        with pytest.raises(UserError, match=f"the file '{name}' has changed since rows of '.*' were measured"):
            same.check_unchanged(tmp_path, tmp_path / "run")
        (tmp_path / name).write_text("one")
    same.check_unchanged(tmp_path, tmp_path / "run")
    SameCode([made(measured().cell)]).check_unchanged(tmp_path / "none", tmp_path / "run")  # a row of an older version


def test_a_run_folder_keeps_the_files_as_they_were_used_first(tmp_path):
    place, run = tmp_path / "place", RunFolder(tmp_path / "run")
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "own.py").write_text("one")
    (tmp_path / "outside.py").write_text("one")
    digests = {"sub/own.py": ONE, "../outside.py": ONE, str(tmp_path / "outside.py"): ONE, "gone.py": ONE}
    run.keep_sources(digests, place)
    (place / "sub" / "own.py").write_text("two")
    run.keep_sources({"sub/own.py": TWO}, place)
    run.keep_sources({"late.py": ONE}, place)
    kept = {str(file.relative_to(run.path)): file.read_text() for file in run.path.rglob("*") if file.is_file()}
    assert kept == {"sources/sub/own.py": "one"}
    (place / "late.py").write_text("two")
    run.keep_sources({"late.py": ONE}, place)  # not what was measured
    assert not (run.path / "sources" / "late.py").exists()
