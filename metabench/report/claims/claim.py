"""A claim as data: a figure that someone published, where it was read, and the rule that holds it against ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Rule: TypeAlias = Literal["interval", "range", "one-sided", "ratio", "exponent", "order"]
Figure: TypeAlias = Literal["quality", "time", "memory"]
Mark: TypeAlias = Literal["V", "S", "M"]
Scalar: TypeAlias = str | int | float | bool
Selection: TypeAlias = Mapping[str, tuple[Scalar, ...]]
"""Axes with the values that they may have."""
RULES: tuple[Rule, ...] = get_args(Rule)
FIGURES: tuple[Figure, ...] = get_args(Figure)
MARKS: tuple[Mark, ...] = get_args(Mark)
METRICS = ("accuracy", "mse")
ALONG = ("inner_steps", "meta_batch", "parameters")
"""What a figure may grow with; `parameters` are those of the model."""
UNITS: Mapping[str, tuple[float, str]] = {"accuracy": (0.01, " %")}
"""In what a claim on a metric is written, as a factor and a word; anything else is as it is."""


@dataclass(frozen=True)
class Claim:
    """One claim. Numbers are in the unit of publication: accuracies in %."""

    id: str
    says: str
    source: str
    mark: Mark
    """V: read in the text or the code; S: read in a secondary table; M: recalled."""
    rule: Rule
    figure: Figure
    of: Selection
    """Which cells it is about."""
    against: Selection
    """What differs in the cells that those are compared with, for `ratio` and `order`."""
    setting: Selection
    """What the source had beside that. Where ours is another one, a claim is not refuted."""
    low: float
    """The figure, or the lower end of the range; -inf where there is none."""
    high: float
    plus_minus: float
    """As published."""
    allowance: float
    """By how much a faithful repetition may differ beyond that: a share for ratios, in the figure's unit for others."""
    metric: str
    after: int | None
    """The number of inner steps after which quality is read; None for that of the cell."""
    along: str
    """The axis that the figure grows with, for `exponent`; for `ratio`, of growth per unit of this axis."""
    per: str
    """The axis that the claimed ratio is to be divided by: half at two inner steps, a tenth at ten."""
    unmeasured: str
    """Why no run can answer it; empty where one can."""

    @property
    def unit(self) -> tuple[float, str]:
        """The factor from the unit of publication to that of a run, and its word."""
        return UNITS.get(self.metric, (1.0, ""))
