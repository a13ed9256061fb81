"""The pytest plug-in: a marker that names a configuration, a fixture that proves and times its meta-iteration.

pytest loads it in every session where metabench is installed. So nothing heavy is imported before a test uses it, and
without the marker and the fixture it does nothing.

PYTEST_DONT_REWRITE
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from metabench.record.cell import Cell

NAME = "metabench"
MARKER = f'{NAME}("ALGORITHM/ENGINE", axis=value, ...): the configuration that the fixture meta_iteration times'
EXAMPLE = f'@pytest.mark.{NAME}("maml/vmap", task="sinusoid")'
BOUNDED = pytest.StashKey[bool]()
"""Whether threads of OpenMP that wait spin no longer than they should: that is decided when torch is imported."""
THREADS = pytest.StashKey[set[int]]()
"""The numbers of threads that were timed with in this session."""
COMPARED = pytest.StashKey[list[Any]]()
"""The machines of the runs that pytest-benchmark compares with."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the fixture as it can be."""
    config.addinivalue_line("markers", MARKER)
    config.stash[THREADS], config.stash[COMPARED] = set(), []
    fixture = _Timing() if config.pluginmanager.hasplugin("benchmark") else _NoTiming()
    config.pluginmanager.register(fixture, f"{NAME}-fixture")


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector: pytest.Collector) -> None:
    """Bound how long waiting threads spin, before a test file that speaks of metabench imports torch."""
    if isinstance(collector, pytest.Module) and BOUNDED not in collector.config.stash and _speaks_of_it(collector):
        from metabench.machine.cores import bounded_spinning

        variables = bounded_spinning(os.environ)  # none where the user has decided it
        collector.config.stash[BOUNDED] = not variables or "torch" not in sys.modules
        os.environ.update(variables)


def _speaks_of_it(module: pytest.Module) -> bool:
    try:
        return NAME.encode() in module.path.read_bytes()
    except OSError:  # pytest says so itself
        return False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that is marked and does not take the fixture: it would pass without having measured anything."""
    marked = any(marker.name == NAME for marker in item.own_markers)
    if marked and "meta_iteration" not in getattr(item, "fixturenames", ()):
        pytest.fail(f"the marker {NAME} is for tests that take and call the fixture meta_iteration", pytrace=False)


class MetaIteration:
    """What the fixture gives: a function that a test calls once."""

    def __init__(self, node: pytest.Item, benchmark: "BenchmarkFixture") -> None:
        self.node, self.benchmark, self.called = node, benchmark, False

    def __call__(self, implementation: str = "", /, **axes: Any) -> None:
        """Prove the marked configuration right, then time its meta-iteration; what is given here goes first."""
        __tracebackhide__ = True
        from metabench.engines.refusals import refusal
        from metabench.errors import Diverged, Incorrect, Unsupported, UserError

        cell = None
        try:
            cell = self._cell(implementation, axes)
            self._time(cell)
        except (Incorrect, Diverged) as error:
            why = f"{cell.implementation if cell else ''} is not timed: {error}"
        except UserError as error:
            why = str(error)
        except Unsupported as error:
            pytest.skip(str(error))
        except Exception as error:
            if cell and (why := refusal(error, cell.engine) or ""):
                pytest.skip(why)
            raise
        else:
            return
        pytest.fail(why, pytrace=False)

    def _cell(self, implementation: str, axes: Mapping[str, Any]) -> "Cell":
        """The configuration of the markers, from the module to the test, and of the call."""
        from metabench.errors import UserError
        from metabench.machine.cores import default_threads
        from metabench.sweep.spec import parse_sweep

        _look_for_files(self.node.config)
        if self.called:
            raise UserError("a test times one configuration: use @pytest.mark.parametrize for several")
        self.called = True
        asked: dict[str, Any] = {}
        for marker in _from_afar(self.node):
            asked |= _axes(marker.args, marker.kwargs)
        asked |= _axes((implementation,) if implementation else (), axes)
        if not {"algorithm", "engine", "task"} <= asked.keys():
            raise UserError(f"say what is timed, as in {EXAMPLE}")
        (cell,) = parse_sweep(NAME, {"grid": [{**asked, "measure": ["time"]}]}, "", default_threads()).cells
        return cell

    def _time(self, cell: "Cell") -> None:
        import torch
        from msgspec import to_builtins

        from metabench import sources
        from metabench.correctness.fault import refuse
        from metabench.errors import Unsupported
        from metabench.measure.clock import no_garbage_collection
        from metabench.sweep.measuring import gate_record
        from metabench.sweep.proving import configured, proved

        if cell.device == "cuda" and not torch.cuda.is_available():
            raise Unsupported("device cuda was asked for, but torch finds no CUDA device")
        self._warn_of_spinning(cell.threads)
        self.node.config.stash[THREADS].add(cell.threads)
        benchmark = self.benchmark
        with configured(cell):
            workload, meta, result = proved(cell, None)
            run, proof = workload.repeatable(meta), workload.proof(meta)
            refuse(proof.before(run.iteration))
            benchmark.group = benchmark.group or f"{cell.task}, {cell.model}"
            try:
                with no_garbage_collection():
                    benchmark(run.waited)
                seconds = benchmark.stats.stats.median if benchmark.stats else None
                refuse(proof.after(run.iteration, run.episodes, seconds))
            except BaseException:
                benchmark.has_error = True  # what was timed is not kept
                raise
        benchmark.extra_info["cell"] = cell.to_json()
        benchmark.extra_info["gate"] = to_builtins(gate_record(result, proof))
        benchmark.extra_info["files"] = sources.digests()
        benchmark.extra_info["data"] = workload.distribution.provenance.content_hash

    def _warn_of_spinning(self, threads: int) -> None:
        if threads > 1 and not self.node.config.stash.get(BOUNDED, False):
            self.node.warn(
                pytest.PytestWarning(
                    "torch was imported before metabench could bound how long waiting threads spin, so that other "
                    f"programs may slow these {threads} threads down: set GOMP_SPINCOUNT=5000 and KMP_BLOCKTIME=1, "
                    "or import torch in no conftest.py"
                )
            )


def _from_afar(node: pytest.Item) -> list[pytest.Mark]:
    """The markers of a test: those of its module, its class, its function, and of its parameters last."""
    parameters = getattr(getattr(node, "callspec", None), "marks", [])
    return [*reversed(list(node.iter_markers(NAME))), *(mark for mark in parameters if mark.name == NAME)]


def _look_for_files(config: pytest.Config) -> None:
    """Have names such as `mine.py:SignMAML` mean files in pytest's root folder, until the session ends."""
    from metabench import sources

    if sources.folder() != config.rootpath:
        before = os.environ.get(sources.VARIABLE)
        sources.use(config.rootpath)
        config.add_cleanup(lambda: _set(sources.VARIABLE, before))


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def _axes(names: Iterable[Any], axes: Mapping[str, Any]) -> dict[str, Any]:
    """What a marker or a call says, by axis. Raises `UserError` for a name that none has, and for several values."""
    from metabench.errors import UserError, unknown
    from metabench.profile.measuring import implementation_parts
    from metabench.record.cell import AXES

    settable = [name for name, axis in AXES.items() if axis.settable]
    for name, value in axes.items():
        if name not in settable:
            raise unknown("axis", name, settable)
        if isinstance(value, (list, tuple)):
            raise UserError(
                f"axis '{name}' takes one value here: use @pytest.mark.parametrize, and hand each value over by "
                f"meta_iteration({name}={name})"
            )
    found = dict(axes)
    for given in names:
        if not isinstance(given, str) or found.keys() & {"algorithm", "engine"}:
            raise UserError(f"the marker {NAME} takes one name, and axes by theirs, as in {EXAMPLE}")
        found |= zip(("algorithm", "engine"), implementation_parts(given), strict=True)
    return found


class _Timing:
    """The fixture where pytest-benchmark is there."""

    @pytest.fixture
    def meta_iteration(self, request: pytest.FixtureRequest, benchmark: "BenchmarkFixture") -> MetaIteration:
        """Prove a meta-iteration right and benchmark it: meta_iteration(), or meta_iteration(axis=value)."""
        return MetaIteration(request.node, benchmark)


class _NoTiming:
    """The fixture where pytest-benchmark is missing."""

    @pytest.fixture
    def meta_iteration(self) -> None:
        """Need pytest-benchmark, which is not installed."""
        from metabench.extras import INSTALL

        pytest.fail(f"meta_iteration needs pytest-benchmark: {INSTALL['pytest-benchmark']}", pytrace=False)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Keep the machine with the benchmarks, if one of them is ours."""
    if threads := config.stash[THREADS]:
        from msgspec import to_builtins

        from metabench.machine.fingerprint import fingerprint

        machine_info[NAME] = to_builtins(fingerprint(max(threads)))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(config: pytest.Config, compared_benchmark: dict[str, Any]) -> None:
    """Take our part of the machine out of the comparison: the time and the load in it differ in every session."""
    config.stash[COMPARED].append(compared_benchmark["machine_info"].pop(NAME, None))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where times are compared with those of another machine, torch or Python."""
    threads, compared = config.stash[THREADS], [one for one in config.stash[COMPARED] if one]
    if threads and compared:
        from msgspec import to_builtins

        from metabench.machine.fingerprint import fingerprint

        here = _label(to_builtins(fingerprint(max(threads))))
        for there in dict.fromkeys(map(_label, compared)):
            if there != here:
                terminalreporter.write_line(f"{NAME}: compared with times of {there}; these are of {here}", yellow=True)


def _label(machine: Any) -> str:
    from metabench.record.environment import Environment, Machine
    from metabench.record.reading import typed

    try:
        return Environment(machine=typed(machine, Machine)).machine_label
    except ValueError:
        return "an unknown machine"
