"""Which cells of a run a claim is about, and in what they differ from what it was published for."""

from collections.abc import Iterable, Sequence
from typing import Any

from metabench.record.cell import AXES, varying
from metabench.report.bundles import Bundle
from metabench.report.claims.claim import TESTED, Claim, Figure, Scalar, Selection
from metabench.report.render.tables import axis_word

UNLESS_NAMED: Selection = {
    "first_order": (0,),
    "checkpoint": (False,),
    "second_order": ("reverse",),
    "kept_steps": (0,),
    "precision": ("float32",),
    "world_size": (1,),
    "eval_queries": ("balanced",),
    "eval_classes": ("new",),
}
"""A claim that names no technique is about cells without one. One that names no query sets is about balanced ones, and
one that names no test classes about new ones.
Clipping and inner optimisers belong to presets."""
UNSAID = tuple(name for name, axis in AXES.items() if axis.later and axis.role in ("training", "evaluation"))
"""Axes that say how something is trained and judged, and that a claim need not know: it means their default."""
NO_GPU = "no GPU in this run"
NOT_ON_GPU = "measured on a processor, not on a GPU"
NOTHING_ALIKE = "not measured"
TRAINED_LIKE = {"ways": "train_ways", "shots": "train_shots"}
"""Axes of training that follow one of testing where nobody says otherwise."""


def value(bundle: Bundle, axis: str) -> Any:
    """What a bundle's cells have on an axis."""
    if axis == "parameters":
        return bundle.parameters
    return bundle.cell[axis]


def fits(bundle: Bundle, wanted: Selection) -> bool:
    """Whether the cells have one of the values on every axis."""
    return not _failing(bundle, wanted)


def with_defaults(wanted: Selection, figure: Figure) -> Selection:
    """The selection with the axes that go without saying.

    A step is timed on training tasks, so the cost at 5 shots is that of tasks with 5 shots in training.
    """
    trained = {own: wanted[axis] for axis, own in TRAINED_LIKE.items() if figure not in TESTED and axis in wanted}
    return {**UNLESS_NAMED, **trained, **wanted}


def why_none(found: Sequence[Bundle], wanted: Selection) -> str:
    """Why a run has no such cells: the nearest ones it has."""
    if "cuda" in wanted.get("device", ()) and not any(value(bundle, "device") == "cuda" for bundle in found):
        return NO_GPU
    alike = [b for b in found if not {"algorithm", "task"} & set(_failing(b, wanted))]
    if not alike:
        return NOTHING_ALIKE
    nearest = min(alike, key=lambda bundle: len(_failing(bundle, wanted)))
    return "not measured: " + "; ".join(_other(nearest, axis, wanted[axis]) for axis in _failing(nearest, wanted))


def as_usual(claim: Claim) -> Selection:
    """The axes that a claim on a score leaves open, with their defaults.

    An evaluation on harder tasks, say, which a claim does not know, would refute what it is not about.
    """
    if claim.figure != "quality":
        return {}
    named = {*claim.of, *claim.against, *claim.setting}
    return {axis: (AXES[axis].default,) for axis in UNSAID if axis not in named}


def deviations(bundle: Bundle, setting: Selection) -> list[str]:
    """Differences of the cells from the source's setting. More iterations than published are none."""
    found = []
    for axis, values in setting.items():
        mine = value(bundle, axis)
        if axis == "iterations":
            least = float(values[0])
            if mine < least:
                found.append(f"trained for {_whole(mine)} of {_whole(least)} iterations")
        elif not _is_among(mine, axis, values):
            found.append(NOT_ON_GPU if axis == "device" and "cuda" in values else _other(bundle, axis, values))
    return found


def matched(bundle: Bundle, others: Iterable[Bundle], wanted: Selection, axes: Sequence[str]) -> Bundle | None:
    """The cells to compare with: as wanted, and on the axes given like the bundle.

    Of several, those that differ from it on the fewest other axes: a training of as many iterations, say.
    """
    alike = [o for o in others if fits(o, wanted) and all(value(o, axis) == value(bundle, axis) for axis in axes)]
    own = [axis for axis in bundle.cell.axes if axis != "seed"]
    return min(alike, key=lambda other: len(varying((bundle.cell, other.cell), own)), default=None)


def _failing(bundle: Bundle, wanted: Selection) -> list[str]:
    return [axis for axis, values in wanted.items() if not _is_among(value(bundle, axis), axis, values)]


def _is_among(mine: Any, axis: str, values: tuple[Scalar, ...]) -> bool:
    if axis == "parameters":
        low, high = values
        return mine is not None and float(low) <= mine <= float(high)
    return mine in values


def _other(bundle: Bundle, axis: str, values: tuple[Scalar, ...]) -> str:
    mine = value(bundle, axis)
    if axis == "model":
        return f"another model ({mine}, not {_listed(values)})"
    if axis == "parameters":
        fewest, most = (_whole(float(one)) for one in values)
        return f"another size ({_whole(mine) if mine is not None else 'unknown'} parameters, not {fewest} to {most})"
    return f"{axis_word(axis)} {mine}, not {_listed(values)}"


def _listed(values: tuple[Scalar, ...]) -> str:
    return " or ".join(str(one) for one in values)


def _whole(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")
