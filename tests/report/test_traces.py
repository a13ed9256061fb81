"""Each row of a table names the cells behind it, and a figure knows its value."""

import re
from math import exp, log
from statistics import fmean

import pytest

from metabench.report.bundles import sound_rows
from metabench.report.document import document
from metabench.report.numbers import Valued, bytes_text, true_value
from metabench.report.results import read_run

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@pytest.fixture(scope="module")
def run(synthetic):
    return read_run(synthetic)


@pytest.fixture(scope="module")
def tables(run):
    return [table for section in document(run).sections for table in section.tables]


def test_every_row_names_cells_of_the_run(run, tables):
    known = {row.id for row in (*run.measurements, *run.noise_rows)}
    for table in tables:
        assert len(table.cells) == len(table.rows), table.title
        for ids in table.cells:
            assert ids and set(ids) <= known and len(set(ids)) == len(ids)


def test_the_named_cells_are_those_of_the_row(run, tables):
    cells = {row.id: row.cell for row in run.measurements}
    for table in tables:
        for row, ids in zip(table.rows, table.cells, strict=True):
            if table.columns[0] == "algorithm":
                assert row[0] in {cells[name].algorithm for name in ids}, table.title
                assert {cells[name].algorithm for name in ids} <= {row[0], "maml"}


def test_a_time_can_be_computed_from_the_rows_of_the_cells_that_are_named(run, tables):
    (table,) = [table for table in tables if table.title.startswith("Cost and quality")]
    at = table.columns.index("step time")
    for row, ids in zip(table.rows, table.cells, strict=True):
        mine = [r for r in sound_rows(run.measurements) if r.id in ids and r.cell.algorithm == row[0]]
        rounds: dict[int, list[float]] = {}
        for one in mine:
            if one.time:
                rounds.setdefault(one.round, []).extend(one.time.step.samples)
        medians = [sorted(samples)[len(samples) // 2] for samples in rounds.values()]
        assert true_value(row[at]) == pytest.approx(exp(fmean(map(log, medians))), rel=1e-3)


def test_values_are_what_the_texts_say(tables):
    seen = 0
    for table in tables:
        for text in (text for row in table.rows for text in row if isinstance(text, Valued)):
            if found := re.match(r"([\d.e+-]+) (s|ms|µs|B|KiB|MiB|GiB)\b", text):
                unit = (SECONDS | BYTES)[found[2]]
                assert text.value == pytest.approx(float(found[1]) * unit, rel=0.5, abs=unit), (table.title, text)
                seen += 1
    assert seen > 100


def test_a_mark_behind_a_figure_leaves_its_value(tables):
    assert true_value(bytes_text(2048) + " †") == 2048
    marked = [text for table in tables for row in table.rows for text in row if text.endswith((" †", " ‡", "(noisy)"))]
    assert marked and all(isinstance(text, Valued) for text in marked if text[0].isdigit())


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5.0), ("-0.5", -0.5), ("oom", None), ("–", None), ("", None), ("1e5", None), ("٣", None)]
)
def test_a_plain_number_is_its_own_value(text, value):
    assert true_value(text) == value


def test_what_is_not_finite_has_no_value():
    assert true_value(Valued("overflowed", float("inf"))) is None
