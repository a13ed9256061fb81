"""Reads what is assumed of a machine: as data, of bounded size, checked name by name."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metabench.errors import UserError, unknown
from metabench.files import DATA, MEBIBYTE, read_toml
from metabench.forecast.model import Link, Rates
from metabench.record.axes import LARGEST

MOST_BYTES = MEBIBYTE // 16
LONGEST = 500
"""Characters of a text."""
BUILTIN = DATA / "hardware.toml"
"""The machines that come with metabench."""


@dataclass(frozen=True)
class Quantity:
    """Something that is assumed."""

    words: str
    unit: str
    scale: float
    """Of the unit."""
    most: float = LARGEST


PEAKS = {
    f"peak_{precision}": Quantity(f"peak in {precision}", "TFLOP/s", 1e12)
    for precision in ("float32", "tf32", "bfloat16", "float64")
}
QUANTITIES: Mapping[str, Quantity] = {
    "devices_per_node": Quantity("devices in a node", "", 1, 65_536),
    "memory": Quantity("memory of a device", "GB", 1e9),
    **PEAKS,
    "share_of_peak": Quantity("share of the peak that is reached", "%", 0.01, 1),
    "bandwidth": Quantity("memory bandwidth", "GB/s", 1e9),
    "share_of_bandwidth": Quantity("share of the bandwidth that is reached", "%", 0.01, 1),
    "call_s": Quantity("call of an operator", "µs", 1e-6),
    "collective_s": Quantity("start of an all-reduce", "µs", 1e-6),
    "inside_latency_s": Quantity("step of a ring within a node", "µs", 1e-6),
    "inside_bandwidth": Quantity("bandwidth within a node", "GB/s", 1e9),
    "between_latency_s": Quantity("step of a ring between nodes", "µs", 1e-6),
    "between_bandwidth": Quantity("bandwidth between nodes", "GB/s", 1e9),
    "wait": Quantity("wait for the slowest device", "% of compute", 0.01),
}
MAY_BE_ZERO = ("wait", "collective_s")


@dataclass(frozen=True)
class Assumed:
    """A figure, from low to high, and why."""

    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Hardware:
    """A machine as it is assumed to be."""

    name: str
    title: str
    assumed: Mapping[str, Assumed]

    def has_peak(self, precision: str) -> bool:
        """Whether a forecast in that precision can be made."""
        return f"peak_{precision}" in self.assumed

    def choices(self, precision: str) -> list[Rates]:
        """All combinations of the ends of what is assumed; what the links are like goes together."""
        low = {name: figure.low for name, figure in self.assumed.items()}
        high = {name: figure.high for name, figure in self.assumed.items()}
        slow, fast = (_links(high, low), _links(low, high))
        ends = [(low[name], high[name]) for name in ("share_of_peak", "share_of_bandwidth", "call_s", "wait")]
        return [
            Rates(
                int(low["devices_per_node"]),
                share * low[f"peak_{precision}"],
                reached * low["bandwidth"],
                call_s,
                collective_s,
                inside,
                between,
                wait,
            )
            for share, reached, call_s, wait in itertools.product(*ends)
            for collective_s, inside, between in (slow, fast)
        ]


def _links(latency: Mapping[str, float], bandwidth: Mapping[str, float]) -> tuple[float, Link, Link]:
    inside, between = (Link(latency[f"{at}_latency_s"], bandwidth[f"{at}_bandwidth"]) for at in ("inside", "between"))
    return latency["collective_s"], inside, between


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
    """The machines of a TOML file. Raises `UserError`: whatever is wrong, with the machine it is in."""
    _, tables = read_toml(file, MOST_BYTES, "hardware file")
    found = {}
    for name, table in tables.items():
        try:
            found[name] = _hardware(name, table)
        except UserError as error:
            raise UserError(f"'{file}', {name[:80]}: {error}") from None
    return found


def _hardware(name: str, table: Any) -> Hardware:
    if not isinstance(table, dict):
        raise UserError("it is not a table")
    title = table.get("title", "")
    if not _is_text(title):
        raise UserError(f"'title' is not a text of at most {LONGEST} characters")
    for key in table:
        if key != "title" and key not in QUANTITIES:
            raise unknown("quantity", key, QUANTITIES)
    missing = next((key for key in QUANTITIES if key not in PEAKS and key not in table), "")
    if missing:
        raise UserError(f"it has no '{missing}'")
    assumed = {key: _assumed(key, table[key]) for key in QUANTITIES if key in table}
    for key in ("devices_per_node", "memory", "bandwidth", *(key for key in PEAKS if key in assumed)):
        if assumed[key].low != assumed[key].high:
            raise UserError(f"'{key}' takes one value, not a range")
    return Hardware(name, str(title), assumed)


def _assumed(key: str, table: Any) -> Assumed:
    if not isinstance(table, dict) or set(table) != {"value", "source"} or not _is_text(table["source"]):
        raise UserError(f"'{key}' is not a table with a value and its source")
    ends = table["value"] if isinstance(table["value"], list) else [table["value"]]
    if len(ends) not in (1, 2) or not all(_is_number(end, key) for end in ends) or ends[0] > ends[-1]:
        raise UserError(f"the value of '{key}' is not a positive number, or two that rise, of {_range_text(key)}")
    if key == "devices_per_node" and ends[0] != int(ends[0]):
        raise UserError("'devices_per_node' is not a whole number")
    return Assumed(float(ends[0]), float(ends[-1]), table["source"])


def _range_text(key: str) -> str:
    return f"at most {QUANTITIES[key].most:g}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST


def _is_number(value: Any, key: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (value > 0 or (value == 0 and key in MAY_BE_ZERO)) and value <= QUANTITIES[key].most
