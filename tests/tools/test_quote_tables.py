"""Documents are refreshed from the tables that they quote, or it is said clearly why not."""

import pytest

from metabench.errors import UserError
from quote_tables import main, refreshed

TABLES = """# Tables

### One: 5 points

| algorithm   | inner steps   | MSE   |
|-------------|---------------|-------|
| maml        | 1             | 0.5   |
| maml        | 5             | 0.4   |
| a\\|b       | 1             | 0.3   |

### Two: 10 points

| algorithm   | inner steps   | MSE   |
|-------------|---------------|-------|
| maml        | 1             | 0.2   |

### Three

| algorithm   | engine   | time   | peak   |
|-------------|----------|--------|--------|
| maml        | loop     | 1 ms   | 2 MiB  |
| maml        | vmap     | 2 ms   | 3 MiB  |
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tables.md").write_text(TABLES, encoding="utf-8")
    return tmp_path


def document(body, title=""):
    return f"Before.\n\n<!-- from results/tables.md{title} -->\n{body}\n<!-- end -->\n\nAfter.\n"


ONE = "| algorithm | inner steps | MSE |\n|---|---|---|\n| maml | 5 | 9.9 |\n| a\\|b | 1 | 9.9 |"


def test_rows_are_found_by_their_labels_and_written_as_in_the_run(root):
    new = refreshed(document(ONE), root, "README.md")
    head, body = TABLES.splitlines()[4:6], TABLES.splitlines()[7:9]
    assert new == document("\n".join([*head, *body]))
    assert refreshed(new, root, "README.md") == new


def test_some_columns_alone(root):
    old = "| algorithm | engine | peak |\n|---|---|---|\n| maml | vmap | old |"
    assert "| maml        | vmap     | 3 MiB  |" in refreshed(document(old), root, "README.md")


def test_a_title_says_which_table(root):
    old = "| algorithm | inner steps | MSE |\n|---|---|---|\n| maml | 1 | 9 |"
    with pytest.raises(UserError, match="several tables have such rows: .*One: 5 points; Two: 10 points"):
        refreshed(document(old), root, "README.md")
    assert "| 0.2 " in refreshed(document(old, ": Two: 10 points"), root, "README.md")
    as_it_is = document("\n".join(TABLES.splitlines()[i] for i in (4, 5, 6)))
    assert refreshed(as_it_is, root, "README.md") == as_it_is


def test_the_letters_of_quoted_figures_bring_their_notes(root):
    table = "### Four\n\n| algorithm | score |\n|---|---|\n| maml | 1 (a) |\n| anil | 2 (b) |\n| reptile | 3 |\n"
    notes = ["- (a) test steps 7, not 2.", "- (b) trained on 10 points.", "- Hyper-parameters differ: inner lr."]
    (root / "results" / "tables.md").write_text("\n".join([table, *notes]), encoding="utf-8")
    old = "| algorithm | score |\n|---|---|\n| anil | 9 |\n| reptile | 9 |"
    new = refreshed(document(old), root, "README.md")
    assert "| anil | 2 (b) |\n| reptile | 3 |\n\n- (b) trained on 10 points.\n<!-- end -->" in new
    assert refreshed(new, root, "README.md") == new
    assert "- (" not in refreshed(document("| algorithm | score |\n|---|---|\n| reptile | 9 |"), root, "README.md")


@pytest.mark.parametrize(
    ("body", "title", "sentence"),
    [
        (ONE.replace("| 5 ", "| 7 "), "", "has no row any more, or several, with algorithm maml, inner steps 7"),
        (ONE.replace("MSE", "accuracy"), "", "no table has the columns algorithm, inner steps, accuracy any more"),
        (ONE, ": Tow: 10 points", "unknown table 'Tow: 10 points': did you mean 'Two: 10 points'?"),
        ("no table", "", "stands no table with rows"),
        ("| algorithm | engine | peak |\n|---|---|---|\n| maml | - | x |", "", "with algorithm maml, engine -"),
        ("| MSE |\n|---|\n| 0.5 |", "", "with any labels"),
    ],
)
def test_what_is_not_to_be_found_any_more(root, body, title, sentence):
    with pytest.raises(UserError) as raised:
        refreshed(document(body, title), root, "README.md")
    assert sentence in str(raised.value) and "README.md quotes 'results/tables.md'" in str(raised.value)


def test_files_and_pictures_that_are_gone(root):
    with pytest.raises(UserError, match="quotes 'results/other.md', which is not there any more"):
        refreshed(document(ONE).replace("tables.md", "other.md"), root, "README.md")
    with pytest.raises(UserError, match="shows the picture 'results/plots/x.svg', which is not there any more"):
        refreshed("![x](results/plots/x.svg)", root, "README.md")


def test_the_command_writes_and_checks(root):
    file, said = root / "README.md", []
    file.write_text(document(ONE), encoding="utf-8")
    arguments = [str(file), "--root", str(root)]
    assert main([*arguments, "--check"], said.append) == 1
    assert file.read_text(encoding="utf-8") == document(ONE)
    assert main(arguments, said.append) == 0
    assert main([*arguments, "--check"], said.append) == 0
    assert [line.rpartition(": ")[2] for line in said] == ["differs from the runs it quotes", "written anew"]
    file.write_text(document(ONE).replace("tables.md", "other.md"), encoding="utf-8")
    assert main(arguments, said.append) == 2 and "not there any more" in said[-1]
    assert main([str(root / "none.md")], said.append) == 2
