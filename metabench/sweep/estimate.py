"""What a measurement will take, in seconds and in bytes, before it begins.

The constants were read off the committed runs. Before anything is measured, most guesses of a whole run are right
within a factor of two; a run learns by how much they are off (`remaining.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.inner_optimizers import LINEAR
from metabench.algorithms.reversal import most_computations
from metabench.engines.base import ENGINES
from metabench.record.axes import LARGEST_WHOLE
from metabench.record.cell import Cell
from metabench.sweep.scoring import VALIDATION_TASKS
from metabench.sweep.sizes import NetworkSize, adapts_head_alone, network_size
from metabench.sweep.spec import Settings
from metabench.sweep.trainings import taken_over
from metabench.text import counted, span

UNKNOWN = NetworkSize(100_000, 50_000, 2e6, 2e6, 30)
"""What stands for a network whose size cannot be known."""
GRADIENT, GRADIENT_OF_GRADIENT = 3, 9
"""Forward passes that a gradient costs as much as, and a gradient that is differentiated again."""
SOLVE = 60
"""Forward passes that an implicit derivative costs as much as."""
HEAD_STEP = 0.3
"""Forward passes that an inner step of the head alone costs as much as."""


@dataclass(frozen=True)
class Speed:
    """What a device does in how many seconds."""

    start: float
    """A process: on a processor a server that has imported torch forks it, on a GPU it starts from nothing."""
    call: float
    """An operator that is called for one task."""
    batched_call: float
    """An operator that is called for all tasks at once, through torch.func.vmap."""
    flop: float
    """A floating-point operation."""
    activation: float
    """A number that an operator gives out."""
    parameter: float
    """A parameter that a pass goes through, for each task."""


SPEEDS = {
    "cpu": Speed(0.7, 10e-6, 40e-6, 1 / 60e9, 0.4e-9, 0.8e-9),
    "cuda": Speed(7.0, 30e-6, 100e-6, 1 / 5e12, 1e-11, 2e-11),
}
NATIVE = Speed(0.7, 3e-8, 0.0, 1 / 90e9, 5e-11, 1e-10)
"""What the engine `native` does in how many seconds: its code calls nothing, and goes through its memory once."""
COMPILED_CALL = 1e-6
"""Seconds of an operator in compiled code."""
COMPILE, COMPILE_A_CALL = 5.0, 0.025
"""Seconds of compiling an iteration: of any, and for each of its operators."""
NATIVE_IMAGES = 0.08
"""Seconds for each operator on images that `native` compiles, in both precisions: its loops are longer."""
IMAGES = 4
"""Operations for each parameter from which on a network convolves: a dense one has two."""
GATE = 16
"""Directions of two tasks in float64 that the gate takes as long as, differences and proof included."""
TIMING, FEWEST, MOST = 1.3, 8, 10
"""Budgets that a timing takes, warm-up included; iterations that it takes at the least, and budgets at the most."""
MEASURES = {
    "time": 0.5,
    "memory": 0.4,
    "phases": 0.8,
    "work": 4.5,
    "energy": 2.0,
    "instructions": 30.0,
    "adaptation": 0.2,
    "double_backward": 0.1,
    "quality": 0.3,
}
"""Seconds that a measure takes beside its meta-iterations."""
ITERATIONS = {"instructions": 60, "memory": 4, "phases": 8, "work": 2, "energy": 10}
"""Meta-iterations of a measure that takes a fixed number."""
APART = {"adaptation": 1.5, "double_backward": 1.0}
"""Budgets that a measure takes which times something else than a meta-iteration."""


@dataclass(frozen=True)
class Expected:
    """The seconds of a measurement."""

    fixed: float
    """Seconds that it takes whatever its size is: starting, compiling, the time budget."""
    work: float
    """Seconds of meta-iterations, of evaluation and of the gate: what a wrong guess of a step's time multiplies."""

    @property
    def seconds(self) -> float:
        return self.fixed + self.work


def expected(cell: Cell, settings: Settings, trains: bool = True) -> Expected:
    """What a measurement of the cell takes; it `trains` unless another configuration of the run does so for it."""
    size, speed = _size(cell), _speed(cell)
    step = step_seconds(cell)
    fixed = speed.start + sum(MEASURES.get(measure, 0.0) for measure in cell.measure)
    work = GATE * step_seconds(replace(cell, engine="loop", meta_batch=2, world_size=1, precision="float64"))
    work += step * sum(ITERATIONS.get(measure, 0) for measure in cell.measure)
    if compiles(cell):
        on_images = cell.engine == "native" and size.flops > IMAGES * size.parameters
        a_call = NATIVE_IMAGES if on_images else COMPILE_A_CALL
        fixed += COMPILE + a_call * sum(passes(_written(cell, size))) * size.calls
    if "time" in cell.measure:
        budget = settings.time_budget_s
        fixed += TIMING * budget
        work += max(0.0, min(FEWEST * step, MOST * budget + step) - TIMING * budget)
    fixed += TIMING * settings.time_budget_s * sum(APART.get(measure, 0.0) for measure in cell.measure)
    if "quality" in cell.measure:
        watched = (settings.curve_points + 1) * min(VALIDATION_TASKS, cell.eval_tasks)
        work += cell.iterations * step if trains else 0.0
        work += (cell.eval_tasks + watched) * evaluation_seconds(cell)
    return Expected(fixed, work)


def beyond_limit(cells: Sequence[Cell], settings: Settings) -> str:
    """A sentence on what is expected to take longer than the time limit lets it; empty where nothing is."""
    others_train = taken_over(cells)
    trained = {cell.id: cell for cell in cells if "quality" in cell.measure and cell.id not in others_train}
    guesses = {name: expected(cell, settings).seconds for name, cell in trained.items()}
    limit = settings.time_limit_s
    late = sorted((name for name, seconds in guesses.items() if seconds > limit), key=lambda name: -guesses[name])
    if not late:
        return ""
    longest, *others = late
    more = f", and {counted(len(others), 'other training')} longer than that limit" if others else ""
    enough = _rounded_up(2 * guesses[longest])
    remedy = "go on with what was ended by --resume"
    if enough <= LARGEST_WHOLE:
        remedy = f"set time_limit_s = {enough} in [run], or {remedy}"
    return (
        f"time_limit_s ends each measurement after {span(limit)}, and {trained[longest].describe()} is expected to "
        f"take about {span(guesses[longest])}{more}: {remedy}"
    )


def _rounded_up(seconds: float) -> int:
    """Whole hours, or hundreds of seconds below an hour."""
    unit = 3600 if seconds > 3600 else 100
    return unit * math.ceil(seconds / unit)


def step_seconds(cell: Cell) -> float:
    """Seconds of one meta-iteration."""
    size, speed = _size(cell), _speed(cell)
    engine = ENGINES.get(cell.engine)
    support, query = passes(cell)
    tasks = max(1.0, cell.meta_batch / cell.world_size)
    wide = 2 if cell.precision == "float64" else 1
    if compiles(cell):
        calls = COMPILED_CALL * tasks
    else:
        calls = speed.batched_call if engine.concurrent_tasks else speed.call * tasks
    examples = support * cell.train_ways * cell.train_shots + query * cell.train_ways * cell.query
    if cell.engine == "native":
        a_pass = size.calls * NATIVE.call + size.parameters * NATIVE.parameter
        an_example = size.tiled_flops * NATIVE.flop + size.activations * NATIVE.activation
        return wide * ((support + query) * a_pass + examples * an_example) * math.ceil(tasks / max(1, cell.threads))
    arithmetic = (
        examples * _of_example(size, speed, cell.threads) + (support + query) * size.parameters * speed.parameter
    )
    return (support + query) * size.calls * calls + wide * tasks * arithmetic


def evaluation_seconds(cell: Cell) -> float:
    """Seconds of the adaptation to a held-out task, and of its score after each step, which takes the whole network."""
    size, speed = _size(cell), _speed(cell)
    steps = 0 if ALGORITHMS.get(cell.algorithm).order == "none" else cell.eval_steps
    support, query = 1 + (HEAD_STEP if _head_alone(cell) else GRADIENT) * steps, steps + 1
    queries = cell.ways * cell.eval_query
    if cell.batch_norm == "one-query":  # each of them goes with the support set
        queries *= cell.ways * cell.shots + 1
    examples = support * (cell.eval_batch or cell.ways * cell.shots) + query * queries
    return (support + query) * size.calls * speed.call + examples * _of_example(size, speed, cell.threads)


def passes(cell: Cell) -> tuple[float, float]:
    """Forward passes that the direction of one task costs as much as: over its support set, and over its query set."""
    kind = ALGORITHMS.get(cell.algorithm)
    steps = cell.inner_steps
    if kind.order == "none" or kind.family == "baseline":  # a baseline learns from all classes, without an inner loop
        return GRADIENT, GRADIENT
    if _head_alone(cell):
        return GRADIENT + HEAD_STEP * steps, GRADIENT
    if kind.order == "implicit":
        return GRADIENT * steps + SOLVE, GRADIENT
    if kind.order == "first" or cell.first_order == 1:
        return GRADIENT * steps, GRADIENT if kind.query_loss else 0
    again = 1 if cell.checkpoint or cell.second_order != "reverse" else 0
    if cell.kept_steps:
        again += most_computations(steps, cell.kept_steps) - (cell.engine == "native")  # whose way there keeps some
    return (GRADIENT_OF_GRADIENT + GRADIENT * again) * steps, GRADIENT


def compiles(cell: Cell) -> bool:
    """Whether the engine turns an iteration into code of its own before the first one."""
    engine = ENGINES.get(cell.engine)
    return engine.compiles or engine.start is not None


def _written(cell: Cell, size: NetworkSize) -> Cell:
    """The cell as its code has it: `native` writes down one of many inner steps that are all alike, and a loop."""
    if cell.engine != "native" or cell.inner_optimizer not in LINEAR or not cell.inner_steps:
        return cell
    from metabench.engines.native.repeats import OPERATIONS  # of an engine that is loaded by now

    not_gone_back_through = cell.first_order == 1 or ALGORITHMS.get(cell.algorithm).order in ("first", "implicit")
    many = GRADIENT * size.calls * cell.inner_steps > OPERATIONS
    in_a_loop = cell.kept_steps or (not_gone_back_through and many)
    return replace(cell, inner_steps=1, kept_steps=0) if in_a_loop else cell


def _of_example(size: NetworkSize, speed: Speed, threads: int) -> float:
    """Seconds of a forward pass for each example; a second thread is not worth as much as the first."""
    return size.flops * speed.flop / math.sqrt(max(1, threads)) + size.activations * speed.activation


def _size(cell: Cell) -> NetworkSize:
    return _known_size(cell) or UNKNOWN


def _known_size(cell: Cell) -> NetworkSize | None:
    return network_size(cell.model, cell.task, cell.train_ways, tuple(cell.data.items()))


def _speed(cell: Cell) -> Speed:
    return SPEEDS["cuda" if cell.device == "cuda" else "cpu"]


def _head_alone(cell: Cell) -> bool:
    return adapts_head_alone(cell.algorithm, cell.model, cell.task, cell.train_ways, tuple(cell.data.items()))


def memory_bytes(cell: Cell) -> float | None:
    """Peak memory of one meta-iteration, beside what the process holds anyway; None where it cannot be guessed.

    That is where the network's size is not known, and where nobody says whether the engine holds all tasks at once.
    """
    size = _known_size(cell)
    at_once = ENGINES.get(cell.engine).concurrent_tasks
    if size is None or at_once is None:
        return None
    kind = ALGORITHMS.get(cell.algorithm)
    support = cell.train_ways * cell.train_shots * size.activations
    query = cell.train_ways * cell.query * size.activations * kind.query_loss
    one_pass = max(support, query)
    tasks = max(1.0, cell.meta_batch / cell.world_size) if at_once else 1.0
    # A baseline's one gradient of all tasks at once is all that there is of the size of the parameters.
    shared = (1.0 if kind.family == "baseline" and at_once else 3.0) * size.parameters
    if _head_alone(cell):
        numbers = one_pass
    elif kind.order == "none" or kind.family == "baseline":
        numbers = 2 * one_pass
    elif kind.order == "implicit":
        numbers = 2 * one_pass + 5 * size.parameters
    elif kind.order == "first" or cell.first_order == 1:
        numbers = one_pass + 2.5 * size.parameters
    elif cell.checkpoint or cell.second_order != "reverse":
        kept = min(cell.inner_steps, cell.kept_steps or cell.inner_steps)
        numbers = kept * size.parameters + 2 * (support + size.parameters) + query
    else:
        numbers = cell.inner_steps * (1.4 * support + 1.5 * size.parameters) + query
    return (8 if cell.precision == "float64" else 4) * (tasks * numbers + shared)
