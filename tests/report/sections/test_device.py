"""Launches, busy share and energy beside the times, in all tables that show times."""

import json

import pytest

from metabench.record.reading import MEASUREMENTS, measurement_of
from metabench.report.document import document
from metabench.report.frames import to_frame
from metabench.report.numbers import true_value
from metabench.report.results import read_run
from metabench.report.sections.device import (
    BY_GAPS,
    BY_LAUNCHES,
    NOTES,
    DeviceWork,
    busy_text,
    device_work,
    energy_text,
    instructions_text,
    joules,
    launches_text,
)
from runs import records


def asks(launches, kernels, share, note="", joules=0.0123):
    """The parts of a row that a GPU adds."""
    return {
        "launches": {"launches": launches, "kernels": kernels, "busy_s": 1e-4, "busy_share": share, "note": note},
        "energy": {"joules": joules, "watts": 300.0, "seconds": 3.1, "iterations": 252, "method": "by hand"},
    }


@pytest.fixture
def folder(run_of, row):
    """`loop` that is bound by launches, `cudagraph` by gaps, `compile` that is busy, and `vmap` without a record."""
    cells = []
    for engine, parts in (
        ("loop", asks(5200.0, 5300.0, 0.09)),
        ("cudagraph", asks(6.0, 311.0, 0.41)),
        ("compile", asks(4.5, 90.0, 0.83)),
        ("vmap", asks(None, None, None, "the record shows no work of the GPU")),
    ):
        made = row(engine=engine, device="cuda", measure=["time", "memory", "energy"])
        made["time"]["gpu"] = [None, {"sm_mhz": 1980, "reasons": ["power limit"], "watts": 412.5}]
        cells.append(made | parts)
    return run_of(cells)


def tables_of(folder, title):
    sections = document(read_run(folder)).sections
    return [table for section in sections for table in section.tables if table.title.startswith(title)]


def column(table, name):
    at = table.columns.index(name)
    return [line[at] for line in table.rows]


@pytest.mark.parametrize(
    ("work", "bound"),
    [
        (DeviceWork(5200, 5300, 0.09), BY_LAUNCHES),
        (DeviceWork(5200, 5300, 0.5), ""),
        (DeviceWork(6, 311, 0.41), BY_GAPS),
        (DeviceWork(1, 1, 0.41), BY_LAUNCHES),
        (DeviceWork(6, 311, 0.99), ""),
        (DeviceWork(6, 311, 1.0), ""),
        (DeviceWork(6, None, None), ""),
    ],
)
def test_what_a_gpu_waits_for_is_said_in_words(work, bound):
    assert work.bound == bound
    if work.busy_share is not None:
        assert busy_text(work) == f"{100 * work.busy_share:.3g} %" + (f", {bound}" if bound else "")
        assert true_value(busy_text(work)) == work.busy_share


def test_figures_are_medians_over_rounds(row):
    def measured(*parts):
        return records(row() | one for one in parts)

    rows = measured(*(asks(10.0, 12.0, share) for share in (0.2, 0.9, 0.3)))
    assert device_work(rows) == DeviceWork(10.0, 12.0, 0.3)
    assert joules(rows) == 0.0123
    nothing = measured({}, {"launches": None, "energy": None}, asks(None, None, None, joules=None))
    assert device_work(nothing) is None and joules(nothing) is None


def test_texts():
    assert [launches_text(DeviceWork(n, None, None)) for n in (5200.0, 4.5, 1.0)] == ["5,200", "4.5", "1"]
    assert [energy_text(e) for e in (12.34, 0.0123, 4.5e-5, None)] == ["12.3 J", "12.3 mJ", "45.0 µJ", "–"]
    assert (launches_text(None), busy_text(None), busy_text(DeviceWork(1, 1, None))) == ("–", "–", "–")


def test_the_rows_are_sound(folder):
    for line in (folder / MEASUREMENTS).read_text(encoding="utf-8").splitlines():
        made = json.loads(line)
        assert measurement_of(made).launches and measurement_of(made).energy
        for part, wrong in (("launches", {"busy_share": 1.5}), ("energy", {"joules": -1})):
            with pytest.raises(ValueError):
                measurement_of(made | {part: made[part] | wrong})


def test_the_frontier_and_the_cost_tables_have_them_beside_the_time(folder):
    (frontier,) = tables_of(folder, "Time against memory")
    names = ("engine", "launches", "busy", "energy")
    found = {engine: tuple(texts) for engine, *texts in zip(*(column(frontier, n) for n in names), strict=True)}
    assert found == {
        "loop": ("5,200", "9 %, bound by launches", "12.3 mJ"),
        "cudagraph": ("6", "41 %, bound by gaps between kernels", "12.3 mJ"),
        "compile": ("4.5", "83 %", "12.3 mJ"),
        "vmap": ("–", "–", "12.3 mJ"),
    }
    for text in (*NOTES.values(), "Energy of one meta-iteration, by: by hand."):
        assert text in frontier.notes
    assert "No launches or no busy share of some configurations: the record shows no work of the GPU." in frontier.notes
    (cost,) = tables_of(folder, "Cost: ")
    lines = {engine: texts for engine, *texts in zip(*(column(cost, n) for n in names), strict=True)}
    assert len(lines) == 4 and lines["loop"] == ["5,200", "9 %, bound by launches", "12.3 mJ"]


def test_engines_beside_each_other_have_tables_of_their_own(folder):
    (bounds,), (energy,) = tables_of(folder, "What bounds a step"), tables_of(folder, "Energy")
    assert dict(zip(column(bounds, "engine"), column(bounds, "launches and busy share"), strict=True)) == {
        "loop": "5,200 launches, busy 9 %, bound by launches",
        "cudagraph": "6 launches, busy 41 %, bound by gaps between kernels",
        "compile": "4.5 launches, busy 83 %",
        "vmap": "–",
    }
    assert not any("Energy" in note for note in bounds.notes)
    assert set(column(energy, "energy")) == {"12.3 mJ"}
    assert energy.notes == ("Energy of one meta-iteration, by: by hand.",)


def test_a_row_that_is_incorrect_shows_none(run_of, row):
    bad = row(engine="vmap", device="cuda", status="incorrect", reason="no") | asks(5.0, 5.0, 0.1)
    good = row(engine="loop", device="cuda") | asks(7.0, 7.0, 0.1)
    (bounds,) = tables_of(run_of([bad, good]), "What bounds a step")
    assert sorted(column(bounds, "launches and busy share")) == ["7 launches, busy 10 %, bound by launches", "–"]


def test_a_run_without_them_has_no_column_for_them(run_of, row):
    """As all runs on processors, and all old ones."""
    folder = run_of([row(engine="loop"), row(engine="vmap")])
    tables = [table for section in document(read_run(folder)).sections for table in section.tables]
    assert tables and not any({"launches", "busy", "energy"} & set(table.columns) for table in tables)
    assert not any(table.title.startswith(("What bounds", "Energy")) for table in tables)
    frame = to_frame(read_run(folder))
    assert frame[["gpu_launches", "energy_joules", "gpu_after_sm_mhz"]].isna().all(axis=None)


def test_the_frame_has_what_the_gpu_did(folder):
    first = to_frame(read_run(folder)).set_index("engine").loc["loop"]
    assert (first["gpu_launches"], first["gpu_busy_share"], first["energy_joules"]) == (5200, 0.09, 0.0123)
    assert (first["gpu_after_sm_mhz"], first["gpu_after_watts"]) == (1980, 412.5)
    assert first["gpu_after_reasons"] == "power limit"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (999.0, "999"), (489_100.4, "489.1 k"), (1_814_000.0, "1.814 M"), (2.5e9, "2.5 G")],
)
def test_counts_of_instructions_read_well_at_every_size(count, text):
    assert instructions_text(count) == text
