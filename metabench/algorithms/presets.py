"""Hyper-parameters by setting, and those of MAML's authors, which later papers take over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metabench.record.cell import BatchNorm, Decay, InnerOptimizer, Rotation


@dataclass(frozen=True)
class Preset:
    """Hyper-parameters of one setting, as published or as a laptop can train them. Losses are means over examples.

    Without an inner loop, `inner_lr`, `inner_steps` and `eval_steps` are 0.
    """

    source: str
    model: str
    inner_lr: float
    inner_steps: int
    eval_steps: int
    meta_batch: int
    query: int
    iterations: int
    outer: Literal["adam", "sgd"] = "adam"
    outer_lr: float = 1e-3
    outer_decay: Decay = "none"
    outer_warmup: int = 0
    """Iterations over which the outer rate rises linearly from zero."""
    outer_clip: float = 0.0
    """Largest norm of a direction; 0 is none."""
    outer_epsilon: float = 1e-8
    """What outer Adam adds to the root that it divides by."""
    inner_optimizer: InnerOptimizer = "sgd"
    first_order: float = 0.0
    """Share of the iterations, from the first on, that take the inner gradients as constants."""
    train_ways: int = 0
    train_shots: int = 0
    """Ways and shots of the training tasks; 0 stands for those of the held-out tasks."""
    eval_query: int = 0
    """Queries of each class in a held-out task; 0: as many as shots, or 100 in regression."""
    eval_batch: int = 0
    """Support examples in each inner step on a held-out task; 0: all of them."""
    eval_tasks: int = 0
    """Held-out tasks; 0: the usual number."""
    batch_norm: BatchNorm = "transductive"
    split: str = "classes"
    """Which classes are for training and testing; it holds for the task of the preset alone."""
    rotation: Rotation = "random"
    eval_rotation: Rotation = "random"
    """How characters are turned in training and in testing."""
    alike_iterations: int = 0
    """Iterations of a sweep that names no preset, on whatever engine, where this is MAML's; 0: `iterations`."""
    plain: "Preset | None" = None
    """The preset of a sweep that names none, if this one has an inner optimiser of its own.

    All algorithms then descend alike, and libraries carry them.
    """


NO_AXES = ("source", "alike_iterations", "plain")
"""What says something of a preset itself: all other fields are axes of a configuration."""
ALIKE = ("meta_batch", "query", "iterations")
"""How much work a training is: alike for all algorithms of a sweep, unless it asks for a preset by name."""
BY_NAME = (
    *("eval_steps", "train_ways", "train_shots", "eval_query", "eval_batch", "eval_tasks"),
    *("batch_norm", "split", "rotation", "eval_rotation"),
)
"""Which tasks are for training and for testing, and how it is tested: taken from a preset that is asked for by name,
and from no other."""


_PAPER = "arXiv 1703.03400, §5.1, and the network of the authors' code, which starts from small weights"
_CODE = "arXiv 1703.03400, §5.2, and the authors' code, whose summed loss makes 0.4 and 0.1 both 2.0 of a mean"
_MINI = (
    "arXiv 1703.03400, §5.2 and appendix A.1, and the authors' code, whose summed loss makes 0.01 a rate of 0.05 of a "
    "mean; it clips each number of a direction to ±10, and has a meta-batch of 4 for 5 shots, too"
)
MAML_PUBLISHED: dict[str, Preset] = {
    "published/sinusoid": Preset(_PAPER, "mlp-40x2-finn", 0.01, 1, 10, 25, 10, 70_000),
    "published/omniglot-5way": Preset(_CODE, "conv4-64-finn", 2.0, 1, 3, 32, 1, 60_000),
    "published/omniglot-5way-5shot": Preset(_CODE, "conv4-64-finn", 2.0, 1, 3, 32, 5, 60_000),
    "published/omniglot-20way": Preset(_CODE, "conv4-64-finn", 2.0, 5, 5, 16, 1, 60_000),
    "published/omniglot-20way-5shot": Preset(_CODE, "conv4-64-finn", 2.0, 5, 5, 16, 5, 60_000),
    "published/miniimagenet-5way": Preset(_MINI, "conv4-32-maxpool-finn", 0.05, 5, 10, 4, 15, 60_000),
    "published/miniimagenet-5way-5shot": Preset(_MINI, "conv4-32-maxpool-finn", 0.05, 5, 10, 2, 15, 60_000),
}
"""Finn et al. 2017, on the networks of their code (`models/finn.py`)."""


BY_ALPHABET: Mapping[str, Any] = {
    "eval_query": 15,
    "eval_tasks": 1000,
    "batch_norm": "running",
    "split": "vinyals-trainval",
    "rotation": "classes",
    "eval_rotation": "classes",
}
"""How metric-based methods are tested on Omniglot by the code of Snell et al. 2017, on the alphabets of Vinyals et al.
2016: fields of a preset."""


def quick(
    trial: str,
    inner_lr: float,
    inner_steps: int,
    eval_steps: int,
    meta_batch: int,
    query: int,
    iterations: int,
    outer: Literal["adam", "sgd"] = "adam",
    outer_lr: float = 2e-3,
    **rest: Any,
) -> Preset:
    """Omniglot on one core in less than five minutes, with `native`: the best trial of a committed search.

    `trial` names it, such as "maml, trial 0". Tasks have one shot in training, however many in testing: an iteration
    then costs less than half. The preset has the Adam, the falling rate and the network of all searches. Whatever else
    it has, the arguments say.
    """
    usual: dict[str, Any] = {"outer_decay": "linear", "train_shots": 1}
    work = (inner_lr, inner_steps, eval_steps, meta_batch, query, iterations, outer, outer_lr)
    return Preset(f"searched on validation classes: searches/{trial}", "conv4-64", *work, **(usual | rest))


def quick_colour(
    inner_lr: float,
    inner_steps: int,
    eval_steps: int,
    outer: Literal["adam", "sgd"] = "adam",
    outer_lr: float = 3e-3,
    outer_clip: float = 0.0,
    inner_optimizer: InnerOptimizer = "sgd",
    iterations: int = 600,
) -> Preset:
    """Colour images of up to 84x84 pixels on a processor in about two minutes: a small network, and few tasks.

    Rates come from short trials on validation classes of the emblems, reduced to 21x21 pixels. Training tasks have the
    ways and shots of the test, so that no data set with classes enough for testing has too few for training.
    """
    return Preset(
        "ours, for a laptop, from trials on emblems of 21x21 pixels",
        "conv4-32",
        inner_lr,
        inner_steps,
        eval_steps,
        2,
        5,
        iterations,
        outer,
        outer_lr,
        "linear",
        outer_clip=outer_clip,
        inner_optimizer=inner_optimizer,
    )


def most_specific(presets: Mapping[str, Preset], preset: str, task: str, ways: int, shots: int) -> Preset | None:
    """The most specific preset of that name for a task, or None where there is none."""
    for key in (f"{preset}/{task}-{ways}way-{shots}shot", f"{preset}/{task}-{ways}way", f"{preset}/{task}"):
        if key in presets:
            return presets[key]
    return None
