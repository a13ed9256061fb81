"""What commands share: options, and how they end."""

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from metabench.errors import UserError
from metabench.record.cell import AXES, DISTRIBUTION
from metabench.text import printable

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="METABENCH_DATA",
        help="Folder of data sets, such as Omniglot's two zips, or its images_background and images_evaluation.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DataPath = Annotated[str, typer.Option("--path", help=AXES["path"].help)]
DataSplit = Annotated[str, typer.Option("--split", help=AXES["split"].help)]
ImageSize = Annotated[int, typer.Option("--image-size", help=AXES["image_size"].help)]

LEFT_OUT: Mapping[str, Any] = {"task": "sinusoid", "precision": "float32", "device": "cpu"}
CELL = (
    *DISTRIBUTION,
    *("model", "inner_steps", "meta_batch", "ways", "shots", "query", "train_ways", "train_shots"),
    *("precision", "device", "threads", "preset"),
)
"""The axes that a command on one implementation has options for."""


def with_cell_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each axis of `CELL`; its parameter `cell` gets those that have a value."""

    @wraps(command)
    def filled(**arguments: Any) -> None:
        cell = {axis: arguments.pop(axis) for axis in CELL}
        command(cell={axis: value for axis, value in cell.items() if value is not None}, **arguments)

    own = inspect.signature(command).parameters.values()
    options = chain.from_iterable(map(_option, CELL) if each.name == "cell" else [each] for each in own)
    keywords = [each.replace(kind=each.KEYWORD_ONLY) for each in options]
    filled.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return filled


def _option(name: str) -> inspect.Parameter:
    axis = AXES[name]
    words = f"{axis.help[:-1]}: {', '.join(axis.choices)}." if axis.choices else axis.help
    option = typer.Option(LEFT_OUT.get(name), help=words)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=axis.kind | None)


def out_option(help: str) -> Any:
    """The option `--out`, a folder to write to. An empty one is refused: it would stand for the current folder."""
    return typer.Option(help=help, parser=_folder, metavar="PATH")


def _folder(text: str) -> Path:
    if not text.strip():
        raise UserError("--out is empty: name a folder, or leave it out")
    return Path(text)


def interrupted(what: str, folder: Path, out: Path | None, resume: bool) -> NoReturn:
    """End a command that can be resumed: `what` is kept is in the folder, and a whole command line goes on with it."""
    again = ["metabench", *sys.argv[1:], *(["--out", str(folder)] if out is None else [])]
    go_on = shlex.join(again if resume else [*again, "--resume"])
    fail(f"interrupted; {what} in '{folder}'. Go on with: {go_on}", 130)


def fail(sentence: str, code: int) -> NoReturn:
    """Say it on standard error, and end with that exit code."""
    print(f"metabench: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)
