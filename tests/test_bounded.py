"""Continuous integration on a slow machine."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_no_test_begins_after_the_time_for_tests():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_alike.py")]
    result = subprocess.run(
        command, cwd=HERE.parent, env={**os.environ, "TESTS_UNTIL": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
    assert "skipped" in result.stdout.splitlines()[-1] and "passed" not in result.stdout.splitlines()[-1]
    assert "the time for tests is used up" in result.stdout
