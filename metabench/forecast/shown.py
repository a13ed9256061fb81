"""A forecast as a document: what the model says of what was measured, what it predicts, what it assumes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from metabench.forecast.breaks import STRONG, TRIED, WEAK, Break, most_tasks
from metabench.forecast.hardware import PEAKS, QUANTITIES, Hardware
from metabench.forecast.measured import Check, fit_network
from metabench.forecast.model import Forecast, Limit, Span
from metabench.forecast.predicting import SETTING_AXES, Predicted, Prediction
from metabench.forecast.text import change_text, share_text, span_text, time_span, two
from metabench.report.document import Document, as_json, data_names
from metabench.report.numbers import NOTHING, bytes_text, duration_text, time_text
from metabench.report.render.tables import Section, Table, setting

MEASURED_AXES = (*SETTING_AXES, "device", "threads", "machine")
COLUMNS = (
    *("implementation", "devices", "tasks", "tasks a device", "compute", "communication", "step time"),
    *("speed-up", "efficiency", "memory", "limited by"),
)
HOW = (
    "Everything here but the columns *measured* is predicted: by the model of docs/scale.md, from laws fitted to one",
    "process, from counted operations, bytes and calls, and from what is assumed of hardware that was not measured.",
    "A range holds what all combinations of the assumptions give. It is no confidence interval.",
)


@dataclass(frozen=True)
class Scaling:
    """A way of adding devices."""

    name: str
    title: str
    says: str


SCALINGS = (
    Scaling(
        STRONG,
        "Strong scaling, predicted",
        "The same meta-batch shared by more devices; speed-up over one device, efficiency: that by the number of them.",
    ),
    Scaling(
        WEAK,
        "Weak scaling, predicted",
        "As many tasks on each device; speed-up in tasks a second, efficiency: that by the number of devices.",
    ),
)


def forecast_document(found: Prediction) -> Document:
    """The tables."""
    run, data = found.run, data_names(found.run.measurements)
    sections = (
        Section("The model against what was measured", tuple(_check_tables(found.checks, data))),
        Section("What one process reached", tuple(_reached_tables(found.predicted, data))),
        Section("Forecast", tuple(_forecast_tables(found, data))),
        Section("What would break first", tuple(_break_tables(found, data))),
        Section("Assumptions", (assumptions(found.hardware),)),
    )
    facts = (
        ("run", run.name),
        ("measured on", (run.environment.summary or "not known")),
        ("forecast for", found.hardware.title),
        ("model against measured", _verdict(found.checks)),
    )
    kept = tuple(section for section in sections if section.tables)
    return Document(f"Forecast from {run.sweep}", facts, (*run.warnings, *found.left_out), kept, HOW)


def _verdict(found: Sequence[Check]) -> str:
    if not found:
        return "cannot tell: the run has no two cells of several processes whose laws and communication are known"
    errors = sorted(abs(check.error) for check in found)
    return (
        f"a step of several processes is missed by {share_text(median(errors))} in the median of {len(errors)} cells, "
        f"and by {share_text(errors[-1])} at the most"
    )


def _check_tables(found: Sequence[Check], data: Mapping[str, str]) -> Iterator[Table]:
    network = fit_network([(check.line, check.shared) for check in found])
    if network is None:
        return
    columns = (
        *("implementation", "processes", "tasks", "compute", "communication", "step time"),
        *("communication, measured", "step time, measured", "error"),
    )
    notes = (
        "compute: the straight line of one process's time against its tasks, at the tasks of the process with most.",
        "communication: 2(p - 1)·latency + 2(p - 1)/p·bytes / bandwidth, and a wait that is a share of compute. The "
        "three are fitted to what all other cells spent in the all-reduce, never to a step's time. Fitted to all: "
        f"latency {duration_text(network.link.latency_s)}, bandwidth {_bandwidth(network.link.bandwidth)}, wait "
        f"{share_text(network.wait)}.",
        "error: of the predicted step time.",
    )
    groups: dict[str, list[Check]] = {}
    for check in found:
        groups.setdefault(setting(check.line.cell, MEASURED_AXES, data), []).append(check)
    for where, group in groups.items():
        body = tuple(_check_row(check) for check in group)
        laws = {check.line.name: check.line.time for check in group}
        bent = [name for name, law in laws.items() if law and not law.straight]
        said = (f"Not a straight line within 5 % of its rise: {', '.join(bent)}.",) if bent else ()
        ids = tuple(tuple(sorted({*check.line.ids, *check.shared.ids})) for check in group)
        yield Table(
            f"Predicted and measured: {where}",
            "A step of several processes, predicted from cells of one process, and as it was measured.",
            columns,
            body,
            (*notes, *said),
            ids,
        )


def _bandwidth(value: float) -> str:
    return "without limit" if value == float("inf") else f"{two(value / 1e9)} GB/s"


def _check_row(check: Check) -> tuple[str, ...]:
    shared = check.shared
    return (
        check.line.name,
        str(shared.processes),
        str(shared.tasks),
        duration_text(check.compute),
        duration_text(check.communication),
        duration_text(check.predicted),
        duration_text(shared.communication_s),
        time_text(shared.step),
        change_text(check.error),
    )


def _reached_tables(found: Sequence[Predicted], data: Mapping[str, str]) -> Iterator[Table]:
    columns = (
        *("implementation", "tasks", "step time", "operations", "bytes", "calls"),
        *("share of the peak", "share of the bandwidth", "time a call"),
    )
    notes = (
        "Shares are of what the machine reached in the same processes, with as many threads; of the bandwidth more "
        "than all where much stays in caches. time a call: the whole step by its calls, their arithmetic included.",
    )
    for where, group in _by_setting(found, MEASURED_AXES, data).items():
        every = [(each.line.name, one) for each in group for one in each.line.counted]
        body = tuple(
            (
                *(name, str(one.tasks), time_text(one.step), f"{two(one.flops / 1e6)} M", bytes_text(round(one.bytes))),
                *(str(one.calls), f"{two(100 * one.share_of_peak)} %", f"{two(100 * one.share_of_bandwidth)} %"),
                duration_text(one.call_s),
            )
            for name, one in every
        )
        if body:
            says = "Measured, and what the ranges assumed of other hardware can be held against."
            ids = tuple(one.ids for _, one in every)
            yield Table(f"Reached by one process, measured: {where}", says, columns, body, notes, ids)


def _forecast_tables(found: Prediction, data: Mapping[str, str]) -> Iterator[Table]:
    notes = (
        "compute: the longest of arithmetic, memory traffic and operator calls, which are those counted here in one "
        "process; communication: the all-reduce and the wait for the slowest.",
        "memory: the straight line of the peaks measured here; libraries of a GPU take more.",
        "limited by: what takes most of the step, by one combination of the assumptions or another.",
    )
    for scaling in SCALINGS:
        for where, group in _by_setting(found.predicted, SETTING_AXES, data).items():
            assumed = _in_short(found.hardware, group[0].line.precision)
            body = [_forecast_row(each, one, found.hardware) for each in group for one in each.forecasts[scaling.name]]
            tasks = group[0].forecasts[STRONG][0].tasks
            size = f"meta-batch {tasks}" if scaling.name == STRONG else f"{tasks} tasks a device"
            ids = tuple(each.line.ids for each in group for _ in each.forecasts[scaling.name])
            yield Table(f"{scaling.title}: {where}, {size}", scaling.says, COLUMNS, tuple(body), (assumed, *notes), ids)


def _by_setting(found: Sequence[Predicted], axes: Sequence[str], data: Mapping[str, str]) -> dict[str, list[Predicted]]:
    groups: dict[str, list[Predicted]] = {}
    for each in found:
        groups.setdefault(setting(each.line.cell, axes, data), []).append(each)
    return groups


def _forecast_row(each: Predicted, one: Forecast, hardware: Hardware) -> tuple[str, ...]:
    law = each.line.memory
    peak = law.fixed.value + law.each.value * one.own_tasks if law else None
    limits = [f"idle devices: {one.idle} of {one.devices}"] if one.idle else []
    limits += ["memory"] if peak is not None and peak > hardware.assumed["memory"].low else []
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
        "; ".join([*limits, _limits_text(one.limits)]),
    )


def _limits_text(limits: Sequence[Limit]) -> str:
    return " or ".join(limit.value for limit in limits)


def _break_tables(found: Prediction, data: Mapping[str, str]) -> Iterator[Table]:
    notes = (
        f"from: the least number of devices; powers of two up to {TRIED[-1]} are tried. A range is of the assumptions.",
        "Drawing tasks is taken to be as fast as on the machine that was measured, and no faster by more processes.",
    )
    columns = ("implementation", "scaling", "what breaks", "from", "limited by")
    for where, group in _by_setting(found.predicted, SETTING_AXES, data).items():
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
    return _limits_text(one.limits) or NOTHING


def from_text(one: Break) -> str:
    """`8`, `8 to 64`, `8, or never`, `not up to 4096`."""
    if one.first is None:
        return f"not up to {TRIED[-1]}"
    if one.last is None:
        return f"{one.first}, or never"
    return str(one.first) if one.first == one.last else f"{one.first} to {one.last}"


def assumptions(hardware: Hardware) -> Table:
    """Everything that is assumed of the hardware."""
    body = tuple(
        (QUANTITIES[name].words, _assumed_text(hardware, name), figure.source)
        for name, figure in hardware.assumed.items()
    )
    says = "None of this was measured by metabench; a file of your own (--hardware) takes its place."
    return Table(f"Assumed: {hardware.title}", says, ("quantity", "assumed", "source"), body)


def _in_short(hardware: Hardware, precision: str) -> str:
    """The assumptions that a forecast in that precision stands on, in one sentence."""
    names = [name for name in hardware.assumed if name not in PEAKS or name == f"peak_{precision}"]
    figures = "; ".join(f"{QUANTITIES[name].words} {_assumed_text(hardware, name)}" for name in names)
    return f"Assumed of {hardware.title}: {figures}."


def _assumed_text(hardware: Hardware, name: str) -> str:
    quantity, figure = QUANTITIES[name], hardware.assumed[name]
    ends = dict.fromkeys(f"{value / quantity.scale:.4g}" for value in (figure.low, figure.high))
    return " to ".join(ends) + (f" {quantity.unit}" if quantity.unit else "")


def forecast_json(found: Prediction) -> dict[str, Any]:
    """The document, and its figures as numbers: seconds, tasks and shares."""
    forecasts = [
        {"implementation": each.line.name, "cell": each.line.cell.to_json(), "scaling": name, **_numbers(one)}
        for each in found.predicted
        for name, many in each.forecasts.items()
        for one in many
    ]
    return as_json(forecast_document(found)) | {"hardware": found.hardware.name, "forecasts": forecasts}


def _numbers(one: Forecast) -> dict[str, Any]:
    return asdict(one) | {"limits": [limit.value for limit in one.limits]}
