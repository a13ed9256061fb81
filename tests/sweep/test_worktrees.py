"""Revisions found and checked out, in a repository of two commits."""

import subprocess
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.sweep.worktrees import checked_out, commit_dates, counterpart, find_revision, is_dirty
from repositories import commit, git, start


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = start(tmp_path / "repository")
    for number in range(2):
        commit(folder, {"file": str(number)})
    git(folder, "branch", "release", "HEAD~1")
    return folder


def test_revisions_by_name(repository):
    base, new = find_revision(repository, "release"), find_revision(repository / ".git" / "..", "HEAD")
    assert base.commit == git(repository, "rev-parse", "HEAD~1").strip()
    assert new.commit == git(repository, "rev-parse", "main").strip()
    assert base.name == "release"
    assert base.short == base.commit[:8]
    assert base.date[:3] == "202"


def test_mistakes_have_a_sentence(repository, tmp_path):
    for name, sentence in (
        ("realease", "unknown revision 'realease': did you mean 'release'?"),
        ("mian", "unknown revision 'mian': did you mean 'main'?"),
        ("--all", "unknown revision '--all'"),
        ("", "unknown revision ''"),
    ):
        with pytest.raises(UserError) as caught:
            find_revision(repository, name)
        assert sentence in str(caught.value)
    with pytest.raises(UserError, match="is not in a git repository"):
        find_revision(tmp_path, "HEAD")


def test_a_name_that_is_not_text_is_in_nobodys_way(repository):
    made = ["git", "-C", str(repository), "update-ref", b"refs/heads/caf\xe9", "HEAD"]
    if subprocess.run(made, capture_output=True).returncode:
        pytest.skip("this file system takes only text for names")
    with pytest.raises(UserError, match="unknown revision 'mian': did you mean 'main'"):
        find_revision(repository, "mian")
    assert find_revision(repository, "main").name == "main"


def test_dirty_is_what_differs_from_head(repository):
    assert not is_dirty(repository)
    (repository / "new file").write_text("")
    assert not is_dirty(repository)
    (repository / "file").write_text("changed")
    assert is_dirty(repository)


def test_each_revision_has_its_files_and_nothing_stays(repository):
    revisions = (find_revision(repository, "release"), find_revision(repository, "HEAD"))
    with pytest.raises(KeyboardInterrupt), checked_out(repository, revisions) as folders:
        assert [(folder / "file").read_text() for folder in folders] == ["0", "1"]
        (folders[0] / "file").write_text("changed while it was measured")
        raise KeyboardInterrupt
    assert not any(folder.exists() for folder in folders)
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_revision_twice(repository):
    head = find_revision(repository, "HEAD")
    with checked_out(repository, (head, head)) as folders:
        assert len({str(folder) for folder in folders}) == 2


def test_dates_of_commits(repository, tmp_path):
    commits = git(repository, "rev-list", "--reverse", "HEAD").split()
    dates = commit_dates(repository, [*commits, "f" * 40])
    assert list(dates) == commits
    assert dates[commits[0]] <= dates[commits[1]]
    assert commit_dates(tmp_path, commits) == {}


def test_a_folder_of_the_repository_has_a_counterpart_in_a_revision(repository, tmp_path):
    (repository / "own").mkdir()
    tree = tmp_path / "tree"
    assert counterpart(repository / "own", repository / "own", tree) == tree / "own"
    assert counterpart(repository, repository, tree) == tree
    assert counterpart(repository, tmp_path, tree) == tmp_path
