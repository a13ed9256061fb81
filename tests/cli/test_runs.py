"""`compare`, `history` and `claims` from the command line: mistakes, exit codes, and what is printed."""

import json
from pathlib import Path

import pytest

from metabench.cli.runs import compare
from metabench.errors import UserError
from places import EPYC

RESULTS = EPYC


@pytest.fixture
def slower(tmp_path: Path) -> tuple[Path, Path]:
    """Two run folders of eight rounds, the second with all times tripled."""
    lines = (RESULTS / "default" / "measurements.jsonl").read_text(encoding="utf-8").splitlines()
    first = next(row for row in map(json.loads, lines) if row.get("time") and not row.get("reference"))
    for name, factor in (("base", 1.0), ("new", 3.0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "environment.json").write_bytes((RESULTS / "default" / "environment.json").read_bytes())
        with (folder / "measurements.jsonl").open("w", encoding="utf-8") as file:
            for number in range(8):
                step = first["time"]["step"] | {"samples": [factor * s for s in first["time"]["step"]["samples"]]}
                row = first | {"round": number, "time": first["time"] | {"step": step}, "memory": None}
                file.write(json.dumps(row) + "\n")
    return tmp_path / "base", tmp_path / "new"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "compare takes two run folders, or --rev twice"),
        ({"runs": ["a"]}, "compare takes two run folders, not 1"),
        ({"runs": ["a", "b"], "rev": ["main"]}, "compare takes two run folders, or --rev twice"),
        ({"rev": ["main"]}, "compare takes --rev twice, not 1 times"),
        ({"runs": ["nowhere", "neither"]}, "there is no run folder 'neither'"),
        ({"runs": ["a", "b"], "fail_above": "5"}, "--fail-above takes a percentage such as 5%, not '5'"),
        ({"rev": ["a", "b"], "sweep": "smok"}, "unknown sweep 'smok': did you mean 'smoke'?"),
        ({"rev": ["a", "b"]}, "is not in a git repository"),
        ({"rev": ["a", "b"], "resume": True}, "--resume needs --out"),
        ({"rev": ["a", "b"], "rounds": 0}, "--rounds takes whole numbers of 1 or more"),
    ],
)
def test_mistakes(given, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        compare(**given | {"runs": [Path(name) for name in given.get("runs", ())]})
    assert sentence in str(caught.value)


def test_the_gate(metabench, slower):
    done = metabench("compare", *map(str, slower), "--fail-above", "5%")
    assert done.returncode == 1
    assert "its time is 3.00 [" in done.stderr
    assert "1 slower" in done.stdout


def test_without_a_gate_nothing_fails(slower, capsys):
    compare(list(slower))
    assert "1 slower" in capsys.readouterr().out
    compare(list(slower), as_markdown=True)
    assert capsys.readouterr().out.startswith("# ")


def test_what_got_faster_passes(slower, capsys):
    base, new = slower
    compare([new, base], fail_above="5%", as_json=True)
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert cell["time"]["verdict"] == "faster"
    assert cell["time"]["ratio"]["value"] == pytest.approx(1 / 3)


def test_without_a_baseline_the_gate_passes_with_a_notice(slower, tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    compare([nowhere, slower[1]], fail_above="5%")
    assert f"there is no baseline '{nowhere}' to compare with: the gate passes" in capsys.readouterr().err
    with pytest.raises(UserError, match="there is no run folder"):
        compare([nowhere, slower[1]])


def test_a_committed_run_compared_with_itself_has_no_difference(capsys):
    compare([RESULTS / "default", RESULTS / "default"], fail_above="0%", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found["cells"]) > 40
    verdicts = {cell["time"]["verdict"] for cell in found["cells"] if cell["time"]}
    assert "the same" in verdicts
    assert verdicts <= {"the same", "cannot tell"}
    assert {change["verdict"] for change in found["quality"]} == {"the same"}
    assert found["failures"] == []


def test_history(metabench, slower, tmp_path):
    done = metabench("history", ".", "--out", "told")
    assert done.returncode == 0, done.stderr
    assert "(base)" in done.stdout
    assert "(new)" in done.stdout
    assert (tmp_path / "told" / "history.md").exists()
    assert len(list((tmp_path / "told" / "plots").glob("*.svg"))) == 1


def test_claims(metabench, tmp_path):
    run = str(RESULTS / "memory")
    done = metabench("claims", run, "--out", "told", "--json")
    assert done.returncode == 0, done.stderr
    verdicts = {claim["id"]: claim["verdict"] for claim in json.loads(done.stdout)["claims"]}
    assert (verdicts["checkpointing-steps"], verdicts["checkpointing-memory"]) == ("holds", "does not hold")
    assert {file.name for file in (tmp_path / "told").iterdir()} == {"claims.md", "claims.csv"}
    (tmp_path / "mine.toml").write_text('[[claim]]\nid = "a"\nrule = "ratoi"\nsays = "b"\nsource = "c"\nmark = "V"\n')
    done = metabench("claims", run, "--claims", "mine.toml")
    assert done.returncode == 2
    assert done.stderr == "metabench: 'mine.toml', claim 1 (a): unknown rule 'ratoi': did you mean 'ratio'?\n"
