"""What was observed in a cell: one line of `measurements.jsonl`, typed. Times are in seconds, sizes in bytes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from metabench.record.axes import LARGEST, LONGEST_NAME
from metabench.record.cell import Amount, Cell, Name, Whole
from metabench.record.earlier import allowed_of, phase_of, theory_of
from metabench.record.quality import Quality
from metabench.record.timing import Adaptation, DoubleBackward, Phases, Record, Text, Time

SCHEMA = 1
"""The version of the lines of `measurements.jsonl`; newer ones are refused."""
Status: TypeAlias = Literal["ok", "incorrect", "oom", "crashed", "timeout", "diverged", "unsupported", "skipped"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""The status that says most stands first, of those that are not ok."""
HAPPENED: Mapping[str, str] = {
    "incorrect": "did not pass the correctness gate",
    "diverged": "diverged",
    "oom": "ran out of memory",
    "timeout": "reached the time limit",
    "crashed": "crashed",
    "unsupported": "cannot be run here",
    "skipped": "did not run",
}
"""What became of something whose status is not ok, as a sentence about it goes on."""
Repetition: TypeAlias = tuple[str, int]
"""A run and a round in it: rows that share both were measured one after the other."""
Side: TypeAlias = Literal["a", "b"]
SIDES: tuple[Side, ...] = ("a", "b")
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
RARE_PARTS = ("energy", "instructions", "adaptation", "double_backward", "launches")
PARTS = ("time", "memory", "phases", "work", "quality", *RARE_PARTS)
"""Fields that hold what was measured."""
RARE = (
    *RARE_PARTS,
    *("reference", "machine", "run", "implementation", "phase", "sources", "unsettled"),
)
"""Fields that most rows lack, and then leave out."""


WORK_SPACE = ", and what the engine keeps to work in"
"""The end of a method's words where an engine keeps its work space from one iteration to the next."""


class Memory(Record, frozen=True):
    """Peak memory of one meta-iteration. The method of a figure that is None says why."""

    tracked_bytes: Whole | None = None
    """Peak of the tensors' live bytes, above what was live when the step began."""
    tracked_method: Text | None = None
    resident_bytes: Whole | None = None
    """Peak of the process's resident set, above what was resident when the step began."""
    resident_method: Text | None = None
    cuda_allocated_bytes: Whole | None = None
    """Peak of what arrays on the GPU held, set-up included, by the allocator that the engine uses."""
    cuda_reserved_bytes: Whole | None = None
    """Peak of what that allocator had taken from the driver, set-up included."""
    nvml_bytes: Whole | None = None
    """What the process held on the GPU after the step: the reserved memory and the CUDA context."""
    nvml_method: Text | None = None


class Peaks(Record, frozen=True):
    """The highest rates reached with some number of threads, on a device, in a precision."""

    matmul: Positive
    """Rate of products of square matrices, in floating-point operations per second."""
    convolution: Positive
    """Rate of 3x3 convolutions from 64 to 64 channels, in floating-point operations per second. Each product is counted
    as if it were carried out, so an algorithm with fewer (Winograd's) can go beyond what the hardware multiplies."""
    bandwidth: Positive | None
    """Rate between processor and main memory, in bytes per second read and written. A cache line that is fetched only
    to be overwritten is not counted, as in STREAM."""
    noisy: bool
    """Whether a timing behind these is noisy: other programs were in the way, and the machine may well be faster."""


class Work(Record, frozen=True):
    """The work of a meta-iteration, and what the machine can do at the most."""

    flops: Amount
    peaks: Peaks
    bytes: Amount | None = None
    calls: Whole | None = None
    """Operators that are called, where they are called one by one."""


class Gate(Record, frozen=True):
    """Relative errors of a direction; None where one is not finite, or was not looked at."""

    engine_error: Amount | None = None
    """Error of the engine in float64, against `loop`."""
    definition_error: Amount | None = None
    """Error of `loop` in float64, against finite differences."""
    engine_tolerance: Amount | None = None
    definition_tolerance: Amount | None = None
    timed_error: Amount | None = None
    """Error of the function that is timed, in its precision and at its full shape, against float64."""
    rounding_error: Amount | None = None
    """Error of `loop` in that precision, on the same episodes: what rounding does."""
    timed_excess: Amount | None = None
    """Share of what is allowed that the timed function reaches in its worst tensor; above 1 it is refused."""
    timed_allowed: Amount | None = None
    """What rounding allows of all tensors together, relative to the direction; from 1 on, anything would pass."""
    timed_s: Amount | None = None
    """Seconds that the proof of the timed function took, before the timing and after it."""


class Energy(Record, frozen=True):
    """The energy of one meta-iteration. Where there is no counter, figures are None, and the method says why."""

    joules: Amount | None
    watts: Amount | None
    """Mean power over the window."""
    seconds: Amount | None
    """Length of the window in seconds."""
    iterations: Whole | None
    """How many meta-iterations it had."""
    method: Text


class Instructions(Record, frozen=True):
    """What one meta-iteration asks of a processor. What cannot be counted is None, and the method says why."""

    instructions: Amount | None
    """Instructions outside of the kernel."""
    cycles: Amount | None
    """Cycles of the processor's clock in which they were carried out."""
    iterations: Whole | None
    """How many meta-iterations were counted at once."""
    method: Text


class Launches(Record, frozen=True):
    """What one meta-iteration asks of a GPU. The note says why something could not be found out."""

    launches: Amount | None
    """How often the host put work on the GPU; a graph of kernels that is launched as one counts once."""
    kernels: Amount | None
    """How many kernels, copies and fills the GPU carried out."""
    busy_s: Amount | None
    """Seconds in which it carried out at least one of them."""
    note: Text
    busy_share: Share | None = None
    """Share of the meta-iteration's time by the clock in which the GPU carried out work."""


class Data(Record, frozen=True):
    """The data that tasks were drawn from."""

    name: Name
    content_hash: Text
    others: dict[str, Any] = {}
    """Anything else worth recording: source, split sizes and seed, augmentation."""


class Theory(Record, frozen=True):
    """What an implementation says of itself, by which it is grouped, drawn and held against theory."""

    family: Text = ""
    """Family of the algorithm."""
    order: Text = ""
    """What derivatives of the adaptation its direction contains: `second`, `first`, `implicit` or `none`."""
    concurrent_tasks: bool | None = None
    """Whether the engine holds all tasks at once, or one after the other; None where that is not known."""


class Noise(Record, frozen=True):
    """Which process of the noise configuration it is: the sides of a pair run one right after the other."""

    pair: Whole
    side: Side


class Measurement(Record, frozen=True, kw_only=True):
    """The outcome of one cell in one round. Parts that were not measured are None."""

    schema: int = SCHEMA
    id: Name
    round: Whole
    status: Status
    cell: Cell
    reason: Text = ""
    """One sentence where the status is not `ok`."""
    phase: Text = ""
    """Phase in which it ended, where the status is not `ok`. What earlier phases measured is kept."""
    started: Text = ""
    """UTC, ISO 8601."""
    seconds: Amount | None = None
    """Wall time of the whole process."""
    data: Data | None = None
    parameters: Whole | None = None
    """Numbers that the meta-parameters hold."""
    library: Text = ""
    """Name and version of what did the work, if not torch."""
    implementation: Theory | None = None
    sources: dict[Text, Text] = {}
    """SHA-256 of each file of the user's own that was loaded, by its name relative to the folder of the sweep."""
    gate: Gate | None = None
    time: Time | None = None
    memory: Memory | None = None
    phases: Phases | None = None
    work: Work | None = None
    quality: Quality | None = None
    energy: Energy | None = None
    instructions: Instructions | None = None
    adaptation: Adaptation | None = None
    double_backward: DoubleBackward | None = None
    launches: Launches | None = None
    warnings: list[Text] = []
    traceback: Text = ""
    noise: Noise | None = msgspec.field(default=None, name="reference")
    """Pair and side of a row that was timed for the noise floor alone, and counts for no cell."""
    run: Text = ""
    """The run that it was merged from, and its revision."""
    machine: Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)] = ""
    """Label of the machine that measured it; empty where that is not known."""
    unsettled: bool = False
    """Whether other programs disturbed it, and the run has not measured it again yet."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from all other rows of a run, and names its job."""
        return (self.id, self.round, self.noise.side if self.noise else "")

    @property
    def repetition(self) -> Repetition:
        """The run and the round that it was measured in: what rows of one repetition took may be compared in pairs.

        Rounds of different runs with the same number were measured at different times, maybe by different code.
        """
        return (self.run, self.round)

    @property
    def theory(self) -> Theory:
        """What the implementation says of itself; of old rows, what was known of it then."""
        return self.implementation or Theory(**theory_of(self.cell.algorithm, self.cell.engine))

    @property
    def ended_in(self) -> str:
        """The phase in which it ended; of old rows, the one that their reason names. Empty where that is not known."""
        return self.phase or (phase_of(self.reason) if self.status != "ok" else "")

    @property
    def hollow(self) -> bool:
        """Whether rounding allowed any direction of the timed function, so that only the one in float64 is proved."""
        if self.gate is None:
            return False
        if (allowed := self.gate.timed_allowed) is None:
            allowed = allowed_of(self.gate.rounding_error, self.cell.precision)
        return allowed >= 1

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, as it stands in `measurements.jsonl`."""
        row: dict[str, Any] = msgspec.to_builtins(self) | {"cell": self.cell.to_json()}
        row = {name: value for name, value in row.items() if value or name not in RARE}
        if self.data:
            row["data"] = {"name": self.data.name, "content_hash": self.data.content_hash, **self.data.others}
        return row


def data_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary of `Data`, what has no name of its own put together."""
    own = {name: value for name, value in data.items() if name in ("name", "content_hash")}
    return own | {"others": {name: value for name, value in data.items() if name not in own}}
