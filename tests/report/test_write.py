"""The files that a report writes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from metabench.errors import UserError
from metabench.report.document import as_markdown, document
from metabench.report.frames import curves_frame, samples_frame, to_frame
from metabench.report.results import read_run
from metabench.report.write import write_report

NAMES = ("engines", "training", "pareto", "adaptation", "growth", "performance")
PICTURE = tuple(f"plots/{name}.{kind}" for name in NAMES for kind in ("svg", "png", "csv"))
FILES = ("results.csv", "samples.csv", "curves.csv", "tables.md", "tables.tex", "report.html", *PICTURE)


def present(column):
    """The values of a column with their positions, those left out that are missing or empty text."""
    return {i: value for i, value in enumerate(column) if not pd.isna(value) and value != ""}


def figures(column):
    """The same; a float may differ in its last digits, which pandas does not always read as they are written."""
    return {i: pytest.approx(v, rel=1e-12) if isinstance(v, float) else v for i, v in present(column).items()}


@pytest.fixture
def few(folder):
    """The same folder as of one round, with three samples of each time."""
    rows = [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["round"] == 0]
    for step in [row["time"]["step"] for row in rows if row.get("time")]:
        step |= {"samples": step["samples"][:3], "n": 3}
    (folder / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.filterwarnings("error")
def test_times_without_an_interval_are_written_and_drawn(few):
    shown = as_markdown(write_report(few))
    assert " s [?]" in shown or " ms [?]" in shown
    assert "inf" not in shown


@pytest.fixture
def folder(synthetic, tmp_path):
    return Path(shutil.copytree(synthetic, tmp_path / "synthetic"))


def test_the_files_hold_the_frames_and_tables(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    shown = write_report(folder)
    run = read_run(folder)
    assert shown == document(run)
    assert (folder / "tables.md").read_text(encoding="utf-8") == as_markdown(document(run))
    for name, frame in (
        ("results.csv", to_frame(run)),
        ("samples.csv", samples_frame(run)),
        ("curves.csv", curves_frame(run)),
    ):
        read = pd.read_csv(folder / name)
        assert list(read.columns) == list(frame.columns)
        assert len(read) == len(frame) > 0
        for column in frame.columns:
            assert present(read[column]) == figures(frame[column]), (name, column)
    written = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert written == {*before, *FILES}
    assert all((folder / name).read_bytes() == content for name, content in before.items())


def test_writing_again_gives_the_same_bytes(folder):
    write_report(folder)
    first = [(folder / name).read_bytes() for name in FILES]
    write_report(folder)
    assert [(folder / name).read_bytes() for name in FILES] == first


def test_a_file_that_cannot_be_written(folder):
    (folder / "samples.csv").mkdir()
    with pytest.raises(UserError, match=r"cannot write to '.*samples\.csv'"):
        write_report(folder)
    assert not list(folder.glob(".*.part"))


def test_a_run_with_nothing_to_draw_has_no_folder_of_pictures(run_of, row):
    folder = run_of([row(measure=["time", "memory"])])
    write_report(folder)
    assert not (folder / "plots").exists()


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(folder, room):
    write_report(folder)
    old = (folder / "results.csv").read_bytes()
    with room(1000), pytest.raises(UserError, match=r"cannot write to '.*results\.csv': File too large"):
        write_report(folder)
    assert (folder / "results.csv").read_bytes() == old
    assert not list(folder.glob(".*.part"))


def test_a_report_needs_no_torch_and_nothing_that_measures(folder):
    code = (
        "import json, sys; from pathlib import Path; from metabench.report.write import write_report\n"
        f"write_report(Path({str(folder)!r}))\n"
        "print(json.dumps([name for name in sys.modules if name == 'torch' or name.startswith('metabench')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "torch" not in loaded
    rooms = {name.split(".")[1] for name in loaded if "." in name}
    light = {"errors", "files", "grouping", "importing", "record", "registry", "sources", "text", "version"}
    assert rooms <= {"report", "statistics"} | light
