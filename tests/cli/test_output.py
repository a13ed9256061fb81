"""Standard output that is of another encoding, closed or full: a sentence, no traceback, nothing lost."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
SWEEP = """
[run]
noise_pairs = 0
time_budget_s = 0.05
[[grid]]
task = "sinusoid"
algorithm = "maml"
measure = ["time"]
meta_batch = 2
"""
FULL = "/dev/full"


def shell(line: str, folder, environment, **variables: str) -> subprocess.CompletedProcess[str]:
    """What came of a line in which METABENCH stands for the command."""
    line = line.replace("METABENCH", f'"{sys.executable}" -m metabench')
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("metabench: ")]
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert done.returncode == 2, done
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_an_encoding_lacks_is_replaced(in_plugin, tmp_path, encoding):
    (tmp_path / "s.toml").write_text(SWEEP)
    done = shell("METABENCH run s.toml --out run --full >shown", tmp_path, in_plugin, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "shown").read_bytes().decode(encoding)
    assert "Failures: none of 1 measurement" in shown and "?" in shown


def test_standard_output_that_is_closed_is_told_at_once(in_plugin, tmp_path):
    (tmp_path / "s.toml").write_text(SWEEP)
    for command in ("list sweeps", "run s.toml --out run"):
        done = shell(f"METABENCH {command} >&-", tmp_path, in_plugin)
        assert one_sentence(done) == "metabench: standard output is closed: send it to a file, or to /dev/null"
    assert not (tmp_path / "run").exists()
    assert shell("METABENCH list sweeps 2>&-", tmp_path, in_plugin).returncode == 0


@pytest.mark.skipif(not Path(FULL).exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_what_was_measured_is_kept(in_plugin, tmp_path):
    (tmp_path / "s.toml").write_text(SWEEP)
    said = one_sentence(shell(f"METABENCH list sweeps >{FULL}", tmp_path, in_plugin))
    assert said == "metabench: cannot write to standard output: No space left on device"
    said = one_sentence(shell(f"METABENCH run s.toml --out run >{FULL}", tmp_path, in_plugin))
    assert said.endswith("No space left on device; all that was measured is in 'run'")
    assert (tmp_path / "run" / "tables.md").exists()
    assert len((tmp_path / "run" / "measurements.jsonl").read_text().splitlines()) == 1
    assert shell(f"METABENCH list sweeps 2>{FULL}", tmp_path, in_plugin).returncode == 0


def test_a_reader_that_is_gone_ends_a_command_without_a_word(in_plugin, tmp_path):
    done = shell("METABENCH list | true", tmp_path, in_plugin)
    assert (done.returncode, done.stderr) == (141, "")
