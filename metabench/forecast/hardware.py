"""Reads what is assumed of a machine from a TOML file of bounded size."""

import itertools
from pathlib import Path
from typing import Annotated, Generic, TypeAlias, TypeVar

from msgspec import Meta, Struct

from metabench.errors import UserError, unknown
from metabench.files import DATA, MEBIBYTE, as_struct, read_toml
from metabench.forecast.model import Link, Rates
from metabench.record.axes import LARGEST

MOST_BYTES = MEBIBYTE // 16
BUILTIN = DATA / "hardware.toml"
"""The machines that come with metabench."""

Text: TypeAlias = Annotated[str, Meta(pattern=r"\S", max_length=500)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=LARGEST)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0, le=LARGEST)]
Share: TypeAlias = Annotated[float, Meta(gt=0, le=1)]
TWO = Meta(min_length=2, max_length=2)
V = TypeVar("V", bound=float | tuple[float, ...])


class Assumed(Struct, Generic[V], frozen=True, forbid_unknown_fields=True):
    """A figure and why it is assumed: one value, or the ends of a range."""

    value: V
    source: Text

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("the range in 'value' starts above its end")

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value[0] if isinstance(self.value, tuple) else self.value

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value[-1] if isinstance(self.value, tuple) else self.value


# A tuple of any length, bounded by Meta: msgspec 0.22 misreads a union of a number and a tuple of a given length.
One: TypeAlias = Assumed[Positive]
Range: TypeAlias = Assumed[Positive | Annotated[tuple[Positive, ...], TWO]]
RangeFromZero: TypeAlias = Assumed[NotNegative | Annotated[tuple[NotNegative, ...], TWO]]
RangeOfShares: TypeAlias = Assumed[Share | Annotated[tuple[Share, ...], TWO]]


def shown(words: str, unit: str = "", scale: float = 1) -> Meta:
    """How tables show a figure: in words, and in a unit that is so many of the file's."""
    return Meta(title=words, extra={"unit": unit, "scale": scale})


class Hardware(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine as it is assumed to be, in the units of hardware.toml."""

    name: str
    title: Text
    devices_per_node: Annotated[Assumed[Annotated[int, Meta(ge=1, le=65_536)]], shown("devices in a node")]
    memory: Annotated[One, shown("memory of a device", "GB", 1e9)]
    peak_float32: Annotated[One | None, shown("peak in float32", "TFLOP/s", 1e12)] = None
    peak_tf32: Annotated[One | None, shown("peak in tf32", "TFLOP/s", 1e12)] = None
    peak_bfloat16: Annotated[One | None, shown("peak in bfloat16", "TFLOP/s", 1e12)] = None
    peak_float64: Annotated[One | None, shown("peak in float64", "TFLOP/s", 1e12)] = None
    share_of_peak: Annotated[RangeOfShares, shown("share of the peak that is reached", "%", 0.01)]
    bandwidth: Annotated[One, shown("memory bandwidth", "GB/s", 1e9)]
    share_of_bandwidth: Annotated[RangeOfShares, shown("share of the bandwidth that is reached", "%", 0.01)]
    call_s: Annotated[Range, shown("call of an operator", "µs", 1e-6)]
    collective_s: Annotated[RangeFromZero, shown("start of an all-reduce", "µs", 1e-6)]
    inside_latency_s: Annotated[Range, shown("step of a ring within a node", "µs", 1e-6)]
    inside_bandwidth: Annotated[Range, shown("bandwidth within a node", "GB/s", 1e9)]
    between_latency_s: Annotated[Range, shown("step of a ring between nodes", "µs", 1e-6)]
    between_bandwidth: Annotated[Range, shown("bandwidth between nodes", "GB/s", 1e9)]
    wait: Annotated[RangeFromZero, shown("wait for the slowest device", "% of compute", 0.01)]

    @property
    def assumed(self) -> dict[str, "Assumed[float]"]:
        """All figures by name, without peaks that are not given."""
        return {name: figure for name in self.__struct_fields__[2:] if (figure := getattr(self, name))}

    def has_peak(self, precision: str) -> bool:
        """Whether a forecast in that precision can be made."""
        return f"peak_{precision}" in self.assumed

    def choices(self, precision: str) -> list[Rates]:
        """All combinations of the ends of the ranges. Links are slow in everything, or fast in everything."""
        low = {name: figure.low for name, figure in self.assumed.items()}
        high = {name: figure.high for name, figure in self.assumed.items()}
        ends = [(low[name], high[name]) for name in ("share_of_peak", "share_of_bandwidth", "call_s", "wait")]
        return [
            Rates(
                devices_per_node=int(low["devices_per_node"]),
                arithmetic=share * low[f"peak_{precision}"],
                traffic=reached * low["bandwidth"],
                call_s=call_s,
                collective_s=latencies["collective_s"],
                inside=Link(latencies["inside_latency_s"], bandwidths["inside_bandwidth"]),
                between=Link(latencies["between_latency_s"], bandwidths["between_bandwidth"]),
                wait=wait,
            )
            for share, reached, call_s, wait in itertools.product(*ends)
            for latencies, bandwidths in ((high, low), (low, high))
        ]


def find_hardware(name: str) -> Hardware:
    """A machine that comes with metabench, or the one of a TOML file. Raises `UserError` for whatever is wrong."""
    if not name.endswith(".toml"):
        known = read_hardware(BUILTIN)
        if name not in known:
            raise unknown("hardware", name, known)
        return known[name]
    found = read_hardware(Path(name))
    if len(found) != 1:
        raise UserError(f"'{name}' describes {len(found)} machines: leave one of them")
    return next(iter(found.values()))


def read_hardware(file: Path) -> dict[str, Hardware]:
    """The machines of a TOML file. Raises `UserError`, which names the machine that is wrong."""
    _, tables = read_toml(file, MOST_BYTES, "hardware file")
    found = {}
    for name, table in tables.items():
        try:
            if not isinstance(table, dict):
                raise UserError("it is not a table")
            found[name] = as_struct({**table, "name": name}, Hardware, "quantity")
        except UserError as error:
            raise UserError(f"'{file}', {name[:80]}: {error}") from None
    return found
