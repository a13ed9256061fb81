"""What may stand on each axis of a sweep."""

from collections.abc import Mapping
from typing import Any, get_args

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.inner_loop import INNER_OPTIMIZERS
from metabench.algorithms.presets import Decay
from metabench.engines.base import ENGINES
from metabench.errors import UserError, unknown
from metabench.models.base import MODELS
from metabench.record.schema import LARGEST, LARGEST_WHOLE
from metabench.registry import Registry
from metabench.tasks.base import TASKS
from metabench.training import BatchNorm

REGISTRIES: Mapping[str, Registry[Any]] = {
    "algorithm": ALGORITHMS,
    "engine": ENGINES,
    "task": TASKS,
    "model": MODELS,
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "precision": ("float32", "float64", "bfloat16", "tf32"),
    "device": ("cpu", "cuda"),
    "inner_optimizer": INNER_OPTIMIZERS,
    "batch_norm": get_args(BatchNorm),
    "outer": ("adam", "sgd"),
    "outer_decay": get_args(Decay),
}
SMALLEST: Mapping[str, int] = {
    "inner_steps": 0,
    "meta_batch": 1,
    "ways": 1,
    "shots": 1,
    "query": 1,
    "seed": 0,
    "eval_steps": 0,
    "iterations": 0,
    "eval_tasks": 2,
    "eval_query": 1,
    "threads": 1,
    "world_size": 1,
    "train_ways": 0,
    "train_shots": 0,
    "outer_warmup": 0,
}
RATES = ("inner_lr", "outer_lr")


def check(axis: str, value: Any) -> None:
    """Raise `UserError` unless `value` can stand on `axis`."""
    if axis in REGISTRIES:
        if not isinstance(value, str):
            raise UserError(f"axis '{axis}' takes names, not {quoted(value)}")
        REGISTRIES[axis].get(value)
    elif axis in WORDS:
        if value not in WORDS[axis]:
            raise unknown(axis, named(value), WORDS[axis])
    elif axis in SMALLEST:
        if isinstance(value, int) and value > LARGEST_WHOLE:
            raise UserError(f"axis '{axis}' takes whole numbers up to {LARGEST_WHOLE:,}, not {quoted(value)}")
        if not isinstance(value, int) or isinstance(value, bool) or value < SMALLEST[axis]:
            raise UserError(f"axis '{axis}' takes whole numbers of {SMALLEST[axis]} or more, not {quoted(value)}")
    elif axis in RATES:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= LARGEST:
            raise UserError(f"axis '{axis}' takes positive numbers, not {quoted(value)}")
    elif axis == "checkpoint":
        if not isinstance(value, bool):
            raise UserError(f"axis 'checkpoint' takes true or false, not {quoted(value)}")
    elif axis == "outer_clip":
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            raise UserError(f"axis 'outer_clip' takes the largest norm, or 0 for none, not {quoted(value)}")
    elif axis == "first_order":
        if not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise UserError(
                f"axis 'first_order' takes a share of the iterations from 0 to 1, or true, not {quoted(value)}"
            )
    elif axis == "preset":
        names = {key.split("/")[0] for _, algorithm in ALGORITHMS for key in algorithm.presets}
        if not isinstance(value, str) or value not in names:
            raise unknown("preset", named(value), names)


def quoted(value: Any) -> str:
    """A value of a sweep file as Python writes it, in short."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a huge number"
    return text if len(text) <= 80 else text[:79] + "…"


def named(value: Any) -> str:
    """The same of what should be a name."""
    return value if isinstance(value, str) else quoted(value)
