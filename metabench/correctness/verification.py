"""`metabench verify`: the correctness gate and the contracts, in settings small enough to take minutes for all.

Engines that compile are left out of that: they take minutes for each algorithm.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.correctness.case import ModelCase, TaskCase, nudged
from metabench.correctness.contract import check_algorithm, check_model, check_tasks
from metabench.correctness.gate import Correctness, held
from metabench.correctness.outcome import Finding, Word
from metabench.correctness.settings import CONTRACT_SETTINGS, SETTINGS, Setting, case_of
from metabench.engines import loop
from metabench.engines.base import ENGINES, Engine, in_process
from metabench.engines.refusals import refusal
from metabench.errors import Unsupported, UserError, in_short
from metabench.models.base import MODELS, ModelFactory
from metabench.registry import Registry
from metabench.sources import path_of
from metabench.tasks.base import TASKS, EpisodeShape, Kind, TaskSource

SHAPES: Mapping[Kind, Sequence[EpisodeShape]] = {
    "classification": (EpisodeShape(5, 2, 3), EpisodeShape(2, 1, 1)),
    "regression": (EpisodeShape(1, 10, 5),),
}
"""How large tasks are in the contracts of models and task distributions: the first shape that is not `Unsupported`."""

Choices: TypeAlias = tuple[tuple[str, Any], ...]
"""Values of axes that say which data a task distribution is built on."""
CONTRACT = ": contract"
CALL = "call"
"""The clause that stands for all others where a plug-in raises before any can be tried."""
HEADERS = ("implementation", "setting", "against loop", "loop against differences", "verdict")
Names: TypeAlias = str | Callable[..., object] | Sequence[str | Callable[..., object]]
"""Names, or classes and functions that can be named by their path; alone or several."""
Begin: TypeAlias = Callable[[str, str], object]
"""Function that is told what is tried next, and in which setting."""


@dataclass(frozen=True)
class Verdict:
    """One implementation in one setting: its errors, or why there are none."""

    implementation: str
    setting: Setting
    word: Word
    gate: Correctness | None
    reason: str


PluginKind: TypeAlias = Literal["algorithm", "model", "task"]


@dataclass(frozen=True)
class Compliance:
    """One algorithm, model or task distribution: what came of each clause of its contract."""

    kind: PluginKind
    name: str
    setting: str
    """What it was tried on."""
    findings: tuple[Finding, ...]
    reason: str = ""
    """Why it is not for the setting; then there are no findings."""

    @property
    def word(self) -> Word:
        """`incorrect` if any clause is, `unsupported` without findings, else `ok`."""
        if not self.findings:
            return "unsupported"
        return "incorrect" if any(finding.word == "incorrect" for finding in self.findings) else "ok"

    @property
    def summary(self) -> str:
        """How many clauses came to what, in a few words."""
        if not self.findings:
            return f"unsupported: {self.reason}"
        counts = Counter(finding.word for finding in self.findings)
        return ", ".join(f"{word}: {counts[word]}" for word in get_args(Word) if counts[word]) + " clauses"


Checked: TypeAlias = Verdict | Compliance


def verify(algorithms: Sequence[str], engines: Sequence[str], settings: Sequence[Setting]) -> Iterator[Verdict]:
    """Check every algorithm against its definition, and every engine against `loop`, on the CPU in float64."""
    for setting in settings:
        for algorithm in algorithms:
            for engine in engines:
                yield _verify(algorithm, engine, setting)


def _verify(algorithm: str, engine: str, setting: Setting) -> Verdict:
    name = f"{algorithm}/{engine}"
    try:
        result = _gate(ALGORITHMS.get(algorithm), ENGINES.get(engine), setting)
    except Unsupported as error:
        return Verdict(name, setting, "unsupported", None, str(error))
    except Exception as error:  # whatever somebody else's code raises is the verdict on it
        if why := refusal(error, engine):
            return Verdict(name, setting, "unsupported", None, why)
        return Verdict(name, setting, "incorrect", None, f"it raises {type(error).__name__}: {in_short(error)}")
    return Verdict(name, setting, "ok" if result.passed else "incorrect", result, result.reason)


def _gate(algorithm: type[Algorithm], engine: Engine, setting: Setting) -> Correctness:
    case = case_of(algorithm, setting)
    built = case.algorithm(inner_steps=setting.inner_steps)
    step, meta = engine.build(built), nudged(built)
    result = held(built, step(meta, case.episodes), loop.build(built)(meta, case.episodes), meta, case.episodes)
    return result if result.cause else replace(result, definition_error=_definition_error(algorithm, setting))


@cache
def _definition_error(algorithm: type[Algorithm], setting: Setting) -> float:
    """The error of `loop` against the definition: it takes most of the time, and all engines share it."""
    case = case_of(algorithm, setting)
    return case.definition_error(case.algorithm(inner_steps=setting.inner_steps))


def comply(algorithms: Sequence[str], settings: Sequence[Setting] = CONTRACT_SETTINGS) -> Iterator[Compliance]:
    """Check every algorithm against the contract of algorithms."""
    for name, setting in product(algorithms, settings):
        yield _comply(name, setting)


def _comply(name: str, setting: Setting) -> Compliance:
    case = case_of(ALGORITHMS.get(name), setting)
    return _held("algorithm", name, f"{setting.task}, {setting.model}", lambda: check_algorithm(case))


def comply_tasks(tasks: Sequence[str], data_dir: Path | None = None) -> Iterator[Compliance]:
    """Check every task distribution against the contract of task distributions."""
    for name in tasks:
        yield _comply_tasks(name, data_dir)


def _comply_tasks(name: str, data_dir: Path | None, choices: Choices = ()) -> Compliance:
    source = TASKS.get(name)
    return _held("task", name, source.kind, lambda: check_tasks(_task_case(source, data_dir, choices)))


def comply_models(
    models: Sequence[str], tasks: Sequence[str] | None = None, data_dir: Path | None = None
) -> Iterator[Compliance]:
    """Check every model against the contract of models, on inputs of these task distributions, or of all.

    Of distributions whose inputs look alike, the first counts. A model need not take all inputs: it is incorrect to
    raise anything but `Unsupported` only if there are none that it takes.
    """
    inputs = distinct_inputs(TASKS.names() if tasks is None else tasks, data_dir)
    for name, task in product(models, inputs):
        yield _comply_model(name, task, inputs)


def _comply_model(name: str, task: str, inputs: Mapping[str, TaskCase]) -> Compliance:
    build = MODELS.get(name)
    compliance = _held("model", name, task, lambda: check_model(_model_case(build, inputs[task])))
    (first, *_) = (*compliance.findings, None)
    if first and first.clause == CALL and any(_takes(build, inputs[other]) for other in inputs if other != task):
        return Compliance("model", name, task, (), first.reason)
    return compliance


def _model_case(build: ModelFactory, tried: TaskCase) -> ModelCase:
    return ModelCase(build, tried.distribution.input_shape, tried.distribution.outputs, tried.inputs)


def _takes(build: ModelFactory, tried: TaskCase) -> bool:
    try:
        next(check_model(_model_case(build, tried)))
    except Exception:
        return False
    return True


def distinct_inputs(tasks: Sequence[str], data_dir: Path | None = None, choices: Choices = ()) -> dict[str, TaskCase]:
    """The first of the task distributions with inputs of each shape and type, for each number of outputs.

    What cannot be sampled is left out: its own contract says why.
    """
    first: dict[object, tuple[str, TaskCase]] = {}
    for name in tasks:
        try:
            case = _task_case(TASKS.get(name), data_dir, choices)
            key = case.distribution.input_shape, case.distribution.outputs, case.inputs.dtype
        except Exception:  # whatever somebody else's code raises
            continue
        first.setdefault(key, (name, case))
    return dict(first.values())


@cache
def _task_case(source: TaskSource, data_dir: Path | None, choices: Choices) -> TaskCase:
    """A task distribution of the first shape that all its splits can serve; raises what building it raises."""
    *others, least = (
        TaskCase(partial(source.on, shape, data_dir, dict(choices)), shape, source.kind)
        for shape in SHAPES[source.kind]
    )
    for case in others:
        try:
            _ = case.batches
        except Unsupported:
            continue
        except Exception:  # its contract says what it raises
            pass
        return case
    return least


def _held(kind: PluginKind, name: str, setting: str, check: Callable[[], Iterator[Finding]]) -> Compliance:
    try:
        return Compliance(kind, name, setting, tuple(check()))
    except (Unsupported, UserError) as error:
        return Compliance(kind, name, setting, (), str(error))
    except Exception as error:  # whatever somebody else's code raises is the verdict on it
        reason = f"it raises {type(error).__name__}: {in_short(error)}"
        return Compliance(kind, name, setting, (Finding(CALL, "incorrect", float("inf"), reason),))


@dataclass(frozen=True)
class Chosen:
    """What is to be tried; models on inputs of `inputs`."""

    algorithms: Sequence[str]
    engines: Sequence[str]
    models: Sequence[str]
    tasks: Sequence[str]
    inputs: Sequence[str]
    choices: Choices = ()

    def checks(self, data_dir: Path | None, begin: Begin) -> Iterator[Checked]:
        """Try all of it, one after the other; `begin` is told what is tried next."""
        for name in self.algorithms:
            for setting, engine in product(SETTINGS, self.engines):
                begin(f"{name}/{engine}", str(setting))
                yield _verify(name, engine, setting)
            for setting in CONTRACT_SETTINGS:
                begin(f"{name}{CONTRACT}", f"{setting.task}, {setting.model}")
                yield _comply(name, setting)
        for name in self.tasks:
            begin(f"task {name}{CONTRACT}", TASKS.get(name).kind)
            yield _comply_tasks(name, data_dir, self.choices)
        tried = distinct_inputs(self.inputs, data_dir, self.choices) if self.models else {}
        for name, task in product(self.models, tried):
            begin(f"model {name}{CONTRACT}", task)
            yield _comply_model(name, task, tried)


def choose(algorithms: Names = (), engines: Names = (), models: Names = (), tasks: Names = ()) -> Chosen:
    """What is meant by names, alone, in a list or with commas between; `all` is every one.

    Where nothing is named, that is everything. Engines are those that need no compiler, unless some are named. Raises
    `UserError` for a name that is not there.
    """
    tried = [_named(*each) for each in ((ALGORITHMS, algorithms), (MODELS, models), (TASKS, tasks))]
    if not any(tried):
        tried = [ALGORITHMS.names(), MODELS.names(), TASKS.names()]
    return Chosen(tried[0], _named(ENGINES, engines) or in_process(), tried[1], tried[2], tried[2] or TASKS.names())


def _named(registry: Registry[Any], given: Names) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else [given] if callable(given) else given
    names = [part if isinstance(part, str) else path_of(part) for part in parts]
    listed = registry.names() if names == ["all"] else [name for name in names if name]
    for name in listed:
        registry.get(name)
    return listed


def words_of(found: Checked) -> Counter[Word]:
    """How the direction, or the clauses of the contract, ended."""
    return Counter(
        [found.word] if isinstance(found, Verdict) else [finding.word for finding in found.findings],
    )


def lines(found: Checked) -> list[tuple[str, ...]]:
    """Lines of a table with the columns `HEADERS`: one for the check, and one for each clause that is broken."""
    if isinstance(found, Verdict):
        gate = found.gate
        errors = (f"{gate.engine_error:.1e}", f"{gate.definition_error:.1e}") if gate else ("", "")
        verdict = found.word if found.word == "ok" else f"{found.word}: {found.reason}"
        return [(found.implementation, str(found.setting), *errors, verdict)]
    name = found.name if found.kind == "algorithm" else f"{found.kind} {found.name}"
    broken = [finding for finding in found.findings if finding.word == "incorrect"]
    return [
        (f"{name}{CONTRACT}", found.setting, "", "", found.summary),
        *((f"{name}: {each.clause}", found.setting, "", "", f"incorrect: {each.reason}") for each in broken),
    ]
