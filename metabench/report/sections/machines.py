"""The same work on several machines, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from metabench.record.measurement import Measurement
from metabench.report.bundles import TRAINING_AXES, Bundle, axes_but, bundles, ids_of, time_key
from metabench.report.numbers import NOTHING
from metabench.report.render.tables import TECHNIQUE_AXES, Section, Table, setting
from metabench.report.sections.cost import step_text

SETTING_AXES = (
    *("task", "ways", "shots", "model", "query", "train_ways", "train_shots", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "world_size", *(axis for axis in TECHNIQUE_AXES if axis != "precision")),
)
SAYS = (
    "Times of one meta-iteration, measured apart: no ratio between machines was formed within a round, and threads, "
    "device and versions may differ as much as the processor."
)


def machines_of(rows: Sequence[Measurement]) -> list[str]:
    """The machines of a merged run, in the order in which it was merged; empty for any other run."""
    return list(dict.fromkeys(row.cell.machine for row in rows if row.cell.machine))


def works_on_machines(rows: Sequence[Measurement]) -> list[dict[str, Bundle]]:
    """For each piece of work that was timed on several machines its bundle by machine."""
    works: dict[tuple[Any, ...], dict[str, Bundle]] = {}
    for bundle in bundles((row for row in rows if row.cell.machine), time_key):
        work = axes_but(bundle.cell, "seed", "machine", "device", "threads", *TRAINING_AXES)
        works.setdefault(work, {}).setdefault(bundle.cell.machine, bundle)
    return [by_machine for by_machine in works.values() if sum(one.step is not None for one in by_machine.values()) > 1]


def machines_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """A column for each machine; nothing for a run of one."""
    works = works_on_machines(rows)
    machines = machines_of(rows)
    body = tuple(
        (_name(by_machine), _setting(by_machine, data), *(_time(by_machine.get(machine)) for machine in machines))
        for by_machine in works
    )
    ids = tuple(ids_of(by_machine.values()) for by_machine in works)
    columns = ("implementation", "setting", *machines)
    table = Table("The same work on several machines", SAYS, columns, body, cells=ids)
    return Section("Machines", (table,) if body else ())


def _name(by_machine: Mapping[str, Bundle]) -> str:
    first = next(iter(by_machine.values()))
    return f"{first.algorithm}/{first.cell.engine}"


def _setting(by_machine: Mapping[str, Bundle], data: Mapping[str, str]) -> str:
    """What they have in common."""
    cells = [bundle.cell for bundle in by_machine.values()]
    common = [axis for axis in SETTING_AXES if len({str(cell[axis]) for cell in cells}) == 1]
    return setting(cells[0], common, data)


def _time(bundle: Bundle | None) -> str:
    return step_text(bundle) if bundle else NOTHING
