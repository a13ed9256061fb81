"""Servers fork the processes of cells: each by itself, ended whole, and with what it was told of the environment."""

import json
import os
import sys
import textwrap
import time
from pathlib import Path
from threading import Event, Timer

import psutil
import pytest

from metabench.sweep import servers
from metabench.sweep.process import worker_environment
from metabench.sweep.servers import Server, Servers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

STAND_IN = """
import runpy, sys
from metabench.sweep import server, worker
worker.main = lambda: runpy.run_path(sys.argv[1], {"result": sys.argv[2]})
server.main()
"""
"""A server whose cells run their job as a program."""
TELL = """
import json, os, sys, torch
told = {"pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(), "hash": hash("a name"),
        "threads": len(os.listdir("/proc/self/task")), "cuda": torch.cuda.is_initialized(),
        "variables": dict(os.environ), "modules": list(sys.modules)}
"""
NOTED = f"{TELL}\njson.dump(told, open(result, 'w'))\nos._exit(0)"
LIMIT_S = 300.0


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.setattr(servers, "START", STAND_IN)


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "START", STAND_IN)
        server = Server(worker_environment(1))
    yield server
    server.close()


def run(server: Server, folder: Path, program: str, limit: float = LIMIT_S, stop: Event | None = None) -> int | None:
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(textwrap.dedent(program))
    return server.run(folder, limit, stop)


def told(server: Server, folder: Path, program: str = NOTED) -> dict:
    assert run(server, folder, program) == 0, (folder / "messages").read_text()
    return json.loads((folder / "result.json").read_text())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("program", "code", "last"),
    [
        ("import os; os._exit(0)", 0, ""),
        ("import sys; sys.exit(3)", 1, "SystemExit: 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11, ""),
        ("raise MemoryError('none left')", 1, "MemoryError: none left"),
        ("import os; os.write(2, b'written by a library'); os.abort()", -6, "written by a library"),
    ],
)
def test_how_a_process_ended_is_told_with_what_it_wrote(server, tmp_path, program, code, last):
    assert run(server, tmp_path, program) == code
    assert (tmp_path / "messages").read_text().strip().endswith(last)


def test_every_cell_has_a_process_and_a_session_of_its_own(server, tmp_path):
    first = told(server, tmp_path / "first", f"import os, sys\nos.environ['LEFT'] = sys.left = 'here'\n{NOTED}")
    second = told(server, tmp_path / "second", f"import sys\nassert not hasattr(sys, 'left')\n{NOTED}")
    assert first["pid"] != second["pid"]
    assert first["parent"] == second["parent"]
    assert [each["session"] == each["pid"] for each in (first, second)] == [True, True]
    assert "LEFT" in first["variables"] and "LEFT" not in second["variables"]


def test_nothing_that_a_fork_would_break_is_there_before_it(server, tmp_path):
    found = told(server, tmp_path)
    assert (found["threads"], found["cuda"]) == (1, False)
    assert {"torch", "metabench.engines.vmap", "metabench.tasks.omniglot"} <= set(found["modules"])
    slow = {"torch._dynamo", "torch._inductor", "triton", "jax", "scipy", "pandas", "matplotlib", "torchvision", "PIL"}
    assert slow & set(found["modules"]) == set()


def test_plug_ins_are_loaded_after_the_fork(tmp_path, in_plugin):
    asks = "from metabench.algorithms.base import ALGORITHMS\nassert 'plugged' in ALGORITHMS\n"
    with Servers() as some, some.of(0)({**worker_environment(1), **in_plugin}) as server:
        assert "metabench_test_plugin" not in told(server, tmp_path / "before")["modules"]
        assert "metabench_test_plugin" in told(server, tmp_path / "asked", asks + NOTED)["modules"]


def test_a_process_is_ended_at_its_limit_and_the_next_one_runs(server, tmp_path):
    assert run(server, tmp_path / "long", "import time; time.sleep(1000)", limit=0.2) is None
    assert run(server, tmp_path / "short", "import os; os._exit(7)") == 7


@pytest.mark.parametrize(("after", "limit"), [("os._exit(0)", LIMIT_S), ("time.sleep(1000)", 5.0)])
def test_what_a_cell_has_started_ends_with_it(server, tmp_path, after, limit):
    program = f"""
    import os, subprocess, time
    other = subprocess.Popen(["sleep", "1000"])
    open(result, "w").write(str(other.pid))
    {after}
    """
    run(server, tmp_path, program, limit)
    wait_for(lambda: gone(int((tmp_path / "result.json").read_text())))


def test_a_request_to_stop_ends_what_runs(tmp_path):
    stop = Event()
    note = "import os, time\nopen(result, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    Timer(0.0, lambda: (wait_for(lambda: (tmp_path / "result.json").exists()), stop.set())).start()
    with Servers() as some, pytest.raises(KeyboardInterrupt), some.of(0)(worker_environment(1)) as server:
        run(server, tmp_path, note, stop=stop)
    assert gone(int((tmp_path / "result.json").read_text() or "0"))


def test_a_server_that_is_killed_takes_its_cell_along_and_is_replaced(tmp_path):
    with Servers() as some:
        lend = some.of(0)
        with lend(worker_environment(1)) as server:
            assert run(server, tmp_path / "one", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)") == -9
        with lend(worker_environment(1)) as other:
            assert other is not server
            assert run(other, tmp_path / "two", "import os; os._exit(0)") == 0


def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "START", "raise ImportError('no torch here')")
    with Servers() as some, some.of(0)(worker_environment(1)) as server:
        wait_for(lambda: not server.serves)
        assert run(server, tmp_path, "") == 1
    assert (tmp_path / "messages").read_text().strip().endswith("ImportError: no torch here")


def test_a_server_that_is_stuck_before_it_forks_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "START", "import time; time.sleep(1000)")
    monkeypatch.setattr(servers, "LOADING_S", 0.1)
    with Servers() as some, some.of(0)(worker_environment(1)) as server:
        assert run(server, tmp_path, "", limit=0.1) is None
        assert not server.serves


def test_a_repetition_has_a_server_for_itself(tmp_path):
    """Cells of a repetition share a seed of hashes and a layout; repetitions, and other variables, do not."""
    plain = {name: value for name, value in worker_environment(1).items() if name != "PYTHONHASHSEED"}
    wide = {**plain, "OMP_NUM_THREADS": "2"}
    found = {}
    with Servers() as some:
        for name, repetition, variables in (
            ("first", 0, plain), ("again", 0, plain), ("wide", 0, wide), ("later", 1, plain),
        ):  # fmt: skip
            with some.of(repetition)(variables) as server:
                found[name] = told(server, tmp_path / name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "platform", "darwin")
            assert some.of(0) is None
    assert found["first"]["parent"] == found["again"]["parent"]
    assert found["first"]["hash"] == found["again"]["hash"]
    assert len({found[name]["parent"] for name in ("first", "wide", "later")}) == 3
    assert len({found[name]["hash"] for name in ("first", "wide", "later")}) == 3
    assert [found[name]["variables"]["OMP_NUM_THREADS"] for name in ("first", "wide")] == ["1", "2"]
    assert all(gone(each["parent"]) for each in found.values())
    assert os.getpid() not in {each["parent"] for each in found.values()}
