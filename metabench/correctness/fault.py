"""Why a configuration is not timed: the faults that need no comparison of numbers, in words."""

from dataclasses import dataclass
from typing import Literal

from metabench.algorithms.base import Algorithm
from metabench.engines.refusals import WRAP
from metabench.errors import Diverged, Incorrect, Unsupported
from metabench.tensors import Params


@dataclass(frozen=True)
class Fault:
    """Why a cell is not timed."""

    status: Literal["incorrect", "diverged", "unsupported"]
    """The status of its row: `incorrect` is for a wrong implementation, and for nothing else."""
    reason: str
    """One sentence."""


def refuse(fault: Fault | None) -> None:
    """Raise what gives a row the status of that fault, if there is one."""
    if fault:
        raise {"incorrect": Incorrect, "diverged": Diverged, "unsupported": Unsupported}[fault.status](fault.reason)


def not_finite(algorithm: Algorithm, where: str) -> Fault:
    """The fault of an inner loop that leaves the finite numbers, on `loop` itself: nothing is known to be wrong."""
    steps = f"{algorithm.inner_steps} inner step{'s' if algorithm.inner_steps > 1 else ''}"
    return Fault(
        "diverged",
        f"{type(algorithm).__name__} does not stay finite {where} over {steps} at inner_lr = {algorithm.inner_lr:g}: "
        "use a smaller inner_lr",
    )


RANDOM = Fault(
    "unsupported",
    "two equal calls of loop give different directions: the model, the loss or the algorithm draws random numbers "
    f"(dropout, for one), so that no engine can be held to another: switch that off, or {WRAP}, which does so",
)


def misfit(given: object, truth: Params) -> Fault | None:
    """What keeps the result of a step from being compared with `truth`: parts that lack or have other shapes."""
    if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, dict) for part in given)):
        return Fault("incorrect", "the step does not return two dictionaries: (direction, metrics)")
    direction, metrics = given
    if "loss" not in metrics:
        return Fault("incorrect", "the metrics that the step returns have no 'loss', the mean loss on the queries")
    if missing := [name for name in truth if name not in direction]:
        return Fault("incorrect", f"the engine's direction has no {', '.join(missing)}")
    for name, p in truth.items():
        if (shape := tuple(direction[name].shape)) != tuple(p.shape):
            return Fault("incorrect", f"the engine's direction has the shape {shape} in {name}, not {tuple(p.shape)}")
    return None
