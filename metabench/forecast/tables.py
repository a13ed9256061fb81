"""A forecast as a document: how the model does on what was measured, what it predicts, what it assumes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metabench.files import replace_file
from metabench.forecast.against import comparison_tables, comparison_verdict
from metabench.forecast.breaks import STRONG, TRIED, WEAK, Break, most_tasks
from metabench.forecast.checking import check_tables, check_verdict
from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import Counted, MeasuredLine
from metabench.forecast.model import Forecast, Span
from metabench.forecast.predicting import Predicted, Prediction
from metabench.forecast.text import (
    MEASURED_AXES,
    SETTING_AXES,
    assumed_words,
    by_setting,
    in_short,
    span_text,
    time_span,
    two,
)
from metabench.report.document import Document, as_json, as_markdown
from metabench.report.numbers import NOTHING, bytes_text, duration_text, time_text
from metabench.report.render.tables import Section, Table

COLUMNS = (
    *("implementation", "devices", "tasks", "tasks a device", "compute", "communication", "step time"),
    *("speed-up", "efficiency", "memory", "limited by"),
)
SCALINGS = {
    STRONG: (
        "Strong scaling, predicted",
        "The same meta-batch shared by more devices; speed-up over one device, efficiency: that by the number of them.",
    ),
    WEAK: (
        "Weak scaling, predicted",
        "As many tasks on each device; speed-up in tasks a second, efficiency: that by the number of devices.",
    ),
}
HOW = (
    "All figures but the columns *measured* are predicted: by the model of docs/scale.md, from laws fitted to one",
    "process, from counted operations, bytes and calls, and from what is assumed of the hardware.",
    "A range holds what all combinations of the assumptions give. It is no confidence interval.",
)


def forecast_document(found: Prediction) -> Document:
    """All tables of a prediction."""
    run, data = found.run, found.run.data_names
    sections = (
        Section("The model against what was measured", tuple(check_tables(found.checks, data))),
        Section(
            "The forecast against what was measured", tuple(comparison_tables(found.compared, found.hardware, data))
        ),
        Section("What one process reached", tuple(_reached_tables(found.predicted, data))),
        Section("Forecast", tuple(_forecast_tables(found, data))),
        Section("What would break first", tuple(_break_tables(found, data))),
        Section("Assumptions", (assumptions(found.hardware),)),
    )
    facts = [
        ("run", run.name),
        ("measured on", run.environment.summary or "not known"),
        ("forecast for", found.hardware.title),
        ("model against measured", check_verdict(found.checks)),
    ]
    facts += [("forecast against measured", comparison_verdict(found.compared))] if found.compared else []
    kept = tuple(section for section in sections if section.tables)
    return Document(f"Forecast from {run.sweep}", tuple(facts), (*run.warnings, *found.left_out), kept, HOW)


def write_forecast(found: Prediction, folder: Path) -> Path:
    """Write forecast.md into a folder, which is made if need be. Raises `UserError`."""
    file = folder / "forecast.md"
    replace_file(file, as_markdown(forecast_document(found)).encode())
    return file


def _reached_tables(found: Sequence[Predicted], data: Mapping[str, str]) -> Iterator[Table]:
    columns = (
        *("implementation", "tasks", "step time", "operations", "bytes", "calls"),
        *("share of the peak", "share of the bandwidth", "time a call"),
    )
    notes = (
        "Shares are of what the machine reached in the same processes, with as many threads; of the bandwidth more "
        "than all where much stays in caches. time a call: the whole step by its calls, their arithmetic included.",
    )
    timed = [(each.line, one) for each in found for one in each.line.counted if one.step and one.peaks.bandwidth]
    for where, group in by_setting(timed, lambda pair: pair[0].cell, MEASURED_AXES, data).items():
        yield Table(
            f"Reached by one process, measured: {where}",
            "Measured, and what the ranges assumed of other hardware can be held against.",
            columns,
            tuple(_reached_row(*pair) for pair in group),
            notes,
            tuple(one.ids for _, one in group),
        )


def _reached_row(line: MeasuredLine, one: Counted) -> tuple[str, ...]:
    assert one.step and one.peaks.bandwidth
    seconds, peak = one.step.value, max(one.peaks.matmul, one.peaks.convolution)
    return (
        *(line.name, str(one.tasks), time_text(one.step), f"{two(one.flops / 1e6)} M", bytes_text(round(one.bytes))),
        *(str(one.calls), f"{two(100 * one.flops / seconds / peak)} %"),
        *(f"{two(100 * one.bytes / seconds / one.peaks.bandwidth)} %", duration_text(seconds / one.calls)),
    )


def _forecast_tables(found: Prediction, data: Mapping[str, str]) -> Iterator[Table]:
    notes = (
        "compute: the longest of arithmetic, memory traffic and operator calls, which are those counted here in one "
        "process; communication: the all-reduce and the wait for the slowest.",
        "memory: the straight line of the peaks measured here; libraries of a GPU take more.",
        "limited by: what takes most of the step, by one combination of the assumptions or another.",
    )
    for scaling, (title, says) in SCALINGS.items():
        for where, group in by_setting(found.predicted, lambda each: each.line.cell, SETTING_AXES, data).items():
            assumed = in_short(found.hardware, group[0].line.cell.precision)
            pairs = [(each, one) for each in group for one in each.forecasts[scaling]]
            body = tuple(_forecast_row(each, one, found.hardware) for each, one in pairs)
            tasks = group[0].forecasts[STRONG][0].tasks
            size = f"meta-batch {tasks}" if scaling == STRONG else f"{tasks} tasks a device"
            ids = tuple(each.line.ids for each, _ in pairs)
            yield Table(f"{title}: {where}, {size}", says, COLUMNS, body, (assumed, *notes), ids)


def _forecast_row(each: Predicted, one: Forecast, hardware: Hardware) -> tuple[str, ...]:
    law = each.line.memory
    peak = law.fixed.value + law.each.value * one.own_tasks if law else None
    limits = [f"idle devices: {one.idle} of {one.devices}"] if one.idle else []
    limits += ["memory"] if peak is not None and peak > hardware.memory.low else []
    return (
        each.line.name,
        str(one.devices),
        str(one.tasks),
        str(one.own_tasks),
        time_span(one.compute),
        time_span(one.communication) if one.communication.high else NOTHING,
        time_span(one.step),
        span_text(one.speed_up),
        span_text(Span(100 * one.efficiency.low, 100 * one.efficiency.high), " %"),
        NOTHING if peak is None else bytes_text(round(peak)),
        "; ".join([*limits, " or ".join(one.limits)]),
    )


def _break_tables(found: Prediction, data: Mapping[str, str]) -> Iterator[Table]:
    notes = (
        f"from: the least number of devices; powers of two up to {TRIED[-1]} are tried. A range is of the assumptions.",
        "Drawing tasks is taken to be as fast as on the machine that was measured, and no faster by more processes.",
    )
    columns = ("implementation", "scaling", "what breaks", "from", "limited by")
    for where, group in by_setting(found.predicted, lambda each: each.line.cell, SETTING_AXES, data).items():
        tasks = group[0].forecasts[STRONG][0].tasks
        body = tuple(
            (each.line.name, one.scaling, one.what, from_text(one), _broken_by(one, tasks))
            for each in group
            for one in each.breaks
        )
        held = [(each.line.name, most_tasks(each.line, found.hardware)) for each in group if each.line.memory]
        said = [f"{name} {'any number' if most is None else f'{most:,}'}" for name, most in held]
        memory = (f"Tasks that the memory of a device holds, by the straight line: {'; '.join(said)}.",) if said else ()
        yield Table(
            f"What would break first, predicted: {where}, {tasks} tasks",
            "From how many devices on more of them help little: as many tasks shared (strong), or on each (weak).",
            columns,
            body,
            (*notes, *memory),
            tuple(each.line.ids for each in group for _ in each.breaks),
        )


def _broken_by(one: Break, tasks: int) -> str:
    if one.scaling == STRONG and one.first is not None and one.first > tasks:
        return "idle devices"
    return " or ".join(one.limits) or NOTHING


def from_text(one: Break) -> str:
    """`8`, `8 to 64`, `8, or never`, `not up to 4096`."""
    if one.first is None:
        return f"not up to {TRIED[-1]}"
    if one.last is None:
        return f"{one.first}, or never"
    return str(one.first) if one.first == one.last else f"{one.first} to {one.last}"


def assumptions(hardware: Hardware) -> Table:
    """All that is assumed of the hardware."""
    words = assumed_words(hardware)
    body = tuple((*words[name], figure.source) for name, figure in hardware.assumed.items())
    says = "None of this was measured by metabench; a file of your own (--hardware) takes its place."
    return Table(f"Assumed: {hardware.title}", says, ("quantity", "assumed", "source"), body)


def forecast_json(found: Prediction) -> dict[str, Any]:
    """The document, and its figures as numbers: seconds, tasks and shares."""
    forecasts = [
        {"implementation": each.line.name, "cell": each.line.cell.to_json(), "scaling": name, **asdict(one)}
        for each in found.predicted
        for name, many in each.forecasts.items()
        for one in many
    ]
    return as_json(forecast_document(found)) | {"hardware": found.hardware.name, "forecasts": forecasts}
