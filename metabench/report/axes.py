"""The axes of a cell by what they are for: all groupings, labels and titles of tables derive from these."""

from collections.abc import Iterable

from metabench.record.cell import AXES, DISTRIBUTION, axes_of

TASK, SIZES, TECHNIQUES, MACHINE = (axes_of(role) for role in ("task", "size", "technique", "machine"))
LINE_TECHNIQUES = tuple(axis for axis in TECHNIQUES if axis != "precision")
"""Techniques that tell the lines of a table apart, where a precision belongs to the whole table."""
OWN_AXES = tuple(axis for axis in axes_of("training", "evaluation") if axis != "seed")
"""Lines of a table may differ in them: they are shown only where they alone tell two lines apart."""
METHOD_AXES = tuple(axis for axis in axes_of("training") if axis not in ("seed", "iterations"))
"""Each algorithm has its own, which belong to its method."""
TRAINING_AXES = tuple(axis for axis in OWN_AXES if not AXES[axis].cost)
"""Axes that change what is learned, and not what a meta-iteration costs."""
JUDGED = ("batch_norm", "eval_query", "eval_queries", "eval_rotation", "eval_classes")
"""Which answers a training is judged by. Scores are comparable where these are alike."""
_FIRST = (
    *DISTRIBUTION,
    *("ways", "shots", "model", "engine", "query", "train_ways", "train_shots", "inner_steps", "meta_batch"),
    *("device", "precision"),
)
_SAID = dict.fromkeys((*_FIRST, *MACHINE, *TECHNIQUES, *OWN_AXES, *AXES))


def in_title_order(axes: Iterable[str], but: Iterable[str] = ()) -> tuple[str, ...]:
    """The axes, without some, in the order in which titles say them; those that are not known here last."""
    wanted = dict.fromkeys(axis for axis in axes if axis not in but)
    return tuple(axis for axis in dict.fromkeys((*_SAID, *wanted)) if axis in wanted)
