"""Bad input gets one clear sentence, the nearest valid choice and exit code 2; never a traceback."""

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from metabench.engines.base import ENGINES

SWEEP = '[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\nmeasure = ["time"]\n'


def refused(result) -> str:
    """The one sentence that a user gets."""
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("metabench: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("metabench: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "--engine", "loop"], "unknown option '--engine': did you mean '--engines'?"),
        (["lsit"], "unknown command 'lsit': did you mean 'list'?"),
        (["data", "stat"], "unknown command 'stat': did you mean 'status'?"),
        (["time", "--rounds", "x", "my.py:step"], "--rounds takes a whole number: "),
        (["search", "maml", "--seconds", "x"], "--seconds takes a number: "),
        (["run"], "missing argument 'sweep': "),
    ],
)
def test_mistakes_in_options_are_one_sentence_as_all_others(metabench, arguments, said):
    done = metabench(*arguments)
    assert refused(done).startswith(said)
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_a_command_without_what_it_needs_shows_its_help(metabench):
    done = metabench("data")
    assert done.returncode == 2 and "Usage" in done.stdout + done.stderr and "metabench: " not in done.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('algorithm = "mamml"', "unknown algorithm 'mamml': did you mean 'maml'?"),
        ('engine = "vmpa"', "unknown engine 'vmpa': did you mean 'vmap'?"),
        ('task = "omniglott"', "unknown task 'omniglott': did you mean 'omniglot'?"),
        ('model = "conv-64"', "unknown model 'conv-64': did you mean 'conv4-64'?"),
        ("metabatch = 3", "unknown axis 'metabatch': did you mean 'meta_batch'?"),
        ("inner_steps = = 3", "is not valid TOML"),
    ],
)
def test_mistakes_in_a_sweep_file(metabench, tmp_path, line, sentence):
    kept = [old for old in SWEEP.splitlines() if old.split(" = ")[0] != line.split(" = ")[0]]
    (tmp_path / "s.toml").write_text("\n".join([*kept, line]) + "\n")
    assert sentence in refused(metabench("run", "s.toml"))
    assert not (tmp_path / "runs").exists()


def test_names_on_the_command_line(metabench):
    assert refused(metabench("run", "defualt")) == "unknown sweep 'defualt': did you mean 'default'?"
    assert refused(metabench("run", "nowhere.toml")) == "there is no sweep file 'nowhere.toml'"
    assert "did you mean 'maml'" in refused(metabench("verify", "mam"))
    assert "did you mean 'engines'" in refused(metabench("list", "engine"))
    assert "did you mean 'inner_lr'" in refused(metabench("run", "smoke", "--set", "inner_rl=3"))
    assert "did you mean 'slurm'" in refused(metabench("run", "smoke", "--backend", "slrum"))
    assert "--resume needs --out" in refused(metabench("run", "smoke", "--resume"))
    assert "no CUDA device" in refused(metabench("run", "smoke", "--device", "cuda", CUDA_VISIBLE_DEVICES=""))
    assert "there is no run folder" in refused(metabench("report", "nowhere"))


@pytest.mark.skipif(os.name == "nt", reason="a folder that a program is in cannot be removed")
def test_a_current_folder_that_was_removed(tmp_path, in_plugin):
    command = f'mkdir gone && cd gone && rmdir ../gone && exec "{sys.executable}" -m metabench list sweeps'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=in_plugin, capture_output=True, text=True)
    assert refused(done) == "the current folder was removed: change to another one"


@pytest.mark.parametrize("sweep", ["gpu", "gpu-large"])
def test_a_sweep_for_a_gpu_on_a_machine_without_one(metabench, tmp_path, sweep):
    """One sentence before anything is begun, and not a row for each cell."""
    assert "torch finds no CUDA device" in refused(metabench("run", sweep, CUDA_VISIBLE_DEVICES=""))
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_shows_cells_and_what_is_filled_in_and_measures_nothing(metabench, tmp_path):
    done = metabench(
        "run", "smoke", "--dry-run", "--set", "shots=5", "--set", "task=glyphs", "--set", "query=3", "--json"
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["title"].endswith(f": {len(shown['rows'])} configurations, {len(shown['rows']) + 4} measurements")
    alike, *filled = shown["notes"]
    assert "shots 5" in alike and "train shots 5" in alike and "eval query 3" in alike
    assert filled == []
    assert not (tmp_path / "runs").exists()


def test_missing_data_folder(metabench, tmp_path):
    cache = str(tmp_path / "cache")
    for command in (("run", "algorithms", "--data-dir", "nowhere"), ("data", "prepare", "--data-dir", "nowhere")):
        assert "nowhere" in refused(metabench(*command, METABENCH_CACHE=cache))


def test_a_folder_without_omniglot(metabench, tmp_path):
    (tmp_path / "empty").mkdir()
    result = metabench("run", "algorithms", "--data-dir", "empty", METABENCH_CACHE=str(tmp_path / "cache"))
    assert "images_background.zip" in refused(result)


def test_corrupt_zip(metabench, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/Alphabet/character01/0001_01.png", b"no image" * 100)
    whole = (folder / "images_background.zip").read_bytes()
    (folder / "images_background.zip").write_bytes(whole[: len(whole) // 2])
    result = metabench("run", "algorithms", "--data-dir", "data", METABENCH_CACHE=str(tmp_path / "cache"))
    assert "images_background.zip" in refused(result)


def test_unwritable_output_folder(metabench, tmp_path):
    (tmp_path / "s.toml").write_text(SWEEP)
    (tmp_path / "file").write_text("")
    assert "cannot write to 'file" in refused(metabench("run", "s.toml", "--out", "file/run"))
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "cannot write to 'closed" in refused(metabench("run", "s.toml", "--out", "closed/run"))


def test_what_the_system_refuses_is_a_sentence(metabench, tmp_path):
    long = "x" * 300
    for arguments in (["report", long], ["run", long, "--dry-run"], ["merge", long, "--out", "new"]):
        assert f"cannot read or write '{long}" in refused(metabench(*arguments))
    if os.geteuid() != 0:  # root may read everything
        (tmp_path / "closed").mkdir(mode=0o000)
        assert "cannot read or write 'closed" in refused(metabench("report", "closed/run"))


def test_an_algorithm_from_outside_the_tree_is_listed_and_a_broken_one_named(metabench):
    result = metabench("list", "algorithms")
    assert result.returncode == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("plugged")]
    assert line.endswith("metabench-test-plugin")
    assert "algorithm 'broken-import' could not be loaded: ModuleNotFoundError" in result.stderr
    assert "broken-import" in refused(metabench("verify", "broken-import"))


def test_lists_name_everything(metabench):
    listed = metabench("list").stdout
    for name in ("maml", "reptile", "loop", "vmap", "conv4-64-maxpool", "mlp-40x2", "omniglot", "glyphs", "default"):
        assert name in listed


def test_algorithms_are_listed_with_what_they_are_for(metabench):
    lines = metabench("list", "algorithms").stdout.splitlines()
    assert lines[1].split() == ["name", "family", "order", "tasks", "source", "from"]
    columns = {line.split()[0]: re.split(r"  +", line) for line in lines[3:] if line}
    assert columns["maml"][1:4] == ["gradient-based", "second", "both"]
    assert columns["plugged"][1:] == ["gradient-based", "second", "both", "a test", "metabench-test-plugin"]
    (table,) = json.loads(metabench("list", "algorithms", "--json").stdout)["tables"]
    assert table["columns"] == ["name", "family", "order", "tasks", "source", "presets", "from"]
    (maml,) = [row for row in table["rows"] if row[0] == "maml"]
    assert maml[3] == "classification, regression" and "quick/sinusoid" in maml[5].split(", ")


def test_engines_are_listed_with_the_libraries_that_they_need(metabench):
    (table,) = json.loads(metabench("list", "engines", "--json").stdout)["tables"]
    assert table["columns"] == ["name", "what it does", "needs", "from"]
    needs = {row[0]: row[2] for row in table["rows"]}
    assert needs["loop"] == ""
    assert needs["jax"] == needs["jax-im2col"]
    for library in ("higher", "jax", "learn2learn", "torchopt"):
        absent = "" if ENGINES.get(library).is_installed else ", not installed"
        assert needs[library] == library + absent
    assert not replace(ENGINES.get("loop"), library="no-such-library").is_installed


def test_no_list_is_wider_than_100_columns(metabench):
    """However wide the terminal is: long lines are hard to read."""
    lines = metabench("list", COLUMNS="300").stdout.splitlines()
    assert {"Algorithms", "Engines", "Models", "Task distributions", "Sweeps"} <= set(lines)
    assert max(map(len, lines)) <= 100
    narrow = metabench("list", "sweeps", COLUMNS="60").stdout.splitlines()
    assert max(map(len, narrow)) <= 60


def test_the_list_of_sweeps_and_the_help_come_without_torch(in_plugin):
    for arguments in (["list", "sweeps"], ["--help"], ["run", "--help"]):
        program = f"import sys; sys.argv = ['metabench', *{arguments}]\nfrom metabench.cli.main import main\n"
        program += "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
        done = subprocess.run([sys.executable, "-c", program], env=in_plugin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


COMMANDS = [
    "run",
    "report",
    "advise",
    "time",
    "verify",
    "compare",
    "search",
    "profile",
    "claims",
    "history",
    "merge",
    "forecast",
]


@pytest.mark.parametrize("width", [80, 120])
def test_the_help_has_a_line_for_each_command_in_the_order_a_newcomer_needs(metabench, width):
    lines = metabench("--help", COLUMNS=str(width)).stdout.splitlines()
    rows = [line.strip("│ ").split() for line in lines if line.startswith("│")]
    found = [row[0] for row in rows if row[0] not in ("--version", "--help")]
    assert found[: len(COMMANDS)] == COMMANDS and sorted(found[len(COMMANDS) :]) == ["data", "env", "list"]
    assert any("metabench run first" in line for line in lines)
    assert len(lines) <= 35 and max(map(len, lines)) <= width
    bare = metabench(COLUMNS=str(width))
    assert bare.stdout.split() == "\n".join(lines).split()


def test_verify_passes_what_is_right_from_outside_the_tree_too(metabench):
    result = metabench("verify", "maml", "plugged", "--engines", "vmap")
    assert result.returncode == 0, result.stderr
    rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    for name in ("maml", "plugged"):
        assert [row[-1] for row in rows if row[0] == f"{name}/vmap"] == ["ok"] * 7
        contract = [row[1:] for row in rows if row[0] == f"{name}: contract"]
        assert [row[0] for row in contract] == ["sinusoid, mlp-40x2", "glyphs, conv4-16"]
        assert all(re.fullmatch(r"ok: \d+(, unsupported: 1)? clauses", row[-1]) for row in contract)
    assert re.search(r"all \d+ checks passed", result.stdout)


def test_verify_names_what_is_wrong(metabench):
    result = metabench("verify", "forgetful-maml", "restless", "stubborn", "failing", "--engines", "loop")
    assert result.returncode == 1
    rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    verdicts = {name: [row[-1] for row in rows if row[0] == name] for name in {row[0] for row in rows}}
    assert all("finite differences" in verdict for verdict in verdicts["forgetful-maml/loop"])
    assert all("first_order changes nothing" in verdict for verdict in verdicts["forgetful-maml: first order"])
    for name in ("restless", "stubborn"):
        assert verdicts[f"{name}/loop"] == ["ok"] * 7
        assert all("incorrect: 1" in verdict for verdict in verdicts[f"{name}: contract"])
    assert "which adapted_names does not name" in verdicts["restless: frozen"][0]
    assert "adapts as sgd does" in verdicts["stubborn: inner optimizer"][0]
    assert verdicts["failing/loop"][0].startswith("incorrect: it raises ValueError: two lines")
    wrong = sum(verdict.startswith("incorrect: ") for of_name in verdicts.values() for verdict in of_name)
    assert re.search(rf"metabench: {wrong} of \d+ checks failed", result.stderr)


def test_verify_holds_models_and_tasks_to_their_contracts(metabench):
    result = metabench("verify", "--model", "mlp-40x2,dropout", "--task", "sinusoid,flat,unseeded")
    assert result.returncode == 1
    rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    found = {row[0]: (row[1], row[-1]) for row in rows if row[0].startswith(("task ", "model "))}
    assert found["task sinusoid: contract"] == ("regression", "ok: 9, unsupported: 2 clauses")
    assert found["model mlp-40x2: contract"] == ("sinusoid", "ok: 9, unsupported: 2 clauses")
    faults = {name: verdict for name, (_, verdict) in found.items() if not name.endswith(": contract")}
    assert "targets of another shape would broadcast" in faults["task flat: shapes"]
    assert "the task distribution ignores its generator" in faults["task unseeded: seeded"]
    assert "the model draws random numbers" in faults["model dropout: repeatable"]
    assert all(verdict.startswith("incorrect: ") for verdict in faults.values())
    assert re.search(rf"metabench: {len(faults)} of \d+ checks failed", result.stderr)
    assert "did you mean 'mlp-40x2'" in refused(metabench("verify", "--model", "mlp40x2"))
    assert "did you mean 'sinusoid'" in refused(metabench("verify", "--task", "sinusoids"))


def test_a_broken_promise_of_model_or_tasks_is_a_row_with_its_reason(metabench, tmp_path):
    (tmp_path / "s.toml").write_text(
        "[run]\nnoise_pairs = 0\ntime_budget_s = 0.02\n"
        '[defaults]\nalgorithm = "maml"\nmeta_batch = 2\ninner_steps = 1\nmeasure = ["time"]\nmodel = "mlp-40x2"\n'
        '[[grid]]\ntask = ["sinusoid", "flat", "unseeded"]\n[[grid]]\ntask = "sinusoid"\nmodel = "dropout"\n'
        'engine = ["loop", "vmap"]\n'
    )
    assert metabench("run", "s.toml", "--out", "run").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "measurements.jsonl").read_text().splitlines()]
    found = {(row["cell"]["task"], row["cell"]["model"], row["cell"]["engine"]): row for row in rows}
    assert {name: row["status"] for name, row in found.items()} == {
        ("sinusoid", "mlp-40x2", "loop"): "ok",
        ("flat", "mlp-40x2", "loop"): "unsupported",
        ("unseeded", "mlp-40x2", "loop"): "unsupported",
        ("sinusoid", "dropout", "loop"): "unsupported",
        ("sinusoid", "dropout", "vmap"): "unsupported",
    }
    assert "targets of another shape would broadcast" in found["flat", "mlp-40x2", "loop"]["reason"]
    assert "ignores its generator" in found["unseeded", "mlp-40x2", "loop"]["reason"]
    assert "the model draws random numbers" in found["sinusoid", "dropout", "vmap"]["reason"]
    assert all(row["time"] is None for row in rows if row["status"] != "ok")


def test_env_is_the_fingerprint_and_names_no_folder(metabench, tmp_path):
    result = metabench("env")
    assert '"torch"' in result.stdout
    assert str(Path.home()) not in result.stdout and str(tmp_path) not in result.stdout


def test_version(metabench):
    assert metabench("--version").stdout.startswith("metabench 0.")


@pytest.mark.parametrize("name", ["random.py", "torch.py"])
def test_a_file_beside_is_not_taken_for_a_module_of_a_library(tmp_path, in_plugin, name):
    (tmp_path / name).write_text("raise RuntimeError('mine')\n")
    command = [sys.executable, "-m", "metabench", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=in_plugin, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
