"""Words for ranges, for what is assumed, and for settings."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, get_type_hints

from msgspec import Meta

from metabench.forecast.hardware import Hardware
from metabench.forecast.model import Span
from metabench.grouping import grouped
from metabench.record.cell import DISTRIBUTION, Cell
from metabench.report.numbers import TIME_UNITS, in_unit
from metabench.report.render.tables import setting

T = TypeVar("T")
HINTS = get_type_hints(Hardware, include_extras=True)

SETTING_AXES = (
    *(*DISTRIBUTION, "ways", "shots", "model", "query", "train_ways", "train_shots", "inner_steps", "precision"),
    *("first_order", "checkpoint", "second_order", "kept_steps", "inner_optimizer", "outer_clip"),
)
MEASURED_AXES = (*SETTING_AXES, "device", "threads", "machine")


def two(value: float) -> str:
    """A number with two significant digits, and no exponent."""
    if not value:
        return "0"
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def span_text(found: Span, unit: str = "") -> str:
    """`1.2 to 3.4`, or once what is the same at both ends."""
    return " to ".join(dict.fromkeys((two(found.low), two(found.high)))) + unit


def time_span(found: Span) -> str:
    """A range of seconds, in the unit of its higher end."""
    scale, unit = in_unit(found.high, TIME_UNITS)
    return span_text(Span(found.low / scale, found.high / scale), f" {unit}")


def share_text(share: float) -> str:
    """A share of 1 in whole percent."""
    return f"{round(100 * share)} %"


def change_text(share: float) -> str:
    """A share of 1 in whole percent, with its sign."""
    percent = round(100 * share)
    return f"{percent:+} %" if percent else "0 %"


def assumed_words(hardware: Hardware) -> dict[str, tuple[str, str]]:
    """Words for each assumed figure, by its name, and the figure or the range with its unit."""
    told = {}
    for name, figure in hardware.assumed.items():
        meta = next(each for each in HINTS[name].__metadata__ if isinstance(each, Meta))
        unit, scale = (meta.extra or {})["unit"], (meta.extra or {})["scale"]
        ends = dict.fromkeys(f"{value / scale:.4g}" for value in (figure.low, figure.high))
        told[name] = str(meta.title), " to ".join(ends) + (f" {unit}" if unit else "")
    return told


def in_short(hardware: Hardware, precision: str) -> str:
    """The assumptions that a forecast in that precision stands on, in one sentence."""
    words = assumed_words(hardware)
    names = [name for name in words if not name.startswith("peak_") or name == f"peak_{precision}"]
    return f"Assumed of {hardware.title}: {'; '.join(' '.join(words[name]) for name in names)}."


def by_setting(
    found: Iterable[T], cell_of: Callable[[T], Cell], axes: Sequence[str], data: Mapping[str, str]
) -> dict[str, list[T]]:
    """What is given, by the setting of its cell in words."""
    return grouped(found, lambda each: setting(cell_of(each), axes, data))
