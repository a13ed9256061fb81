"""How time and memory grow with inner steps, model size and meta-batch, with the laws fitted to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metabench.report.axes import LINE_TECHNIQUES
from metabench.report.bundles import Bundle, ending, is_partial, status
from metabench.report.figures import shown
from metabench.report.figures.axes import log_axis, size_ticks, within
from metabench.report.figures.base import PART, Figure, Group, Panel, ends_of, figure_of, frame_of, shared
from metabench.report.figures.marks import (
    End,
    coloured,
    dashed,
    end_labels,
    height_for,
    layer,
    marked,
    only,
    with_interval,
)
from metabench.report.figures.style import Look, Looks, looks_of
from metabench.report.figures.tips import memory_text, number_text, seconds_text, tip, told
from metabench.report.render.tables import techniques
from metabench.report.results import Run
from metabench.report.sections.growth import GROWING
from metabench.report.sections.scaling import (
    MEASURES,
    SYMBOLS,
    Measure,
    Scaling,
    amount_text,
    exponent_text,
    laws_of,
    sizes_of,
)
from metabench.statistics.laws import Estimate
from metabench.statistics.ratios import Interval

BAND = 1.0
"""How wide the interval of an exponent may be for its law to have a band."""
SAYS = (
    "Points: measured values with 95 % intervals; memory is exact. Lines: the power law fitted to the points, with the "
    "95 % interval of its exponent in brackets; where it does not fit and a straight line does, intercept and slope; "
    "where neither does, the points are joined. Without brackets: a law through two points alone. Bands: 95 % "
    f"intervals of the laws, left out where the exponent is not known to {BAND / 2:g}. K: inner steps, "
    "P: parameters, B: meta-batch size."
)
WORDS = {"constant": "constant", "none": "no simple law"}
WIDTH = 175
AT = {"inner_steps": "inner steps {}", "model": "{} parameters", "meta_batch": "meta-batch {}"}
"""A size in words, by its axis."""


@shown(70)
def growth(run: Run) -> Figure | None:
    """A panel of times and one of memory for each axis and setting in which something was measured at two sizes."""
    looks = looks_of(run)
    found = [(where, _named(fitted, looks)) for where, fitted in laws_of(run)]
    groups = []
    for axis, word in GROWING.items():
        here = [(where, lines) for where, lines in found if lines[0][2].axis == axis]
        common, rest = shared([where for where, _ in here])
        alone = len(set(rest)) == 1  # one setting: what it is stands in the heading
        panels = [
            _panel(where, "" if alone else own, lines, run.model_sizes(lines[0][2].bundle.cell))
            for (where, lines), own in zip(here, rest, strict=True)
        ]
        groups.append(Group(f"{word.capitalize()} — {common}" if common else word.capitalize(), panels))
    title = "Time and memory of one meta-iteration against its sizes"
    return figure_of(run, "growth", title, SAYS, groups)


def _named(fitted: Sequence[Scaling], looks: Looks) -> list[tuple[str, Look, Scaling]]:
    """Each line with its look, named by what tells it apart; of one algorithm alone, each engine has its look."""
    algorithms = {one.bundle.algorithm for one in fitted}
    engines = list(dict.fromkeys(one.bundle.cell.engine for one in fitted))
    by_engine = len(algorithms) == 1 and len(engines) > 1
    made = []
    for one in fitted:
        engine, used = one.bundle.cell.engine, techniques(one.bundle.cell, LINE_TECHNIQUES)
        words = [one.bundle.algorithm] * (not by_engine) + [engine] * (len(engines) > 1) + list(used)
        look = looks.engines[engine] if by_engine else looks.algorithms[one.bundle.algorithm]
        lost = [f"{status(b)} at {v}" for v, b in one.line.items() if _figure(b, one.measure) is None]
        name = " ".join(words) + (f" ({', '.join(lost)})" if lost else "")
        made.append((name, look.hollowed(bool(used) or (not by_engine and engine != engines[0])), one))
    return made


def _figure(bundle: Bundle, measure: Measure) -> Interval | None:
    if measure == "time":
        return bundle.step
    return Interval(*[float(bundle.peak.bytes)] * 3) if bundle.peak else None


def _rows(one: Scaling, sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """What was measured at each size, the smallest first, and what the law says of it."""
    at = {sizes_of(one.axis, value, sizes): bundle for value, bundle in one.line.items()}
    for size in sorted(at):
        if size in one.law.sizes and (figure := _figure(at[size], one.measure)):
            law = one.law.at(size) if one.law.form != "none" else Estimate(figure.value, None)
            yield {
                "measure": one.measure,
                "axis": one.axis,
                "size": size,
                **ends_of(figure),
                "form": one.law.form,
                **_estimate(law, "law"),
                **_estimate(one.law.exponent, "exponent"),
                "r_squared": one.law.r_squared,
                "status": ending(at[size]) if is_partial(at[size]) else "",
                "cells": " ".join(dict.fromkeys(row.id for row in at[size].rows)),
            }


def _estimate(found: Estimate, name: str) -> dict[str, float | None]:
    """Columns of an estimate, whose interval may not be known where its value is."""
    return ends_of(found.interval, name, f"{name}_") | {name: found.value}


def _law(one: Scaling) -> str:
    """The law that is drawn, in a few letters."""
    symbol = SYMBOLS[one.axis]
    if one.law.form in WORDS:
        return WORDS[one.law.form]
    if one.law.form == "line":
        fixed, each = (amount_text(found, one.measure, alone=True) for found in (one.law.fixed, one.law.each))
        return f"{fixed} + {each} · {symbol}"
    return f"{symbol}^{exponent_text(one.law.exponent)}"


def _panel(where: str, own: str, lines: Sequence[tuple[str, Look, Scaling]], sizes: Mapping[str, int]) -> Panel:
    """`own` is what of the setting other panels of the axis do not have."""
    axis, measure = lines[0][2].axis, lines[0][2].measure
    title = f"{MEASURES[measure]} vs {GROWING[axis]}"
    task, _, note = own.partition(PART)
    rows = [{"panel": f"{title}: {where}", "name": name, **row} for name, _, one in lines for row in _rows(one, sizes)]
    frame = frame_of(rows)
    laws = {name: _law(one) for name, _, one in lines}
    tips = [_tip(row, laws[row["name"]]) for row in rows]
    x = log_axis("parameters" if axis == "model" else GROWING[axis], list(frame["size"]), grid=True)
    x = replace(x, ticks=size_ticks(x, list(frame["size"])))
    figures = [Interval(*ends) for ends in frame[["value", "low", "high"]].itertuples(index=False)]
    y = log_axis(MEASURES[measure].lower(), within(figures), measure, grid=True)
    looks = {name: look for name, look, _ in lines}
    height = height_for(len(lines), 190)
    last = {row["name"]: row for row in rows}
    ends = [End(name, row["size"], row["law"], f"{name}: {laws[name]}") for name, row in last.items()]
    told_apart = only(f"datum.form !== 'power' || datum.exponent_high - datum.exponent_low <= {BAND}")
    at, band = x.at("size"), {"y": y.at("law_low"), "y2": {"field": "law_high"}}
    layers = [
        layer({"type": "area", "opacity": 0.1}, with_interval("law_high"), told_apart, x=at, **band, **coloured(looks)),
        layer({"type": "line", "strokeWidth": 1.3}, x=at, y=y.at("law"), **dashed(looks)),
        layer("rule", with_interval(), x=at, y=y.at("low"), y2={"field": "high"}, **coloured(looks)),
        layer("point", x=at, y=y.at("value"), **marked(looks)),
        *end_labels(ends, looks, x, y, WIDTH, height),
    ]
    return Panel(f"{title} — {task}" if task else title, frame, layers, WIDTH, height, note=note, tips=tips)


def _tip(row: Mapping[str, Any], law: str) -> str:
    found = told(row)
    value = seconds_text(found) if row["measure"] == "time" else memory_text(found.value)
    size = AT[row["axis"]].format(number_text(row["size"]))
    fit = "" if row["form"] == "none" or row["r_squared"] is None else f", R² {row['r_squared']:.3f}"
    return tip(row["name"], f"{value} at {size}", f"law: {law}{fit}", row["status"])
