"""What a cell does: its algorithm, its initial weights, its iterations, its stream of tasks."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from itertools import cycle
from typing import Any, ParamSpec, TypeVar

import torch

from metabench.algorithms.base import ALGORITHMS, Algorithm, Learner, check_without_second_order
from metabench.correctness.problem import check_problem
from metabench.correctness.timed import TimedProof
from metabench.engines.base import ENGINES, Engine, Iteration, Restorable, Step, Stepwise
from metabench.engines.distributed import Group, Rank, distributed, of_share
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from metabench.measure.marks import AVERAGE, META_ITERATION, OPTIMISER, Marks, clock_for, divisible, with_marks
from metabench.measure.phases import BRIEF, PhaseBudget, Phases, measure_phases
from metabench.models.base import MODELS
from metabench.record.cell import Cell
from metabench.sweep.cell_tasks import held_out_shape, train_shape
from metabench.tasks.base import ALL, Split, TaskDistribution
from metabench.tasks.stream import Stream, stream
from metabench.tensors import Params, Task
from metabench.training import Enter


def outer_of(cell: Cell) -> Outer:
    """The outer optimiser of a cell's training."""
    rate = (cell.outer_lr, cell.outer_decay, cell.iterations, cell.outer_warmup)
    return Outer(cell.outer, *rate, cell.outer_clip, cell.outer_epsilon)


TRAINING: tuple[Split, ...] = ("train",)
HELD_OUT: tuple[Split, ...] = ("validation", "test")
EPISODE_POOL = 4  # different episode batches that timed iterations go through
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Workload:
    """A cell with the tasks that it is trained on; raises `Unsupported`, with the reason, for what cannot be run."""

    cell: Cell
    distribution: TaskDistribution
    group: Group | None = None
    """The processes that share the meta-batch, if they are several."""

    def __post_init__(self) -> None:
        check_processes(self.cell)
        if self.cell.precision == "bfloat16" and not self.engine.autocasts:
            raise Unsupported(
                f"bfloat16 does not reach all that {self.cell.engine} runs, and part would be in float32: "
                "use loop, compile or cudagraph"
            )

    def check(self, held_out: TaskDistribution | None = None) -> None:
        """Raise `Unsupported` for training tasks, or held-out ones, or a model for them, that break a promise."""
        cell, distribution = self.cell, held_out or self.distribution
        shape, splits = (train_shape(cell), TRAINING) if held_out is None else (held_out_shape(cell), HELD_OUT)
        batch_norm = cell.batch_norm if "quality" in cell.measure else "transductive"
        algorithm = build_algorithm(cell, distribution)
        algorithm.check_batch_norm(batch_norm)
        check_problem(algorithm.learner, distribution, shape, torch.device(cell.device), splits, batch_norm)

    @cached_property
    def algorithm(self) -> Algorithm:
        return build_algorithm(self.cell, self.distribution)

    @property
    def engine(self) -> Engine:
        return ENGINES.get(self.cell.engine)

    @cached_property
    def build(self) -> Callable[[Algorithm], Step]:
        """The engine's step, of this process's tasks; it is built anew only where the algorithm has changed."""
        return lru_cache(maxsize=2)(self._build)

    def _build(self, algorithm: Algorithm) -> Step:
        step = self.engine.build(algorithm)
        return distributed(step, self.group) if self.group else step

    def on_whole(self, algorithm: Algorithm) -> Step:
        """The engine's step, which takes this process's tasks out of a whole meta-batch."""
        step = self.build(algorithm)
        return of_share(step, self.group.rank) if self.group else step

    def sampler(self, like: torch.Tensor) -> Stream:
        """The cell's stream of training episodes: of each meta-batch the tasks of this process, on the device."""
        generator = torch.Generator().manual_seed(self.cell.seed_for("train"))
        tasks = self.cell.meta_batch
        share = self.group.rank.share(tasks) if self.group else ALL
        return stream(self.distribution, "train", tasks, generator, like, share)

    def stage(self, progress: float) -> Algorithm:
        """The algorithm as it is when that share of the training is done."""
        first_order = self.cell.first_order == 1 or progress < self.cell.first_order
        return replace(self.algorithm.at(progress), first_order=first_order)

    @property
    def ends(self) -> list[Algorithm]:
        """The algorithm at the start and at the end of its training, or once if that is the same."""
        return list({self.stage(0.0): None, self.stage(1.0): None})

    def iteration(self, meta: Params, outer: Outer, progress: float = 1.0) -> Iteration:
        """Iterations from those meta-parameters, in the cell's precision, of the stage of that progress."""
        if self.engine.start:
            return in_precision(self.cell, self.engine.start)(self.stage(progress), meta, outer)
        return Stepwise(self._step(progress), meta, outer)

    def training(self, meta: Params) -> tuple[Iteration, Enter]:
        """The iterations of the cell's training, and what takes them to the stage of a progress.

        Where an engine has compiled whole iterations of one stage, those of the next go on from what they held.
        """
        iteration = self.iteration(meta, outer_of(self.cell), 0.0)
        if len(self.ends) > 1 and not isinstance(iteration, Restorable):
            raise Unsupported(
                f"{self.cell.algorithm} changes in the course of a training, and what {self.cell.engine} compiles "
                "cannot go on from another stage: time it there, and train it on loop or vmap"
            )
        current = self.stage(0.0)

        def enter(iteration: Iteration, progress: float) -> Iteration:
            nonlocal current
            stage, before = self.stage(progress), current
            current = stage
            if stage == before:
                return iteration
            if isinstance(iteration, Stepwise):
                iteration.step = self._step(progress)
                return iteration
            state, later = iteration.outer_state, self.iteration(meta, outer_of(self.cell), progress)
            assert isinstance(later, Restorable)
            later.restore(state)
            return later

        return iteration, enter

    def _step(self, progress: float) -> Step:
        return in_precision(self.cell, self.build(self.stage(progress)))

    @property
    def leads(self) -> bool:
        """Whether this process says what was measured."""
        return self.group is None or self.group.rank.leads

    def led(self, run: Callable[[], object], measure: Callable[[], R]) -> R | None:
        """Call `measure`, which calls `run`, and give its result; in other processes run as often, and give None."""
        return self.group.led(run, measure) if self.group else measure()

    def communication(self, run: Callable[[], object]) -> list[float]:
        """Seconds that processes spend on each other in an iteration, in some of them; empty for one process."""
        return self.group.communication(run) if self.group else []

    def repeatable(self, meta: Params, marks: Marks | None = None) -> "Repeatable":
        """One meta-iteration on episodes that are on the device already. Given `marks`, it marks its phases.

        The outer rate is zero: the same work is done, but the parameters, and with them the work of the next call, stay
        as they are, however often it is called.
        """
        iteration = self.iteration(meta, replace(outer_of(self.cell), lr=0.0))
        if marks and isinstance(iteration, Stepwise):
            iteration.step = self._marking(iteration.step, marks)
        sample = self.sampler(next(iter(meta.values())))
        return Repeatable(iteration, [sample() for _ in range(EPISODE_POOL)], marks)

    def proof(self, meta: Params) -> TimedProof:
        """The proof that what `repeatable` gives is right."""
        cell, group = self.cell, self.group
        return TimedProof(
            self.stage(1.0),
            self.distribution,
            outer_of(cell),
            meta,
            cell.meta_batch,
            cell.precision,
            partial(in_precision, cell),
            group.rank.share(cell.meta_batch) if group else ALL,
            group.agree if group else bool,
        )

    def _marking(self, step: Step, marks: Marks) -> Step:
        """The step of a watched algorithm where the engine lets it be seen; and the mark where it has ended."""
        if divisible(self.engine):
            step = in_precision(self.cell, self.engine.build(with_marks(self.stage(1.0), marks)))

        def marking(meta: Params, episodes: Task) -> tuple[Params, dict[str, torch.Tensor]]:
            try:
                return step(meta, episodes)
            finally:
                marks.turn(OPTIMISER)

        return marking


class Repeatable:
    """A meta-iteration that is called again and again, on a few episode batches in turn."""

    def __init__(self, iteration: Iteration, episodes: list[Task], marks: Marks | None) -> None:
        self.iteration, self.episodes = iteration, episodes
        self._marks = marks
        self._taken = cycle([iteration.take(batch) for batch in episodes])

    def __call__(self) -> None:
        if self._marks is None:
            self.iteration.run(next(self._taken))
            return
        self._marks.begin(AVERAGE if isinstance(self.iteration, Stepwise) else META_ITERATION)
        self.iteration.run(next(self._taken))
        self.iteration.wait()
        self._marks.end()

    def waited(self) -> None:
        """Call it, and wait until its work is done."""
        self()
        self.iteration.wait()


def measured_phases(workload: Workload, meta: Params, budget: PhaseBudget = BRIEF) -> Phases:
    """Where the time of the cell's meta-iteration goes."""
    like = next(iter(meta.values()))
    clock = clock_for(like.device)
    marks = Marks(clock.stamp)
    plain, marked = workload.repeatable(meta), workload.repeatable(meta, marks)
    sample = workload.sampler(like)
    return measure_phases(plain.waited, marked, lambda: plain.iteration.take(sample()), marks, clock, budget)


def library_of(engine: Engine) -> str:
    """Name and version of the engine's own library, or the name alone where it is not installed; empty for torch."""
    return f"{engine.library} {engine.version}".strip()


def check_processes(cell: Cell) -> None:
    """Raise `Unsupported` for a cell that its number of processes cannot share."""
    if cell.world_size > 1 and ENGINES.get(cell.engine).start:
        raise Unsupported(f"{cell.engine} runs whole iterations: no direction to average between processes")
    Rank(0, cell.world_size).share(cell.meta_batch)


def build_algorithm(cell: Cell, distribution: TaskDistribution) -> Algorithm:
    """The cell's algorithm on its model, for tasks of that distribution."""
    learner = Learner(
        MODELS.get(cell.model)(distribution.input_shape, distribution.outputs),
        distribution.kind,
        distribution.training_classes,
    )
    kind = ALGORITHMS.get(cell.algorithm)
    if cell.train_ways != cell.ways and not kind.any_ways:
        raise Unsupported(
            f"{cell.algorithm} has a head for {cell.train_ways} classes: it cannot tell {cell.ways} apart"
        )
    if cell.first_order == 1:  # a smaller share of the training leaves the rest to second order
        check_without_second_order(f"{cell.algorithm} with first_order = 1", cell.checkpoint, cell.second_order)
    own: dict[str, Any] = {"eval_batch": cell.eval_batch} if cell.eval_batch else {}
    if not own.keys() <= {field.name for field in fields(kind)}:
        raise Unsupported(
            f"{cell.algorithm} adapts to the whole support set at once: eval_batch is for what takes minibatches "
            "of it, such as reptile"
        )
    if cell.eval_batch > cell.ways * cell.shots:
        raise Unsupported(
            f"a minibatch of {cell.eval_batch} examples is more than the support set of {cell.ways * cell.shots}: "
            "let eval_batch be less, or 0 for all of them"
        )
    return kind(
        learner,
        cell.inner_lr,
        cell.inner_steps,
        inner_optimizer=cell.inner_optimizer,
        first_order=cell.first_order > 0,
        checkpoint=cell.checkpoint,
        second_order=cell.second_order,
        kept_steps=cell.kept_steps,
        **own,
    )


def in_precision(cell: Cell, function: Callable[P, R]) -> Callable[P, R]:
    """The function under autocast where the cell asks for bfloat16: parameters and outer update stay in float32.

    What starts whole iterations under autocast gives iterations that compute in bfloat16.
    """
    if cell.precision != "bfloat16":
        return function

    def cast_automatically(*args: P.args, **kwargs: P.kwargs) -> R:
        # Without its cache of cast weights: that holds tensors beyond the graph that they belong to.
        with torch.autocast(cell.device, torch.bfloat16, cache_enabled=False):
            return function(*args, **kwargs)

    return cast_automatically


def initial_meta(cell: Cell, algorithm: Algorithm) -> Params:
    """Initial meta-parameters on the cell's device and with its precision: the same for every algorithm."""
    dtype = torch.float64 if cell.precision == "float64" else torch.float32
    meta = algorithm.init(torch.Generator().manual_seed(cell.seed_for("init")))
    return {name: p.to(cell.device, dtype) for name, p in meta.items()}
