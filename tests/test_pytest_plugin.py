"""The pytest plug-in, as it comes with the wheel, in repositories of users."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from metabench.errors import UserError
from metabench.profile.measuring import implementation_parts
from metabench.pytest_plugin import BOUNDED, MetaIteration

PYTEST = "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT pytest"  # tests/conftest.py has said how threads wait
BRIEFLY = "--benchmark-max-time=0.01 --benchmark-min-rounds=1 -p no:cacheprovider"
MINE = """
from metabench.algorithms.maml import MAML
from metabench.engines.loop import build as loop

class Mine(MAML):
    pass

def half(algorithm):
    def step(meta, episodes):
        direction, metrics = loop(algorithm)(meta, episodes)
        return {name: d / 2 for name, d in direction.items()}, metrics
    return step
"""
TESTS = """
import os
import pytest

pytestmark = pytest.mark.metabench(task="sinusoid")

@pytest.mark.metabench("sub/mine.py:Mine/vmap", inner_steps=2, threads=1)
def test_passes(meta_iteration):
    meta_iteration()

@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.metabench("maml/native")
def test_values(meta_iteration, engine):
    meta_iteration(engine=engine)

@pytest.mark.parametrize("x", [pytest.param(0, marks=pytest.mark.metabench(meta_batch=3)), 1])
@pytest.mark.metabench("maml/vmap", meta_batch=2)
def test_marks(meta_iteration, x):
    meta_iteration()

def test_call(meta_iteration):
    meta_iteration("maml/loop", meta_batch=2)

@pytest.mark.metabench("sub/mine.py:Mine/sub/mine.py:half")
def test_incorrect(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", inner_lr=1e6, inner_steps=5)
def test_diverged(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", model="conv4-16")
def test_unsupported(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", inner_step=1)
def test_axis(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("mamml/vmap")
def test_name(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", inner_steps=[1, 5])
def test_list(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", "maml/loop")
def test_two_names(meta_iteration):
    meta_iteration()

def test_nothing(meta_iteration):
    meta_iteration()

@pytest.mark.metabench("maml/vmap", meta_batch=2)
def test_again(meta_iteration):
    meta_iteration()
    meta_iteration()

@pytest.mark.metabench("maml/vmap")
def test_without_the_fixture():
    pass

def test_of_another_kind():
    assert os.environ["GOMP_SPINCOUNT"]
"""
EXAMPLE = '@pytest.mark.metabench("maml/vmap", task="sinusoid")'
OUTCOMES = {
    "test_passes": "",
    "test_values[loop]": "",
    "test_values[vmap]": "",
    "test_marks[0]": "",
    "test_marks[1]": "",
    "test_call": "",
    "test_incorrect": "failure: sub/mine.py:Mine/sub/mine.py:half is not timed: the engine's direction differs from "
    "loop by 5.0e-01 (allowed 1e-08)",
    "test_diverged": "failure: maml/vmap is not timed: MAML does not stay finite in float64 over 5 inner steps at "
    "inner_lr = 1e+06: use a smaller inner_lr",
    "test_unsupported": "skipped: conv4-16 needs images (channels, height, width), not inputs of shape (1,)",
    "test_axis": "failure: unknown axis 'inner_step': did you mean 'inner_steps'?",
    "test_name": "failure: unknown algorithm 'mamml': did you mean 'maml'?",
    "test_list": "failure: axis 'inner_steps' takes one value here: use @pytest.mark.parametrize, and hand each value "
    "over by meta_iteration(inner_steps=inner_steps)",
    "test_two_names": f"failure: the marker metabench takes one name, and axes by theirs, as in {EXAMPLE}",
    "test_nothing": f"failure: say what is timed, as in {EXAMPLE}",
    "test_again": "failure: a test times one configuration: use @pytest.mark.parametrize for several",
    "test_without_the_fixture": "error: the marker metabench is for tests that take and call the fixture "
    "meta_iteration",
    "test_of_another_kind": "",
}


@pytest.fixture(scope="module")
def session(installed, tmp_path_factory):
    """All these tests in one session of pytest, whose root is not the folder of the test file."""
    root = tmp_path_factory.mktemp("repository")
    for name, text in {"sub/mine.py": MINE, "tests/test_mine.py": TESTS}.items():
        (root / name).parent.mkdir()
        (root / name).write_text(text)
    kept = "--benchmark-json=out.json --junitxml=out.xml"
    return root, installed.run(f"{PYTEST} --strict-markers {BRIEFLY} {kept}", root)


def outcomes(file):
    found = {}
    for case in ElementTree.parse(file).iter("testcase"):
        ends = [f"{end.tag}: {end.attrib['message']}" for end in case if end.tag in ("failure", "error", "skipped")]
        found[case.attrib["name"]] = "; ".join(ends)
    return found


def test_how_each_test_ends(session):
    root, done = session
    found = outcomes(root / "out.xml")
    plain = {name: said.replace("failed on setup with ", "").replace("Failed: ", "") for name, said in found.items()}
    assert {name: said.replace('"', "") for name, said in plain.items()} == {
        name: said.replace('"', "") for name, said in OUTCOMES.items()
    }
    assert "Traceback" not in done.stdout + done.stderr
    assert "site-packages/metabench" not in done.stdout, "a mistake of the user's shows no frame of ours"


def test_what_is_kept_of_a_benchmark(session):
    root, _ = session
    saved = json.loads((root / "out.json").read_text())
    kept = {each["name"]: each for each in saved["benchmarks"]}
    assert set(kept) == {name for name, said in OUTCOMES.items() if not said and "kind" not in name} | {"test_again"}
    one = kept["test_passes"]
    about = one["extra_info"]
    assert one["group"] == "sinusoid, mlp-40x2"
    cell = about["cell"]
    assert (cell["algorithm"], cell["engine"]) == ("sub/mine.py:Mine", "vmap")
    assert (cell["task"], cell["inner_steps"], cell["measure"]) == ("sinusoid", 2, ["time"])
    assert 0 <= about["gate"]["engine_error"] < 1e-8 and 0 < about["gate"]["timed_error"] < 1e-3
    assert list(about["files"]) == ["sub/mine.py"] and len(about["files"]["sub/mine.py"]) == 64
    assert len(about["data"]) == 64
    batches = [kept[f"test_marks[{x}]"]["extra_info"]["cell"]["meta_batch"] for x in (0, 1)]
    assert batches == [3, 2], "the nearest marker counts"
    machine = saved["machine_info"]["metabench"]
    assert machine["packages"]["torch"] and machine["threads"] >= 1


OTHERS = """
import os, sys

def test_nothing_is_loaded():
    assert "metabench.pytest_plugin" in sys.modules
    ours = {name for name in sys.modules if name.startswith("metabench")}
    assert ours == {"metabench", "metabench.pytest_plugin"} | ours & {"metabench.version"}
    assert not {"torch", "numpy", "psutil", "msgspec"} & set(sys.modules)
    assert "GOMP_SPINCOUNT" not in os.environ
"""


def test_who_does_not_use_it_pays_nothing(installed, tmp_path):
    """Nothing heavy is imported, the environment stays, and `metabench` is not named anywhere in a session."""
    (tmp_path / "test_other.py").write_text(OTHERS.replace('"metabench', '"meta" "bench'))
    for without in ("", "-p no:benchmark"):
        done = installed.run(f"{PYTEST} {without} -p no:cacheprovider", tmp_path)
        assert done.returncode == 0, done.stdout
        assert "metabench" not in done.stdout.partition("plugins:")[2].partition("\n")[2]


ONE = """
import pytest

@pytest.mark.metabench("maml/vmap", task="sinusoid", meta_batch=2)
def test_one(meta_iteration):
    meta_iteration()
"""


def test_without_pytest_benchmark_one_sentence_says_what_to_install(installed, tmp_path):
    (tmp_path / "test_one.py").write_text(ONE)
    done = installed.run("pytest -q -p no:benchmark -p no:cacheprovider", tmp_path)
    assert done.returncode == 1
    assert "\nmeta_iteration needs pytest-benchmark: pip install pytest-benchmark\n" in done.stdout
    assert "Traceback" not in done.stdout


def test_beside_other_processes_it_is_proved_and_not_timed(installed, tmp_path):
    """pytest-benchmark says so itself."""
    (tmp_path / "test_one.py").write_text(ONE)
    done = installed.run(f"{PYTEST} -q -n 1 -p no:cacheprovider", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Benchmarks are automatically disabled because xdist plugin is active" in done.stdout + done.stderr


class Node:
    """A test in a session of which it is known, or not, that waiting threads spin no longer than they should."""

    def __init__(self, bounded):
        self.config, self.warned = SimpleNamespace(stash=pytest.Stash()), []
        self.config.stash[BOUNDED] = bounded

    def warn(self, warning):
        self.warned.append(str(warning))


def test_a_warning_where_torch_came_before_the_plug_in():
    ends = {}
    for threads, bounded in ((1, False), (2, True), (2, False)):
        node = Node(bounded)
        MetaIteration(node, None)._warn_of_spinning(threads)
        ends[threads, bounded] = node.warned
    (warned,) = ends.pop((2, False))
    assert "may slow these 2 threads down: set GOMP_SPINCOUNT=5000 and KMP_BLOCKTIME=1, or" in warned
    assert list(ends.values()) == [[], []]


@pytest.mark.parametrize(
    ("implementation", "parts"),
    [
        ("maml/vmap", ("maml", "vmap")),
        ("mine.py:A/vmap", ("mine.py:A", "vmap")),
        ("sub/mine.py:A/vmap", ("sub/mine.py:A", "vmap")),
        ("maml/sub/mine.py:build", ("maml", "sub/mine.py:build")),
        ("sub/a.py:A/sub/b.py:build", ("sub/a.py:A", "sub/b.py:build")),
        ("mine:A/mine:build", ("mine:A", "mine:build")),
    ],
)
def test_algorithm_and_engine_of_an_implementation(implementation, parts):
    assert implementation_parts(implementation) == parts


@pytest.mark.parametrize(("given", "example"), [("maml", "maml"), ("/vmap", "maml"), ("", "maml"), ("maml/", "maml")])
def test_what_is_no_implementation(given, example):
    with pytest.raises(UserError, match=f"an implementation is ALGORITHM/ENGINE, such as {example}/vmap"):
        implementation_parts(given)
