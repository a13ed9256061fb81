"""Revisions of a git repository, each checked out in a temporary folder."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metabench.errors import UserError, unknown


@dataclass(frozen=True)
class Revision:
    """A commit, and what the user called it."""

    name: str
    commit: str
    date: str
    """Time of the commit, ISO 8601."""

    @property
    def short(self) -> str:
        return self.commit[:8]


def find_revision(repository: Path, name: str) -> Revision:
    """The commit of a name. Raises `UserError`: no repository, no git, no such revision (with the nearest one)."""
    _git(repository, "rev-parse", "--git-dir")
    try:
        found = _git(repository, "show", "--no-patch", "--format=%H %cI", "--end-of-options", f"{name}^{{commit}}")
    except UserError:
        listed = _git(
            repository, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
        )
        raise unknown("revision", name, ["HEAD", *listed.split()]) from None
    commit, _, date = found.partition(" ")
    return Revision(name, commit, date)


def commit_dates(repository: Path, commits: Iterable[str]) -> dict[str, str]:
    """Times of the commits that the repository knows, as sortable text; empty without a repository."""
    dates = {}
    for commit in commits:
        with suppress(UserError):
            dates[commit] = _git(repository, "show", "--no-patch", "--format=%ct", "--end-of-options", commit).zfill(12)
    return dates


def is_dirty(repository: Path) -> bool:
    """Whether tracked files differ from HEAD."""
    return bool(_git(repository, "status", "--porcelain", "--untracked-files=no"))


@contextmanager
def checked_out(repository: Path, revisions: tuple[Revision, ...]) -> Iterator[list[Path]]:
    """A folder with the files of each revision; removed again, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="metabench-revisions-") as name:
        folders = [Path(name) / f"{number}-{revision.short}" for number, revision in enumerate(revisions)]
        try:
            for folder, revision in zip(folders, revisions, strict=True):
                _git(repository, "worktree", "add", "--quiet", "--detach", str(folder), revision.commit)
            yield folders
        finally:
            for folder in folders:
                if folder.exists():
                    _git(repository, "worktree", "remove", "--force", str(folder))


def counterpart(repository: Path, folder: Path, tree: Path) -> Path:
    """The folder within the files of a revision that `folder` is in the repository; itself where it is outside."""
    top, folder = Path(_git(repository, "rev-parse", "--show-toplevel")).resolve(), folder.resolve()
    return tree / folder.relative_to(top) if folder.is_relative_to(top) else folder


def _git(repository: Path, *arguments: str) -> str:
    # A hook's GIT_DIR would lead to another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # git takes any bytes for a name
            check=True,
            env=variables,
        )
    except FileNotFoundError:
        raise UserError("git is not installed: it is needed to compare revisions") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("fatal: ")
        if "not a git repository" in said:
            raise UserError(
                f"'{repository.resolve()}' is not in a git repository: revisions cannot be compared"
            ) from None
        raise UserError(f"git {arguments[0]} failed: {said}") from None
    return done.stdout.strip()
