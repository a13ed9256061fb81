"""Names by path: what is found, what is hashed, and what is said of what is not there."""

import hashlib
import sys

import pytest

from metabench import sources
from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.maml import MAML
from metabench.engines.base import ENGINES, Engine
from metabench.errors import UserError

MINE = """
from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.maml import MAML
from layers import halved

FACTOR = {factor}


class Mine(MAML):
    def objective(self, meta, anchor, task):
        return FACTOR * halved(super().objective(meta, anchor, task))


class Half(Algorithm):
    pass


def build(algorithm):
    '''A step of mine.

    It is slow.
    '''


def step(meta, episodes):
    pass
"""
LAYERS = "def halved(x):\n    return x / 2\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the user's, with two files; it is neither the current one nor on the path."""
    (tmp_path / "mine.py").write_text(MINE.format(factor=3))
    (tmp_path / "layers.py").write_text(LAYERS)
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path))
    return tmp_path


def said(registry, name):
    with pytest.raises(UserError) as error:
        registry.get(name)
    return str(error.value)


def test_a_file_and_its_module_hold_the_same(folder):
    found = ALGORITHMS.get("mine.py:Mine")
    assert issubclass(found, MAML) and found.__module__ == "mine"
    assert ALGORITHMS.get("mine:Mine") is found is ALGORITHMS.get("mine.py:Mine")
    assert sources.digests() == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("layers.py", "mine.py")
    }


def test_nothing_is_written_beside_the_files(folder):
    ALGORITHMS.get("mine.py:Mine")
    assert sorted(file.name for file in folder.iterdir()) == ["layers.py", "mine.py"]


def test_files_in_folders_are_found_with_their_neighbours(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "own.py").write_text("from mine import Mine\nfrom sub.near import FACTOR\nFROM = FACTOR\n")
    (folder / "sub" / "near.py").write_text("FACTOR = 7\n")
    assert sources.find("sub/own.py:FROM") == sources.find("sub.own:FROM") == 7
    assert sorted(sources.digests()) == ["layers.py", "mine.py", "sub/near.py", "sub/own.py"]


def test_an_installed_module_is_found_and_no_file_of_the_users(folder):
    assert ALGORITHMS.get("metabench.algorithms.maml:MAML") is MAML
    assert sources.digests() == {}


def test_files_are_loaded_anew_when_asked_for(folder):
    before = ALGORITHMS.get("mine.py:Mine")
    (folder / "mine.py").write_text(MINE.format(factor=4))
    assert ALGORITHMS.get("mine.py:Mine") is before
    sources.use(folder)
    assert ALGORITHMS.get("mine.py:Mine") is not before
    assert sources.find("mine:FACTOR") == 4


def test_another_folder_has_other_files(folder, tmp_path_factory):
    assert sources.find("mine.py:FACTOR") == 3
    other = tmp_path_factory.mktemp("other")
    (other / "mine.py").write_text("FACTOR = 5\n")
    sources.use(other)
    assert sources.find("mine.py:FACTOR") == 5
    assert list(sources.digests()) == ["mine.py"]
    assert sources.variables() == {sources.VARIABLE: str(other)}


def test_the_current_folder_where_nothing_else_is_said(folder, monkeypatch):
    monkeypatch.delenv(sources.VARIABLE)
    monkeypatch.chdir(folder)
    assert sources.find("mine.py:FACTOR") == 3


def test_what_a_user_has_imported_before_is_loaded_with_its_hash(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    import mine

    try:
        found = sources.find("mine.py:Mine")
        assert found is not mine.Mine and list(sources.digests()) == ["layers.py", "mine.py"]
    finally:
        for name in ("mine", "layers"):
            sys.modules.pop(name, None)


def test_an_engine_is_a_function_that_builds_a_step(folder):
    found = ENGINES.get("mine.py:build")
    assert isinstance(found, Engine) and found.summary == "A step of mine."
    assert found is ENGINES.get("mine.py:build")
    (folder / "own.py").write_text("from metabench.engines.base import Engine\nengine = Engine('x', print)\n")
    assert ENGINES.get("own.py:engine").summary == "x"


def test_what_is_registered_in_a_file_may_be_loaded_again(folder):
    decorated = MINE.format(factor=1) + "\n\nALGORITHMS.register('mine-own')(Mine)\n"
    (folder / "mine.py").write_text(decorated)
    try:
        ALGORITHMS.get("mine.py:Mine")
        sources.use(folder)
        assert ALGORITHMS.get("mine.py:Mine") is ALGORITHMS.get("mine-own")
        (folder / "mine.py").write_text(decorated.replace("mine-own", "maml"))
        sources.use(folder)
        assert "two algorithms are called 'maml'" in said(ALGORITHMS, "mine.py:Mine")
    finally:
        ALGORITHMS._entries.pop("mine-own", None)
        ALGORITHMS._homes.pop("mine-own", None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnie.py:Mine", "there is no file 'mnie.py' in '{folder}': did you mean 'mine.py'?"),
        ("sub/mine.py:Mine", "there is no file 'sub/mine.py' in '{folder}': did you mean 'mine.py'?"),
        ("mine.py:Mine,mine.py:Mine", "it names several things: give each by itself"),
        ("mine.py:Mien", "'mine.py' has no 'Mien': did you mean 'Mine'?"),
        ("layer:Mine", "'layer' is neither a file of '{folder}' nor an installed module: did you mean 'layers'?"),
        (
            "layers.more:x",
            "'layers.more' is neither a file of '{folder}' nor an installed module: did you mean 'layers'?",
        ),
        ("mine.py", "add a name that stands in it, as in mine.py:NAME"),
        ("mine.py:", "add a name that stands in it, as in mine.py:NAME"),
        (":Mine", "add a name that stands in it, as in FILE.py:NAME"),
        ("../mine.py:Mine", "the file is outside of '{folder}', and files are loaded from there alone"),
        ("a" * 300 + ".py:Mine", "it has more than 200 characters"),
        ("mine.py:step", "it is the function step, where a class that derives from Algorithm is needed"),
        ("mine.py:FACTOR", "it is an object of type int, where a class that derives from Algorithm is needed"),
        ("metabench:algorithms", "it is a module, where a class that derives from Algorithm is needed"),
        ("mine.py:Half", "it does not define objective and trajectory"),
    ],
)
def test_what_is_not_there_or_of_another_kind_is_said(folder, name, words):
    assert said(ALGORITHMS, name) == f"algorithm '{name}': {words.format(folder=folder)}"


def test_a_path_with_backslashes_is_answered_with_slashes(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "own.py").write_text("")
    assert said(ALGORITHMS, "sub\\own.py:x").endswith("did you mean 'sub/own.py'?")


def test_an_empty_file_has_nothing_to_choose_from(folder):
    (folder / "empty.py").write_text("")
    assert said(ALGORITHMS, "empty.py:x").endswith("'empty.py' has no 'x': there is nothing to choose from")


def test_a_whole_path_into_the_folder_is_the_file_s(folder):
    found = ALGORITHMS.get("mine.py:Mine")
    assert ALGORITHMS.get(f"{folder / 'mine.py'}:Mine") is found
    assert ALGORITHMS.get(f"../{folder.name}/mine.py:Mine") is found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py:Mine", "it is the class Mine, where an Engine or a function build(algorithm)"),
        ("mine.py:FACTOR", "it is an object of type int, where an Engine or a function build(algorithm)"),
        ("mine.py:step", "it cannot be called with an algorithm alone, where an Engine or a function build(algorithm)"),
    ],
)
def test_what_is_no_engine_is_said(folder, name, words):
    assert words in said(ENGINES, name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n1 / 0\n", "line 2 of 'own.py' raises ZeroDivisionError: division by zero"),
        ("import fails\n", "line 3 of 'fails.py' raises ValueError: no message"),
        ("import nonsense\n", "line 1 of 'own.py' raises ModuleNotFoundError: No module named 'nonsense'"),
        ("import json\n\njson.loads('{')\n", "line 3 of 'own.py' raises JSONDecodeError: Expecting property name"),
        ("def f(:\n", "line 1 of 'own.py' is not valid Python: invalid syntax"),
        ("import broken\n", "line 2 of 'broken.py' is not valid Python: "),
        ("import sys\nsys.exit(3)\n", "line 2 of 'own.py' ends the program"),
        ("raise BaseException('two\\nlines')\n", "line 1 of 'own.py' raises BaseException: two lines"),
    ],
)
def test_what_a_file_raises_is_one_sentence_with_its_line(folder, text, words):
    (folder / "own.py").write_text(text)
    (folder / "fails.py").write_text("\n\nraise ValueError\n")
    (folder / "broken.py").write_text("\n'\n")
    assert words in said(ALGORITHMS, "own.py:Mine")
    assert "own" not in sys.modules


def test_what_a_file_prints_is_kept_from_the_readers_of_a_command(folder, capsys):
    (folder / "own.py").write_text("print('loaded')\nx = 1\n")
    assert sources.find("own.py:x") == 1
    assert capsys.readouterr() == ("", "loaded\n")


def test_no_library_gets_a_file_of_the_users(folder, monkeypatch):
    """Of a module that no library has imported so far: the user's own file is refused, and a library gets its own."""
    library = folder / "library"
    library.mkdir()
    (library / "lazy.py").write_text("def get():\n    import helper\n    return helper.WHOSE\n")
    (library / "helper.py").write_text("WHOSE = 'of the library'\n")
    place = folder / "place"
    place.mkdir()
    (place / "helper.py").write_text("WHOSE = 'of the user'\n")
    (place / "own.py").write_text("import lazy\nFOUND = lazy.get()\n")
    (place / "two.py").write_text("import helper\n")
    monkeypatch.syspath_prepend(str(library))
    sources.use(place)
    try:
        assert sources.find("own.py:FOUND") == "of the library"
        del sys.modules["helper"]
        taken = "'helper.py' has the name of a module of Python or of an installed package: rename it"
        for name in ("helper.py:WHOSE", "two.py:x"):
            with pytest.raises(UserError, match=taken):
                sources.find(name)
    finally:
        for name in ("lazy", "helper"):
            sys.modules.pop(name, None)


def test_a_file_that_is_called_as_a_loaded_library_is_refused_and_harms_nobody(folder):
    (folder / "torch.py").write_text("raise ValueError\n")
    (folder / "own.py").write_text("import torch\nx = torch.ones(2)\n")
    assert sources.find("own.py:x").tolist() == [1, 1]
    with pytest.raises(
        UserError, match=r"'torch\.py' has the name of a module of Python or of an installed package: rename it"
    ):
        sources.find("torch.py:x")
