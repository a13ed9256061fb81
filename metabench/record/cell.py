"""A cell: one point of a sweep, with every hyper-parameter resolved, and what follows from it alone."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

import msgspec

from metabench.record.axes import (
    LARGEST,
    LARGEST_WHOLE,
    LONGEST_NAME,
    Axis,
    Role,
    axes_of_struct,
    axis,
    named,
    number,
    whole,
)

Measure: TypeAlias = Literal[
    "time", "memory", "phases", "work", "energy", "instructions", "adaptation", "double_backward", "quality"
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
USUAL_MEASURES: tuple[Measure, ...] = ("time", "memory", "quality")
"""What is measured where a sweep does not say."""
REPEATED: tuple[Measure, ...] = ("time", "phases", "adaptation", "double_backward")
"""What every repetition measures; all else the first one alone."""
SecondOrder: TypeAlias = Literal["reverse", "forward-over-reverse"]
InnerOptimizer: TypeAlias = Literal["sgd", "momentum", "adam", "rmsprop"]
OuterOptimizer: TypeAlias = Literal["adam", "sgd"]
Decay: TypeAlias = Literal["none", "linear", "cosine", "halving"]
BatchNorm: TypeAlias = Literal["transductive", "one-query", "running"]
Rotation: TypeAlias = Literal["random", "classes", "episode", "none"]
"""How characters are turned by multiples of 90 degrees: each class of an episode by a random one, all classes of an
episode by the same random one, or not at all; or the four turns of a character are four classes."""
EvalQueries: TypeAlias = Literal["balanced", "independent", "single"]
EvalClasses: TypeAlias = Literal["new", "any"]
"""Classes of test tasks: those of the test split, or any of the data set."""
Precision: TypeAlias = Literal["float32", "float64", "bfloat16", "tf32"]
LONGEST_TEXT = 20_000
MOST_PIXELS = 1024
"""Most pixels of a side of an image."""
MOST_THREADS = 4096
"""More than any machine has cores."""
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_WHOLE)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
_AXIS = re.compile("[a-z][a-z0-9_]{0,39}")
_NOT_AXES = ("id", "round", "status", "reason", "ended_in")  # columns of results.csv beside the axes


def _first_order(share: float) -> str:
    return "first order" if share == 1 else f"first order for {100 * share:g} % of the iterations"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """An implementation (algorithm on an engine) in one setting. Each line declares an axis."""

    algorithm: Annotated[str, named("implementation", "The algorithm.")]
    engine: Annotated[str, named("implementation", "What runs the algorithm.", phrase="engine {}")] = "loop"
    task: Annotated[str, named("task", "The task distribution.")]
    path: Annotated[
        str, named("task", "The folder of the data, from that of the sweep file.", tacit=True, later=True)
    ] = ""
    split: Annotated[
        str,
        named(
            "task",
            "What splits classes: classes, folders, groups, a file, or a published split.",
            tacit=True,
            later=True,
        ),
    ] = "classes"
    image_size: Annotated[
        int, whole("task", "Side of an image in pixels; 0: as it is.", ge=0, le=MOST_PIXELS, tacit=True, later=True)
    ] = 0
    model: Annotated[str, named("size", "The network.", phrase="{}")] = "conv4-64"
    inner_steps: Annotated[int, whole("size", "Steps of the inner loop in training.", ge=0)] = 1
    meta_batch: Annotated[int, whole("size", "Tasks in a meta-iteration.", word="meta-batch", ge=1)] = 4
    ways: Annotated[int, whole("task", "Classes of a task, in training and in testing.", ge=1)] = 5
    shots: Annotated[int, whole("task", "Support examples of each class, in training and in testing.", ge=1)] = 1
    query: Annotated[int, whole("size", "Query examples of each class in a training task.", ge=1)] = 1
    train_ways: Annotated[int, whole("size", "Classes of a training task; 0: as in testing.", ge=0)] = 0
    train_shots: Annotated[int, whole("size", "Shots of a training task; 0: as in testing.", ge=0)] = 0
    first_order: Annotated[
        float,
        number(
            "technique",
            "Share of the iterations, from the first on, that take inner gradients as constants.",
            phrase=_first_order,
            takes="a share of the iterations from 0 to 1, or true",
            ge=0,
            le=1,
        ),
    ] = 0.0
    checkpoint: Annotated[
        bool, axis("technique", "Whether inner steps are computed again.", phrase="checkpointed inner loop")
    ] = False
    second_order: Annotated[
        SecondOrder,
        axis(
            "technique",
            "How inner gradients are differentiated: with their graphs kept, or along tangents.",
            phrase="{}",
            tacit=True,
            later=True,
        ),
    ] = "reverse"
    kept_steps: Annotated[
        int,
        whole(
            "technique",
            "Most inner steps whose parameters are kept at once; 0: all.",
            phrase="{} steps kept",
            ge=0,
            tacit=True,
            later=True,
        ),
    ] = 0
    inner_optimizer: Annotated[
        InnerOptimizer, axis("technique", "The optimiser of the inner loop.", phrase="inner {}")
    ] = "sgd"
    precision: Annotated[Precision, axis("technique", "In what numbers it computes.", phrase="{}")] = "float32"
    device: Annotated[str, named("machine", "Where it runs.", phrase="{}", choices=("cpu", "cuda"))] = "cpu"
    seed: Annotated[int, whole("training", "Seed of initial weights and training tasks.", ge=0)] = 0
    preset: Annotated[str, named("training", "Whose settings are taken; one that is named is taken whole.")] = "quick"
    inner_lr: Annotated[float, number("training", "Step size of the inner loop.", positive=True)] = 0.01
    eval_steps: Annotated[
        int, whole("evaluation", "Inner steps on a held-out task; left open: as in training.", ge=0)
    ] = 1
    eval_query: Annotated[
        int,
        whole(
            "evaluation",
            "Query examples of each class in a held-out task; left open: as many as asked for in training.",
            ge=1,
        ),
    ] = 1
    eval_batch: Annotated[
        int,
        whole(
            "evaluation",
            "Support examples in each inner step on a held-out task; 0: all of them.",
            ge=0,
            tacit=True,
            later=True,
        ),
    ] = 0
    eval_queries: Annotated[
        EvalQueries,
        axis(
            "evaluation",
            "Classes of a held-out task's queries: equally many of each, drawn for each query, or one for all.",
            phrase="{} queries",
            tacit=True,
            later=True,
        ),
    ] = "balanced"
    eval_classes: Annotated[
        EvalClasses,
        axis(
            "evaluation",
            "Classes of test tasks: new ones, or any of the data, those of training among them.",
            phrase="{} classes in testing",
            tacit=True,
            later=True,
        ),
    ] = "new"
    batch_norm: Annotated[
        BatchNorm, axis("evaluation", "What queries of held-out tasks are normalised by.", tacit=True)
    ] = "transductive"
    eval_rotation: Annotated[
        Rotation,
        axis(
            "evaluation",
            "How characters of held-out tasks are turned; left open: as asked for in training.",
            tacit=True,
            later=True,
        ),
    ] = "random"
    outer: Annotated[OuterOptimizer, axis("training", "The outer optimiser.", cost=True)] = "adam"
    outer_lr: Annotated[float, number("training", "Rate of the outer optimiser.", positive=True)] = 1e-3
    outer_decay: Annotated[Decay, axis("training", "How the outer rate falls.")] = "none"
    outer_warmup: Annotated[int, whole("training", "Iterations in which the outer rate rises.", ge=0, tacit=True)] = 0
    outer_epsilon: Annotated[
        float,
        number(
            "training",
            "What outer Adam adds to the root that it divides by.",
            phrase="outer epsilon {:g}",
            tacit=True,
            later=True,
            positive=True,
        ),
    ] = 1e-8
    outer_clip: Annotated[
        float,
        number(
            "technique",
            "Largest norm of a direction; 0 is none.",
            phrase="clip {:g}",
            takes="the largest norm, or 0 for none",
            ge=0,
        ),
    ] = 0.0
    iterations: Annotated[int, whole("training", "Meta-iterations of a training.", ge=0)] = 100
    rotation: Annotated[
        Rotation, axis("training", "How characters of training tasks are turned.", tacit=True, later=True)
    ] = "random"
    eval_tasks: Annotated[int, whole("evaluation", "Held-out tasks that it is judged on.", ge=2)] = 600
    threads: Annotated[
        int,
        whole(
            "machine",
            "Threads of each process; left out: one for small networks, or else for each core.",
            ge=0,
            le=MOST_THREADS,
            least=1,
        ),
    ] = 0
    world_size: Annotated[
        int,
        whole("machine", "Processes that share the meta-batch.", phrase="{} processes", tacit=True, later=True, ge=1),
    ] = 1
    machine: Annotated[
        str,
        axis(
            "machine",
            "The machine, where rows come from several.",
            phrase="on {}",
            tacit=True,
            later=True,
            settable=False,
        ),
    ] = ""
    measure: tuple[Name, ...] = ()
    """What is measured: some of `MEASURES`."""
    others: dict[str, Any] = {}
    """Axes of another version: kept, so that cells that differ in them are not mixed up."""

    def __getitem__(self, name: str) -> Any:
        """The value on an axis; of another version's axis that this cell lacks, None."""
        return getattr(self, name) if name in AXES else self.others.get(name)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes, those of another version included."""
        return (*AXES, *self.others)

    @property
    def id(self) -> str:
        """16 hexadecimal digits that depend on everything but what is measured."""
        return identity(self.to_json())

    @property
    def training_id(self) -> str:
        """16 hexadecimal digits that are equal for cells that differ in how they are judged alone.

        The shots of training tasks are an axis of their own.
        """
        judging = {*axes_of("evaluation"), "shots"}
        return identity({name: value for name, value in self.to_json().items() if name not in judging})

    @property
    def implementation(self) -> str:
        """`algorithm/engine`"""
        return f"{self.algorithm}/{self.engine}"

    @property
    def setting(self) -> tuple[Any, ...]:
        """A key that is equal for cells that differ in algorithm, engine, technique and training alone."""
        return (*self.distribution, self.model, self.precision, self.device, *(self[axis] for axis in SIZE_AXES))

    @property
    def distribution(self) -> tuple[Any, ...]:
        """A key that is equal for cells whose tasks are drawn from the same data."""
        return tuple(self[axis] for axis in DISTRIBUTION)

    @property
    def data(self) -> dict[str, Any]:
        """What says which data the task distribution is built on, where a sweep does: path, split and size."""
        return data_of(self)

    @property
    def problem(self) -> str:
        """The task distribution in a few words, with the path of its data where it has one."""
        return problem_text(self.task, self.path)

    def seed_for(self, purpose: Literal["init", "train", "validation", "test"]) -> int:
        """A seed derived from the shared axes, never from algorithm or engine: comparisons are matched.

        All depend on the task distribution and its data (`data`). Initial weights depend on the ways, the model and the
        seed besides; training tasks on the episode shape and the seed; held-out tasks on their shape alone, so that all
        seeds and algorithms are judged on the same tasks. Tasks whose queries are not balanced are chosen from balanced
        ones of as many queries a class as they have in all.
        """
        parts: list[Any] = [purpose, self.task, *self.data.items()]
        if purpose == "init":
            parts += [self.ways, self.model, self.seed]
        elif purpose == "train":
            parts += [self.train_ways, self.train_shots, self.query, self.seed]
        else:
            parts += [self.ways, self.shots, self.eval_query_drawn]
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7])

    @property
    def eval_query_drawn(self) -> int:
        """Query examples of each class that are drawn for a held-out task: all queries may come to be of one class."""
        return self.eval_query if self.eval_queries == "balanced" else self.ways * self.eval_query

    @property
    def trained_otherwise(self) -> str:
        """What training tasks are, in words, where they are not as held-out tasks; else empty."""
        alike = (self.train_ways, self.train_shots) == (self.ways, self.shots)
        return "" if alike else f"trained on {shape_text(self.train_ways, self.train_shots)}"

    def describe(self) -> str:
        """One short line for progress and messages."""
        other = f" ({self.trained_otherwise})" if self.trained_otherwise else ""
        return (
            f"{self.implementation} {self.problem} {shape_text(self.ways, self.shots)}{other} {self.model} "
            f"steps={self.inner_steps} tasks={self.meta_batch} seed={self.seed}"
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, without those axes of later versions that have their default."""
        values = {name: getattr(self, name) for name in AXES}
        kept = {name: value for name, value in values.items() if not AXES[name].later or value != AXES[name].default}
        return kept | self.others | {"measure": list(self.measure)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The cell of a plain dictionary. Raises `msgspec.ValidationError` for what is none."""
        return msgspec.convert(regrouped(data), cls)

    def with_measures_of(self, other: Self) -> Self:
        """A copy of this cell with the measures of both."""
        return msgspec.structs.replace(self, measure=tuple(m for m in MEASURES if m in self.measure + other.measure))


AXES: Mapping[str, Axis] = axes_of_struct(Cell)
"""Every axis by name, in the order in which cells and tables have them."""
DISTRIBUTION = ("task", "path", "split", "image_size")
"""Axes that say which task distribution it is, whatever the size of its tasks."""
PARTICULAR = (*DISTRIBUTION[1:], "rotation", "eval_rotation", "eval_classes")
"""Axes that only some task distributions take."""
SIZE_AXES = tuple(
    name for name, one in AXES.items() if one.role in ("task", "size") and one.kind is int and name not in DISTRIBUTION
)
"""Axes that make a meta-iteration larger."""


def axes_of(*roles: Role) -> tuple[str, ...]:
    """The names of all axes with one of these roles, in their order."""
    return tuple(name for name, one in AXES.items() if one.role in roles)


def identity(axes: Mapping[str, Any]) -> str:
    """The id of a cell from its plain dictionary."""
    axes = {name: value for name, value in axes.items() if name != "measure"}
    return hashlib.sha256(json.dumps(axes, sort_keys=True).encode()).hexdigest()[:16]


def data_of(chosen: "Mapping[str, Any] | Cell") -> dict[str, Any]:
    """The axes that say which data a task distribution is built on, but for those at their default."""
    return {name: chosen[name] for name in DISTRIBUTION[1:] if chosen[name] != AXES[name].default}


def problem_text(task: str, path: str) -> str:
    """A task distribution by its name, and by the path of its data where it has one."""
    return f"{task} {path}".strip()


def shape_text(ways: int, shots: int) -> str:
    """How large a support set is, in words."""
    return f"{ways}-way {shots}-shot" if ways > 1 else f"{shots} points"


def regrouped(data: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's dictionary with the axes of other versions put together, and what old runs lack filled in.

    Raises ValueError for a name or a value that no axis has.
    """
    known = {name: value for name, value in data.items() if name in AXES or name == "measure"}
    others = {name: value for name, value in data.items() if name not in known}
    for name, value in others.items():
        plain = isinstance(value, (bool, str)) or (isinstance(value, (int, float)) and abs(value) <= LARGEST)
        if (
            not plain
            or not _AXIS.fullmatch(name)
            or name in _NOT_AXES
            or (isinstance(value, str) and len(value) > LONGEST_TEXT)
        ):
            raise ValueError("its cell has an axis that is none")
    for size in ("ways", "shots"):  # training tasks were those that it is judged on
        if size in known:
            known.setdefault(f"train_{size}", known[size])
    return known | {"others": others}


def varying(cells: Iterable[Cell], axes: Iterable[str]) -> list[str]:
    """The axes on which the cells differ."""
    cells = list(cells)
    return [name for name in axes if len({str(cell[name]) for cell in cells}) > 1]
