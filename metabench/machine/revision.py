"""Which metabench this is: the version, and the commit where a checkout or an installer knows it."""

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

from metabench.record.environment import Code
from metabench.version import __version__


def revision() -> Code:
    """Version, commit, and whether the sources differ from that; None where it is not known."""
    root = Path(__file__).resolve().parents[2]
    commit, dirty = _checkout(root)
    return Code(__version__, commit or _installed_from(root), dirty)


def _checkout(root: Path) -> tuple[str | None, bool | None]:
    """The git commit of metabench's own sources at `root`, and whether they differ from it; None if not a checkout."""

    def git(*arguments: str) -> str | None:
        # A hook's GIT_DIR would lead to another repository; status must not lock this one.
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        variables["GIT_OPTIONAL_LOCKS"] = "0"
        command = ("git", "-C", str(root), *arguments)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=variables, check=True)
        except (OSError, subprocess.SubprocessError):  # no git, not ours, no commit yet
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") if (root / ".git").exists() else None
    changes = git("status", "--porcelain", "--", "metabench", "pyproject.toml") if commit else None
    return commit, None if changes is None else bool(changes)


def _installed_from(root: Path) -> str | None:
    """The commit that an installer fetched to put the package at `root`; None where it was given no repository."""
    try:
        package = metadata.distribution("metabench")
        if Path(str(package.locate_file("metabench"))).resolve() != root / "metabench":
            return None  # another one, which these sources come before
        source = json.loads(package.read_text("direct_url.json") or "{}")
        return str(source["vcs_info"]["commit_id"])
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None
