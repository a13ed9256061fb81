"""A claim as data: a figure that someone published, where it was read, and the rule that judges it by ours."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, Struct

from metabench.record.axes import LARGEST, LARGEST_WHOLE

Rule: TypeAlias = Literal["interval", "range", "one-sided", "ratio", "exponent", "order"]
Figure: TypeAlias = Literal["quality", "time", "memory", "backward", "adaptation", "double_backward"]
MEASURED_BY: Mapping[Figure, str] = {"backward": "phases"}
"""What a cell must measure for a figure, where that has another name."""
TESTED: tuple[Figure, ...] = ("quality", "adaptation")
"""Figures of held-out tasks; all others are of training tasks."""
Metric: TypeAlias = Literal["", "accuracy", "mse"]
Along: TypeAlias = Literal["", "inner_steps", "meta_batch", "parameters"]
"""What a figure may grow with; `parameters` are those of the model."""
Number: TypeAlias = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, le=LARGEST)]
Text: TypeAlias = Annotated[str, Meta(pattern=r"\S", max_length=500)]
WholeNumber: TypeAlias = Annotated[int, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
Scalar: TypeAlias = Annotated[str, Meta(max_length=500)] | bool | WholeNumber | Number
Values: TypeAlias = Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=50)]
Selection: TypeAlias = Mapping[str, Values]
"""Axes with the values that they may have."""
REACHING: tuple[Rule, ...] = ("interval", "one-sided")
"""Rules of figures that are to be reached: whoever is as good or better has reached them, in whatever setting."""
UNITS: Mapping[str, tuple[float, str]] = {"accuracy": (0.01, " %")}
"""Unit in which a claim on a metric is written, as a factor and a word; any other metric is as it is."""
_ID = re.compile("[a-z0-9][a-z0-9+-]{0,79}")


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One claim. Numbers are in the unit of publication: accuracies in %. A rule without what it needs is refused."""

    id: str
    says: Text
    source: Text
    mark: Literal["V", "S", "M"]
    """V: read in the text or the code; S: read in a secondary table; M: recalled."""
    rule: Rule
    figure: Figure = "quality"
    of: Selection = {}
    """The cells that the claim is about."""
    against: Selection = {}
    """The axes on which the cells that those are compared with differ, for `ratio` and `order`."""
    setting: Selection = {}
    """The source's setting beside that. Where ours is another one, a claim is not refuted."""
    departs: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    """Differences of this package from the source that no axis can change."""
    claimed: Annotated[tuple[Number, ...], Meta(max_length=2)] = ()
    """The figure, or both ends of a range."""
    at_least: Number | None = None
    at_most: Number | None = None
    plus_minus: Amount = 0.0
    """Uncertainty as published."""
    allowance: Amount = 0.0
    """Further difference that a faithful repetition may have: a share for ratios, in the figure's unit for others."""
    metric: Metric = ""
    after: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """The number of inner steps after which quality is read; None for that of the cell."""
    along: Along = ""
    """The axis that the figure grows with, for `exponent`; for `ratio`, of growth per unit of this axis."""
    per: Literal["", "inner_steps", "meta_batch", "world_size"] = ""
    """The axis that the claimed ratio is to be divided by: half at two inner steps, a tenth at ten."""
    unmeasured: Annotated[str, Meta(max_length=500)] = ""
    """Why no run can answer it; empty where one can."""
    sweep: Annotated[str, Meta(pattern="^[a-z0-9-]*$", max_length=80)] = ""
    """The sweep whose run is to decide it."""
    takes: Annotated[str, Meta(max_length=200)] = ""
    """What a run that decides it takes, and is not at hand where ours are made: several GPUs, other data."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("its id is not of small letters, digits, + and -")
        if self.figure == "quality" and not (self.metric or self.unmeasured):
            raise ValueError(f"a claim on quality needs a metric: one of {', '.join(get_args(Metric)[1:])}")
        if self.rule in ("interval", "range", "one-sided") and self.figure != "quality":
            raise ValueError(f"the rule '{self.rule}' is for quality: times and peaks are judged by 'ratio' or 'order'")
        if self.rule in ("ratio", "exponent") and self.figure == "quality":
            raise ValueError(f"the rule '{self.rule}' is for time and memory: give 'figure'")
        if self.rule == "exponent" and not self.along:
            raise ValueError(f"the rule 'exponent' needs 'along': one of {', '.join(get_args(Along)[1:])}")
        if not self.unmeasured:
            self._check_cells()
            self._check_range()

    def _check_cells(self) -> None:
        if not self.of:
            raise ValueError("it needs 'of': the configurations that it is about")
        if self.rule in ("ratio", "order") and not self.against and self.figure != "double_backward":
            raise ValueError(f"the rule '{self.rule}' needs 'against': in what the other configurations differ")

    def _check_range(self) -> None:
        if self.rule == "order":
            return
        if self.rule == "one-sided":
            if (self.at_least is None) == (self.at_most is None):
                raise ValueError("the rule 'one-sided' needs 'at_least' or 'at_most'")
        elif not self.claimed:
            raise ValueError("it needs 'claimed': a number, or two for a range")
        elif self.low > self.high:
            raise ValueError("the range in 'claimed' starts above its end")
        elif self.rule == "range" and len(self.claimed) == 1:
            raise ValueError("the rule 'range' needs two numbers in 'claimed'")
        elif self.rule == "ratio" and self.low <= 0:
            raise ValueError("a claimed ratio is above 0")

    @property
    def is_to_be_reached(self) -> bool:
        """Whether it is a score that is to be reached, of which may also be asked whether its setting was repeated."""
        return self.figure == "quality" and self.rule in REACHING

    @property
    def low(self) -> float:
        """The figure, or the lower end of the range; -inf where there is none."""
        if self.rule == "one-sided":
            return -math.inf if self.at_least is None else self.at_least
        return self.claimed[0] if self.claimed and self.rule != "order" else -math.inf

    @property
    def high(self) -> float:
        """The figure, or the upper end of the range; inf where there is none."""
        if self.rule == "one-sided":
            return math.inf if self.at_most is None else self.at_most
        return self.claimed[-1] if self.claimed and self.rule != "order" else math.inf

    @property
    def unit(self) -> tuple[float, str]:
        """The factor from the unit of publication to that of a run, and its word."""
        return UNITS.get(self.metric, (1.0, ""))
