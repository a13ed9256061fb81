"""`--json` prints one strict JSON document and nothing else, with what the tables show."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from metabench.cli.main import app
from metabench.record.reading import parse_json
from metabench.report.document import document
from metabench.report.results import read_run
from places import AVX2, EPYC

RUNS = EPYC
TABLE = {"title", "says", "columns", "rows", "values", "cells", "notes"}


def told(*arguments: str) -> dict:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return parse_json(result.stdout)  # strict: one document, no NaN, no name twice


def is_table(table: dict) -> bool:
    widths = {len(row) for row in (table["columns"], *table["rows"], *table["values"])}
    return table.keys() >= TABLE and len(widths) == 1 and len(table["rows"]) == len(table["values"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(AVX2 / "memory", tmp_path / "memory"))


def test_report(folder):
    found = told("report", str(folder))
    shown = document(read_run(folder))
    assert found["folder"] == str(folder)
    assert (found["title"], found["facts"], found["warnings"]) == (shown.title, dict(shown.facts), list(shown.warnings))
    assert [section["title"] for section in found["sections"]] == [section.title for section in shown.sections]
    tables = [table for section in found["sections"] for table in section["tables"]]
    assert all(map(is_table, tables))
    results = pd.read_csv(folder / "results.csv").query("status == 'ok'")
    growing = [table for table in tables if table["title"].startswith("Memory with inner steps")]
    assert len(growing) == 2  # one on each machine
    for table in growing:
        at = table["columns"].index("5")
        for row, values, ids in zip(table["rows"], table["values"], table["cells"], strict=True):
            peaks = list(results[results.id.isin(ids)].sort_values("inner_steps").tracked_bytes)
            assert [value for value in values[at:] if value] == peaks
            assert row[at].endswith("iB") if peaks else row[at] == "unsupported"


def test_run(folder, monkeypatch):
    monkeypatch.setattr("metabench.api.running.run_sweep", lambda *_, **__: None)  # it is measured already
    found = told("run", "memory", "--out", str(folder))
    assert found["folder"] == str(folder) and found["facts"]["run"] == "memory"


@pytest.mark.parametrize("kind", ["algorithms", "engines", "models", "tasks", "sweeps"])
def test_list(kind):
    (table,) = told("list", kind)["tables"]
    assert is_table(table) and table["columns"][0] == "name" and len(table["rows"]) > 1
    if kind == "models":
        values = {row[0]: value for row, value in zip(table["rows"], table["values"], strict=True)}
        assert values["mlp-40x2"][1] == 1761


def test_verify(monkeypatch):
    from metabench.correctness import verification

    monkeypatch.setattr(verification, "SETTINGS", verification.SETTINGS[:2])
    monkeypatch.setattr(verification, "CONTRACT_SETTINGS", ())
    result = CliRunner().invoke(app, ["verify", "maml", "--engines", "loop", "--json"])
    found = parse_json(result.stdout)
    assert is_table(found) and result.exit_code == 0
    assert found["columns"][-1] == "verdict" and found["checks"] == len(found["rows"]) == 2 and found["incorrect"] == 0
    assert "maml/loop" in result.stderr  # what is being done is seen meanwhile
    result = CliRunner().invoke(app, ["verify", "--task", "sinusoid", "--model", "mlp-40x2", "--json"])
    found = parse_json(result.stdout)
    assert [row[0] for row in found["rows"]] == ["task sinusoid: contract", "model mlp-40x2: contract"]
    assert is_table(found) and result.exit_code == 0 and found["checks"] == 18


def test_data_status(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    assert all(isinstance(value, str | int | None) for value in told("data", "status").values())


def test_merge(folder, tmp_path):
    found = told("merge", str(folder), "--out", str(tmp_path / "merged"))
    assert found["folder"] == str(tmp_path / "merged") and found["sections"]


def test_history():
    (table,) = told("history", str(RUNS / "default-calm"), str(RUNS / "default"))["tables"]
    assert is_table(table) and len(table["rows"]) == len(table["cells"]) > 10


def test_compare_and_env_are_json_too(folder):
    assert told("compare", str(AVX2 / "memory"), str(folder))["cells"]
    result = CliRunner().invoke(app, ["env"])
    assert parse_json(result.stdout)["packages"]["torch"]


def test_a_mistake_is_one_sentence_and_no_json(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "metabench", "report", str(tmp_path / "nowhere"), "--json"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("metabench: there is no run folder") and done.stderr.count("\n") == 1


def test_a_table_that_holds_what_is_no_number_is_strict_json():
    from metabench.report.numbers import Valued
    from metabench.report.render.tables import Table, table_json

    table = Table("t", "", ("a",), ((Valued("overflowed", float("inf")),), ("nan",)))
    assert json.loads(json.dumps(table_json(table), allow_nan=False))["values"] == [[None], [None]]
