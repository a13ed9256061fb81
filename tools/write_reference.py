"""Writes what derives from the code into docs: `python tools/write_reference.py`.

These are the tables of axes, of the settings of a run, of the columns of its frame and of the options of every command,
and the JSON schemas. A page has each table between two comments:

    <!-- command run -->
    …
    <!-- end of command run -->
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import typer
from tabulate import tabulate

from metabench.cli.main import app
from metabench.files import MEBIBYTE, read_text, replace_file
from metabench.record.axes import Axis
from metabench.record.cell import AXES
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement
from metabench.report.columns import OBSERVED
from metabench.sweep.spec import Settings

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(<!-- (axes|settings|columns|command [a-z ]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def axis_reference(axes: Mapping[str, Axis]) -> str:
    """The table of all axes that a sweep file may set, as Markdown."""
    return _table(("axis", "role", "takes", "default", "what it is"), [_row(a) for a in axes.values() if a.settable])


def _row(axis: Axis) -> tuple[str, ...]:
    default = "must be given" if axis.default is None else _code(json.dumps(axis.default))
    takes = ", ".join(map(_code, axis.choices)) or axis.takes
    return _code(axis.name), axis.role, takes, default, axis.help


def settings_reference() -> str:
    """The table of all settings of a run, as Markdown: each with its default and its docstring."""
    says = dict(_attribute_docstrings(Settings))
    rows = [(_code(each.name), _code(json.dumps(each.default)), says[each.name]) for each in fields(Settings)]
    return _table(("setting", "default", "what it is"), rows)


def columns_reference() -> str:
    """The table of all columns of a run's frames beside the axes, as Markdown."""
    return _table(("column", "unit", "what it is"), [(_code(name), *said) for name, said in OBSERVED.items()])


def _attribute_docstrings(kind: type) -> Iterator[tuple[str, str]]:
    (body,) = [node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef)]
    for before, after in pairwise(body):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def command_references() -> dict[str, str]:
    """What each command takes, as Markdown, by its name: `run`, or `data status` for one of a group."""
    return {name: _command_reference(name, command) for name, command in commands(typer.main.get_command(app))}


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All commands that do something, with their names, groups taken apart."""
    if hasattr(command, "commands"):
        for word, part in command.commands.items():
            yield from commands(part, f"{name} {word}".strip())
    else:
        yield name, command


def _command_reference(name: str, command: Any) -> str:
    named = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    given = [_argument(parameter) for parameter in command.params if parameter not in named]
    usage = " ".join(["metabench", name, *(["[OPTIONS]"] if named else []), *given])
    paragraphs = [" ".join(paragraph.split()) for paragraph in command.help.split("\n\n")]
    rows = [_option(parameter) for parameter in command.params]
    table = [_table(("argument or option", "default", "what it is"), rows)] if rows else []
    return "\n\n".join([*paragraphs, f"```text\n{usage}\n```", *table])


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> tuple[str, str, str]:
    words = [*parameter.opts, *parameter.secondary_opts]
    named = parameter.param_type_name == "option"
    shown = ", ".join(map(_code, words if named else [parameter.name.upper()]))
    if parameter.required:
        default = "must be given"
    elif parameter.default in (None, "", False) or (named and parameter.is_flag):
        default = "on" if parameter.default else ""
    else:
        default = _code(str(parameter.default))
    variable = f" By default `{parameter.envvar}`." if parameter.envvar else ""
    often = " It can be given more than once." if named and parameter.multiple else ""
    return shown, default, f"{parameter.help}{variable}{often}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[text.replace("|", r"\|") for text in row] for row in rows]
    return tabulate(escaped, columns, tablefmt="github", disable_numparse=True)


def _code(text: str) -> str:
    return f"`{text}`"


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


def written(text: str, parts: Mapping[str, str]) -> str:
    """A page with each part between its marks.

    Raises ValueError where the page has no place for a part, or a place for a part that is no more.
    """
    places = [name for _, name, _ in BLOCK.findall(text)]
    if sorted(places) != sorted(parts):
        raise ValueError(f"the page has places for {sorted(places)}, not for {sorted(parts)}")
    return BLOCK.sub(lambda found: f"{found[1]}{parts[found[2]]}\n{found[3]}", text)


def files() -> dict[Path, str]:
    """Every file that is written, and its text."""
    pages = {
        "sweep-files.md": {"axes": axis_reference(AXES), "settings": settings_reference()},
        "python.md": {"columns": columns_reference()},
        "cli.md": {f"command {name}": text for name, text in command_references().items()},
    }
    found = {DOCS / name: written(read_text(DOCS / name, MEBIBYTE), parts) for name, parts in pages.items()}
    for name, schema in schemas().items():
        found[DOCS / "schema" / f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    for file, text in files().items():
        replace_file(file, text.encode())
