"""A figure is one new file."""

import sys

from metabench.report import figures as package
from metabench.report.figures import figures
from runs import run

NEW = '''
"""How many rows a run has, drawn."""

from metabench.report.figures import shown
from metabench.report.figures.base import Group, Panel, figure_of, frame_of
from metabench.report.figures.marks import layer


@shown(15)
def counted(run):
    frame = frame_of([{"rows": len(run.measurements), "cells": ""}])
    along = {"field": "rows", "type": "quantitative"}
    panel = Panel("", frame, [layer("point", x=along, y=along)], 50, 50)
    return figure_of(run, "counted", "Rows", "How many.", [Group("", [panel])])
'''


def test_a_figure_is_one_new_file_with_its_place(tmp_path, monkeypatch, row):
    (tmp_path / "counted_rows.py").write_text(NEW)
    made = run([row(), row(engine="loop")])
    before = [figure.name for figure in figures(made)]
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(package, "_MAKERS", list(package._MAKERS))
    try:
        found = figures(made)
    finally:
        sys.modules.pop("metabench.report.figures.counted_rows", None)
    names = [figure.name for figure in found]
    assert names == [*before[:1], "counted", *before[1:]]
    assert list(found[1].frame["rows"]) == [2]
