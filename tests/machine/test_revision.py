"""Which metabench it is: known of a checkout and of what was installed from a repository, else left open."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from metabench.machine import revision


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "checkout"
    (root / "metabench").mkdir(parents=True)
    (root / "metabench" / "a.py").write_text("a = 1\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
        try:
            subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no git here")
    return root


def test_the_commit_and_its_dirtiness_are_those_of_the_sources(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    assert re.fullmatch("[0-9a-f]{40,64}", commit)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert revision._checkout(checkout) == (commit, False)
    (checkout / "results.csv").write_text("what a run writes does not change the sources")
    assert revision._checkout(checkout) == (commit, False)
    (checkout / "metabench" / "b.py").write_text("b = 1\n")
    assert revision._checkout(checkout) == (commit, True)
    (checkout / "metabench" / "b.py").unlink()
    (checkout / "metabench" / "a.py").write_text("a = 2\n")
    assert revision._checkout(checkout) == (commit, True)


def test_what_is_no_checkout_has_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = (None, None)
    assert revision._checkout(checkout / "metabench") == unknown  # installed inside somebody else's repository
    monkeypatch.setenv("PATH", str(checkout))
    assert revision._checkout(checkout) == unknown  # no git


@pytest.mark.parametrize(
    ("source", "commit"),
    [
        ({"url": "https://example.org/metabench", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}}, "0" * 40),
        ({"url": "file:///a/clone", "dir_info": {}}, None),
        ({"url": "https://example.org/metabench.whl", "archive_info": {}}, None),
        (None, None),
        ("no dictionary", None),
    ],
)
def test_what_pip_installed_from_a_repository_has_its_commit(
    source: object, commit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PEP 610 has pip write it beside the package."""
    about = tmp_path / "metabench-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: metabench\nVersion: 1.0\n")
    if source is not None:
        (about / "direct_url.json").write_text(json.dumps(source))
    monkeypatch.syspath_prepend(tmp_path)
    assert revision._installed_from(tmp_path) == commit
    assert revision._installed_from(tmp_path / "elsewhere") is None
