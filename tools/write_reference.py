"""Writes what derives from the records, the table of axes and the JSON schemas: `python tools/write_reference.py`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from tabulate import tabulate

from metabench.files import MEBIBYTE, read_text, replace_file
from metabench.record.axes import Axis
from metabench.record.cell import AXES
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- axes -->\n", "<!-- end of axes -->"
COLUMNS = ("axis", "role", "takes", "default", "what it is")


def axis_reference(axes: Mapping[str, Axis]) -> str:
    """The table of all axes that a sweep file may set, as Markdown."""
    rows = [_row(axis) for axis in axes.values() if axis.settable]
    return tabulate(rows, COLUMNS, tablefmt="github", disable_numparse=True)


def _row(axis: Axis) -> tuple[str, ...]:
    default = "must be given" if axis.default is None else f"`{json.dumps(axis.default)}`"
    takes = ", ".join(f"`{choice}`" for choice in axis.choices) or axis.takes
    return f"`{axis.name}`", axis.role, takes, default, axis.help


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON schema of a line of `measurements.jsonl`, and of `environment.json`."""
    found = {}
    for name, record in (("measurement", Measurement), ("environment", Environment)):
        (schema,), parts = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
        draft = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"metabench {name}"}
        found[name] = draft | schema | {"$defs": _open(parts)}
    return found


def _open(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts without the tables in which what other versions add is kept: that stands beside the rest."""
    kept = json.loads(json.dumps(parts))
    for name in ("Cell", "Data"):
        if name in kept:
            del kept[name]["properties"]["others"]
    return dict(kept)


def written(text: str, table: str) -> str:
    """A document with the table between its marks. Raises ValueError where it has none."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table}\n{END}{after}"


def files() -> dict[Path, str]:
    """Every file that is written, and its text."""
    page = DOCS / "sweep-files.md"
    found = {page: written(read_text(page, MEBIBYTE), axis_reference(AXES))}
    for name, schema in schemas().items():
        found[DOCS / "schema" / f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    for file, text in files().items():
        replace_file(file, text.encode())
