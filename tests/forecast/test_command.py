"""The command, and its mistakes."""

import pytest
from typer.testing import CliRunner

from metabench.cli.main import app
from metabench.errors import UserError
from metabench.record.reading import parse_json


def told(*arguments):
    return CliRunner().invoke(app, ["forecast", *map(str, arguments)], catch_exceptions=False)


def test_it_prints_tables_and_writes_what_documents_quote(run_of, rows, tmp_path):
    found = told(run_of(rows), "--out", tmp_path / "told")
    assert found.exit_code == 0 and "Strong scaling, predicted" in found.stdout
    text = (tmp_path / "told" / "forecast.md").read_text(encoding="utf-8")
    assert text.startswith("# Forecast from synthetic") and "## What would break first" in text
    assert parse_json(told(run_of(rows), "--json", "--devices", "8,1").stdout)["forecasts"][0]["devices"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--devices", "1,x"), "--devices takes whole numbers from 1 to 65,536"),
        (("--devices", "0"), "--devices takes whole numbers"),
        (("--devices", "9" * 5000), "--devices takes whole numbers"),
        (("--meta-batch", "0"), "--meta-batch takes a whole number"),
        (("--hardware", "h20"), "unknown hardware 'h20': did you mean 'h200'"),
        (("--against", "nowhere"), "there is no run folder 'nowhere'"),
    ],
)
def test_mistakes(run_of, rows, arguments, says):
    with pytest.raises(UserError, match=says):
        told(run_of(rows), *arguments)


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no run folder"):
        told(tmp_path / "none")
