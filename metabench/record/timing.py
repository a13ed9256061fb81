"""Times, as a run records them: samples with their median and interval, phases, what disturbed them. In seconds."""

import math
from typing import Annotated, TypeAlias

import msgspec

from metabench.record.axes import LARGEST
from metabench.record.cell import LONGEST_TEXT, Amount, Whole

MIN_SAMPLES = 6
"""Fewer samples of a time give no 95 % interval of the median."""
SHORTEST_S, LONGEST_S = 1e-12, 1e9
"""A sample is no shorter than a cycle of any clock, and no longer than any machine runs."""
PHASES = (
    "sampling",
    "inner forward",
    "inner backward",
    "inner update",
    "query",
    "outer backward",
    "implicit solve",
    "average",
    "directions",
    "optimiser",
    "meta-iteration",
)
"""What a meta-iteration is divided into, in its order; `directions` and `meta-iteration` where an engine runs them as
one piece. See measure/phases.py."""
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Sample: TypeAlias = Annotated[float, msgspec.Meta(ge=SHORTEST_S, le=LONGEST_S)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]


def finite(value: float) -> float | None:
    """The number, or None for what strict JSON has no word for: NaN and infinity."""
    return value if math.isfinite(value) else None


class Record(msgspec.Struct, frozen=True):
    """A part of a measurement. What could not be found out is None."""


class Summary(Record, frozen=True):
    """Samples and their median, with its 95 % interval and the interquartile range, in the samples' unit."""

    median: Sample
    low: Sample
    high: Sample
    iqr: Amount
    n: Whole
    block: Whole
    """How many calls each sample averages over."""
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        check_inside(self.low, self.median, self.high)

    @property
    def relative_width(self) -> float:
        """Half the width of the interval, as a share of the median."""
        return (self.high - self.low) / (2 * self.median) if self.median else math.inf


class Mean(Record, frozen=True):
    """A mean with its 95 % interval."""

    value: Number
    low: Number
    high: Number
    n: Whole | None = None
    """How many figures it is the mean of."""

    def __post_init__(self) -> None:
        check_inside(self.low, self.value, self.high)


class GpuState(Record, frozen=True):
    """A GPU at one moment."""

    sm_mhz: Whole | None = None
    """Clock of the multiprocessors."""
    memory_mhz: Whole | None = None
    reasons: list[Text] | None = None
    """Why a clock is lower than it could be."""
    celsius: Whole | None = None
    watts: Amount | None = None


class Disturbance(Record, frozen=True):
    """What other programs did to a timing, which says little of the work then."""

    reason: Text
    factor: Amount | None = None
    """How many times as long a meta-iteration took as it would have; None where that is not known."""


class Time(Record, frozen=True):
    """How long a meta-iteration takes, with data already on the device."""

    step: Summary
    compile_s: Amount
    """What the first iteration takes longer than later ones, of an engine that compiles."""
    sampling: Summary | None = None
    """Drawing the tasks of a meta-batch."""
    first_step_s: Amount | None = None
    communication_s: Amount | None = None
    """What a process spends in the all-reduce of directions, the wait for the slowest included."""
    noisy: bool = False
    """Whether the interval of `step`, of this process alone, is wide."""
    note: Text = ""
    """One sentence where the figure is doubtful."""
    compile_cache: Text = ""
    """`warm` or `cold`, of an engine that compiles."""
    clock_mhz: list[Amount | None] = []
    """The processor's clock before and after."""
    gpu: Annotated[list[GpuState | None], msgspec.Meta(max_length=2)] = []
    """The GPU before and after."""
    choices: dict[str, Text] = {}
    """What the engine has chosen by itself, by what it was chosen for."""
    processor_share: Amount | None = None
    """Processor seconds that the process used in each second of the timing."""
    others_cores: Amount | None = None
    """Cores that other programs, and other virtual machines of the host, kept busy meanwhile."""
    disturbed: Disturbance | None = None
    """What disturbed the timing, after it was measured again; None where nothing did."""


class Timed(Record, frozen=True):
    """How long a call takes that is no whole meta-iteration."""

    seconds: Summary
    noisy: bool = False
    """Whether the interval, of this process alone, is wide."""
    note: Text = ""
    """One sentence where the figure is doubtful."""
    disturbed: Disturbance | None = None
    """What disturbed the timing, after it was measured again; None where nothing did."""


class Adaptation(Record, frozen=True):
    """What one held-out task takes, from its support set to the predictions on its query set.

    The plain loop does it, as for a task that comes alone, whatever engine trains. No graph is kept of it.
    """

    whole: Timed
    support: Timed
    """The inner loop on the support set alone."""
    query: Timed
    """The predictions of adapted parameters on the query set alone."""
    steps: Whole = 0
    """Inner steps."""

    @property
    def disturbed(self) -> Disturbance | None:
        """What disturbed the time of the whole."""
        return self.whole.disturbed


class DoubleBackward(Record, frozen=True):
    """What the network of a cell takes to be differentiated once, and twice, on the examples of a meta-batch."""

    once: Timed
    """The gradient of a loss in parameters and inputs."""
    twice: Timed
    """The gradient of the loss, and then that of a penalty on the loss's gradient in the inputs."""
    examples: Whole = 0
    """Examples in the one batch that both are computed on."""

    @property
    def disturbed(self) -> Disturbance | None:
        """What disturbed either."""
        return self.once.disturbed or self.twice.disturbed


class StepTime(Record, frozen=True):
    """A time of a meta-iteration with its 95 % interval."""

    median: Sample
    low: Sample
    high: Sample
    n: Whole | None = None

    def __post_init__(self) -> None:
        check_inside(self.low, self.median, self.high)


class Phases(Record, frozen=True):
    """What the phases of a meta-iteration take."""

    step: StepTime
    """Time of a meta-iteration without marks and without sampling."""
    seconds: dict[str, Mean]
    """Means by phase, in the order of `PHASES`; sampling is no part of the meta-iteration."""

    def __post_init__(self) -> None:
        if not self.seconds.keys() <= set(PHASES) or any(mean.low < 0 for mean in self.seconds.values()):
            raise ValueError("a phase is not known, or takes less than no time")


def check_inside(low: float, value: float, high: float) -> None:
    """Raise ValueError for a figure that lies outside of its interval."""
    if not low <= value <= high:
        raise ValueError("a figure lies outside of its interval")
