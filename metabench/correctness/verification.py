"""`metabench verify`: the correctness gate and the contract, in settings small enough to take a minute for all.

Engines that compile are left out of that: they take minutes for each algorithm.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Protocol, get_args

from metabench.algorithms.base import ALGORITHMS, Algorithm, Learner
from metabench.correctness.case import Case, distance, nudged
from metabench.correctness.contract import Finding, Word, check_contract
from metabench.correctness.gate import Correctness
from metabench.engines import loop
from metabench.engines.base import ENGINES, Engine
from metabench.errors import Unsupported, in_short
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape, TaskDistribution


@dataclass(frozen=True)
class Setting:
    """One task, model and number of inner steps; rates are those of the published protocols, for mean losses."""

    task: str
    shape: EpisodeShape
    model: str
    inner_steps: int
    inner_lr: float

    def __str__(self) -> str:
        return f"{self.task}, {self.model}, inner steps: {self.inner_steps}"


_POINTS, _IMAGES = EpisodeShape(1, 10, 10), EpisodeShape(5, 1, 2)
SETTINGS = (
    Setting("sinusoid", _POINTS, "mlp-40x2", 1, 0.01),
    Setting("sinusoid", _POINTS, "mlp-40x2", 5, 0.01),
    Setting("glyphs", _IMAGES, "conv4-16", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8", 5, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-maxpool", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-nonorm", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-nonorm", 5, 0.4),
)
"""Networks of two blocks: a compiler takes ten minutes for four, and two have every kind of layer."""
CONTRACT_SETTINGS = (SETTINGS[0], SETTINGS[2])
"""One of each kind of task; the contract has inner steps of its own."""


CONTRACT = ": contract"
HEADERS = ("implementation", "setting", "against loop", "loop against differences", "seconds", "verdict")


class Rows(Protocol):
    """A table that grows by rows: what is tried is shown first, and beside it, later, what came of it."""

    def begin(self, *cells: str) -> None: ...
    def end(self, *cells: str) -> None: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Verdict:
    """One implementation in one setting: its errors, or why there are none."""

    implementation: str
    setting: Setting
    word: Word
    gate: Correctness | None
    reason: str


@dataclass(frozen=True)
class Compliance:
    """One algorithm in one setting: what came of each clause of the contract."""

    algorithm: str
    setting: Setting
    findings: tuple[Finding, ...]
    reason: str = ""
    """Why the algorithm is not for the setting; then there are no findings."""

    @property
    def summary(self) -> str:
        """How many clauses came to what, in a few words."""
        if not self.findings:
            return f"unsupported: {self.reason}"
        counts = Counter(finding.word for finding in self.findings)
        return ", ".join(f"{word}: {counts[word]}" for word in get_args(Word) if counts[word]) + " clauses"


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
        return Verdict(name, setting, "incorrect", None, f"it raises {type(error).__name__}: {in_short(error)}")
    return Verdict(name, setting, "ok" if result.passed else "incorrect", result, result.reason)


def _gate(algorithm: type[Algorithm], engine: Engine, setting: Setting) -> Correctness:
    case = case_of(algorithm, setting)
    built = case.algorithm(inner_steps=setting.inner_steps)
    step, meta = engine.build(built), nudged(built)
    engine_error = distance(step(meta, case.episodes), loop.build(built)(meta, case.episodes))
    return Correctness(engine_error, _definition_error(algorithm, setting))


@cache
def _definition_error(algorithm: type[Algorithm], setting: Setting) -> float:
    """The error of `loop` against the definition: it takes most of the time, and all engines share it."""
    case = case_of(algorithm, setting)
    return case.definition_error(case.algorithm(inner_steps=setting.inner_steps))


def comply(algorithms: Sequence[str], settings: Sequence[Setting] = CONTRACT_SETTINGS) -> Iterator[Compliance]:
    """Check every algorithm against the contract."""
    for algorithm in algorithms:
        for setting in settings:
            yield _comply(algorithm, setting)


def _comply(algorithm: str, setting: Setting) -> Compliance:
    try:
        return Compliance(algorithm, setting, tuple(check_contract(case_of(ALGORITHMS.get(algorithm), setting))))
    except Unsupported as error:
        return Compliance(algorithm, setting, (), str(error))


def widths(algorithms: Sequence[str], engines: Sequence[str]) -> tuple[int, ...]:
    """The characters that the columns of `HEADERS` need, but for the last."""
    tried = [f"{name}{what}" for name in algorithms for what in (CONTRACT, *(f"/{engine}" for engine in engines))]
    return max(map(len, tried)), max(len(str(setting)) for setting in SETTINGS), 0, 0, 0


def show_checks(algorithms: Sequence[str], engines: Sequence[str], table: Rows) -> Counter[Word]:
    """Verify every algorithm on every engine, and hold it to the contract; counts how the checks ended.

    Each direction is a row of the table, and so are each contract and each clause of it that is broken.
    """
    words: Counter[Word] = Counter()
    for name in algorithms:
        for setting, engine in product(SETTINGS, engines):
            table.begin(f"{name}/{engine}", str(setting))
            v = _verify(name, engine, setting)
            errors = (f"{v.gate.engine_error:.1e}", f"{v.gate.definition_error:.1e}") if v.gate else ("", "")
            table.end(*errors, f"{table.seconds:.1f}", v.word if v.word == "ok" else f"{v.word}: {v.reason}")
            words[v.word] += 1
        for setting in CONTRACT_SETTINGS:
            where = f"{setting.task}, {setting.model}"
            table.begin(f"{name}{CONTRACT}", where)
            c = _comply(name, setting)
            table.end("", "", f"{table.seconds:.1f}", c.summary)
            for f in c.findings:
                if f.word == "incorrect":
                    table.end(f"{name}: {f.clause}", where, "", "", "", f"incorrect: {f.reason}")
            words.update(finding.word for finding in c.findings)
    return words


def case_of(algorithm: Callable[..., Algorithm], setting: Setting) -> Case:
    """What the contract tries on an algorithm's class in a setting."""
    learner, distribution = _problem(setting)
    return Case(algorithm, learner, setting.inner_lr, distribution)


@cache
def _problem(setting: Setting) -> tuple[Learner, TaskDistribution]:
    distribution = _distribution(setting.task, setting.shape)
    model = MODELS.get(setting.model)(distribution.input_shape, distribution.outputs)
    return Learner(model, distribution.kind, distribution.training_classes), distribution


@cache
def _distribution(task: str, shape: EpisodeShape) -> TaskDistribution:
    return TASKS.get(task).build(shape, None)
