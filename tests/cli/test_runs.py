"""`compare`, `history` and `claims` from the command line: mistakes, exit codes, and what is printed."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metabench.cli.main import app
from metabench.cli.runs import compare
from metabench.errors import UserError
from metabench.record.cell import identity
from metabench.sweep import revisions
from places import AVX2, EPYC

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
        ({"runs": ["nowhere", "neither"]}, "there is no run folder 'nowhere'"),
        ({"runs": ["a", "b"], "fail_above": "5"}, "--fail-above takes a percentage such as 5%, not '5'"),
        ({"rev": ["a", "b"], "sweep": "smok"}, "unknown sweep 'smok': did you mean 'smoke'?"),
        ({"rev": ["a", "b"]}, "is not in a git repository"),
        ({"rev": ["a", "b"], "resume": True}, "--resume needs --out"),
        ({"rev": ["a", "b"], "rounds": 0}, "--rounds takes whole numbers of 1 or more"),
        ({"runs": ["a", "b"], "out": Path("c")}, "--out is for --rev, which measures: leave it out where two run"),
        ({"runs": ["a", "b"], "sweep": "smoke"}, "--sweep is for --rev"),
        ({"runs": ["a", "b"], "rounds": 3}, "--rounds is for --rev"),
        ({"runs": ["a", "b"], "resume": True}, "--resume is for --rev"),
        ({"runs": ["a", "b"], "as_json": True, "as_markdown": True}, "--json and --markdown are two forms"),
        ({"rev": ["a", "b"], "as_json": True, "as_markdown": True}, "--json and --markdown are two forms"),
    ],
)
def test_mistakes(given, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        compare(**given | {"runs": [Path(name) for name in given.get("runs", ())]})
    assert sentence in str(caught.value)


@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupted_comparison_says_the_whole_command_that_goes_on(resume, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    line = ["compare", "--rev", "main", "--rev", "it's", "--out", "two of them", *(["--resume"] if resume else [])]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(revisions, "measure_revisions", interrupted)
    monkeypatch.setattr(sys, "argv", ["metabench", *line])
    with pytest.raises(SystemExit) as ended:
        compare(rev=["main", "it's"], out=Path("two of them"), resume=resume)
    said = capsys.readouterr().err
    again = shlex.split(said.partition("Go on with: ")[2])
    assert ended.value.code == 130 and "what was measured is in 'two of them'" in said
    assert again == ["metabench", *line, *([] if resume else ["--resume"])]


@pytest.mark.parametrize("out", ["", " "])
@pytest.mark.parametrize(
    "command",
    [
        *("run smoke", "search maml", "profile maml", "time my.py:step"),
        *("compare a b", "history a", "merge a", "claims a", "forecast a"),
    ],
)
def test_an_empty_folder_is_refused_and_does_not_stand_for_the_current_one(command, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, [*command.split(), "--out", out])
    assert isinstance(found.exception, UserError) and "--out is empty: name a folder" in str(found.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_threshold(metabench, slower):
    done = metabench("compare", *map(str, slower), "--fail-above", "5%")
    assert done.returncode == 1
    assert "its time is 3.00 [" in done.stderr
    assert "1 slower" in done.stdout


def test_without_a_threshold_nothing_fails(slower, capsys):
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


def test_a_misspelt_baseline_is_named_with_the_nearest_run(metabench, slower):
    done = metabench("compare", "basse", "new", "--fail-above", "5%")
    assert done.returncode == 2
    assert done.stderr == "metabench: there is no run folder 'basse': did you mean 'base'?\n"
    done = metabench("compare", "far/away", "new", "--fail-above", "5%")
    assert (done.returncode, done.stderr) == (2, "metabench: there is no run folder 'far/away'\n")


def rewrite(folder: Path, change) -> None:
    """Change every row of a run; one that becomes None is left out."""
    file = folder / "measurements.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [made for row in rows if (made := change(row))]
    for row in kept:
        row["id"] = identity(row["cell"])
    file.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def with_cell(**changes):
    return lambda row: row | {"cell": row["cell"] | changes}


def test_without_a_cell_in_common_no_threshold_passes(metabench, slower):
    rewrite(slower[1], with_cell(inner_steps=77))
    for options in (["--fail-above", "5%"], []):
        done = metabench("compare", "base", "new", *options)
        assert done.returncode == 2
        assert (
            "the runs have no configuration in common: the nearest configurations differ in inner steps ("
            in done.stderr
        )


def test_scores_of_other_held_out_tasks_do_not_pass_as_compared(metabench, slower):
    """Only the number of held-out tasks differs: the scores do not compare, and the costs do."""
    for folder, tasks in zip(slower, (40, 41), strict=True):
        rewrite(folder, with_cell(eval_tasks=tasks, measure=["quality"]))
    done = metabench("compare", "base", "new", "--fail-above", "5%")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no configuration in common: the nearest configurations differ in eval tasks (40; 41)" in done.stderr
    for folder in slower:
        rewrite(folder, with_cell(measure=["time"]))
    done = metabench("compare", "base", "new", "--fail-above", "5%")
    assert done.returncode == 1
    assert "its time is 3.00 [" in done.stderr


def test_one_round_cannot_pass_a_threshold(metabench, slower):
    for folder in slower:
        rewrite(folder, lambda row: row if row["round"] == 0 else None)
    done = metabench("compare", "base", "new", "--fail-above", "5%")
    assert done.returncode == 2
    nothing = "the threshold can vouch for nothing: there are times alone"
    assert f"{nothing}, and 1 repetition of 1 configuration" in done.stderr
    assert metabench("compare", "base", "new").returncode == 0


def test_a_cell_that_the_new_run_has_not_is_no_regression_and_no_pass(metabench, slower):
    base, new = slower
    lines = (base / "measurements.jsonl").read_text(encoding="utf-8")
    rewrite(base, with_cell(inner_steps=77))
    with (base / "measurements.jsonl").open("a", encoding="utf-8") as file:
        file.write(lines)
    done = metabench("compare", "base", "base", "--fail-above", "5%")
    assert done.returncode == 0, done.stderr
    (new / "measurements.jsonl").write_text(lines, encoding="utf-8")
    done = metabench("compare", "base", "new", "--fail-above", "5%")
    assert done.returncode == 2
    assert (
        "the base has its time, and the new run has no such configuration: the nearest differs in inner steps ("
        in done.stderr
    )
    assert done.stderr.endswith("the threshold cannot vouch for 1 configuration of the base: see above\n")
    assert metabench("compare", "base", "new").returncode == 0


def test_the_help_names_the_exit_codes(metabench):
    said = " ".join(metabench("compare", "--help").stdout.split())
    for words in ("Exit code 0:", "1: something is above it", "2: a mistake", "130: interrupted"):
        assert words in said


def test_a_committed_run_compared_with_itself_has_no_difference(capsys):
    compare([RESULTS / "default", RESULTS / "default"], fail_above="0%", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found["cells"]) > 40
    verdicts = {cell["time"]["verdict"] for cell in found["cells"] if cell["time"]}
    assert {cell["time"]["ratio"]["value"] for cell in found["cells"] if cell["time"]} == {1.0}
    assert verdicts <= {"the same", "cannot tell"}
    assert {change["verdict"] for change in found["quality"]} == {"the same"}
    assert found["failures"] == []


def test_history(metabench, slower, tmp_path):
    done = metabench("history", ".")
    assert done.returncode == 0, done.stderr
    assert "no history yet" in done.stdout and "1 configuration was measured at a single commit" in done.stdout
    described = json.loads((slower[1] / "environment.json").read_text(encoding="utf-8"))
    described["machine"]["metabench"]["commit"] = "f" * 40
    (slower[1] / "environment.json").write_text(json.dumps(described), encoding="utf-8")
    done = metabench("history", ".", "--out", "told")
    assert done.returncode == 0, done.stderr
    assert "last ÷ first" in done.stdout and "3.00" in done.stdout
    assert {file.name for file in (tmp_path / "told").iterdir()} == {"history.html", "history.md", "history.csv"}
    assert "ffffffff" in (tmp_path / "told" / "history.md").read_text(encoding="utf-8")


def test_claims(metabench, tmp_path):
    run = str(AVX2 / "memory")
    done = metabench("claims", run, "--out", "told", "--json")
    assert done.returncode == 0, done.stderr
    verdicts = {claim["id"]: claim["verdict"] for claim in json.loads(done.stdout)["claims"]}
    assert (verdicts["checkpointing-steps"], verdicts["checkpointing-memory"]) == ("does not hold", "does not hold")
    assert {file.name for file in (tmp_path / "told").iterdir()} == {"claims.md", "claims.csv"}
    told = metabench("claims", run, COLUMNS="80").stdout.splitlines()
    assert max(map(len, told)) <= 80 and len(told) < 60
    assert len(metabench("claims", run, "--full", COLUMNS="80").stdout.splitlines()) > 117
    (tmp_path / "mine.toml").write_text('[[claim]]\nid = "a"\nrule = "ratoi"\nsays = "b"\nsource = "c"\nmark = "V"\n')
    done = metabench("claims", run, "--claims", "mine.toml")
    assert done.returncode == 2
    assert done.stderr == "metabench: 'mine.toml', claim 1 (a): unknown rule 'ratoi': did you mean 'ratio'?\n"
