"""What commands share: options, and how they end."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from metabench.errors import UserError
from metabench.text import printable

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="METABENCH_DATA",
        help="Folder with Omniglot's two zips, or the extracted images_background and images_evaluation.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@dataclass(frozen=True)
class CellOptions:
    """The options that choose the cell of one implementation."""

    task: Annotated[str, typer.Option(help="Task distribution.")] = "sinusoid"
    model: Annotated[str | None, typer.Option(help="Model; this and sizes come from the preset if left out.")] = None
    inner_steps: Annotated[int | None, typer.Option(help="Inner steps.")] = None
    meta_batch: Annotated[int | None, typer.Option(help="Tasks in a meta-iteration.")] = None
    ways: Annotated[int | None, typer.Option(help="Classes in a task.")] = None
    shots: Annotated[int | None, typer.Option(help="Support examples of a class.")] = None
    query: Annotated[int | None, typer.Option(help="Query examples of a class.")] = None
    precision: Annotated[str, typer.Option(help="float32, float64, bfloat16 or tf32.")] = "float32"
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu"
    threads: Annotated[int | None, typer.Option(help="Threads; by default one for each physical core.")] = None

    def given(self) -> dict[str, Any]:
        """The axes that have a value."""
        return {axis: value for axis, value in asdict(self).items() if value is not None}


def with_cell_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of `CellOptions` as options, in place of its parameter `cell`."""
    fields = inspect.signature(CellOptions).parameters

    @wraps(command)
    def filled(**arguments: Any) -> None:
        cell = CellOptions(**{name: arguments.pop(name) for name in fields})
        command(cell=cell, **arguments)

    own = inspect.signature(command).parameters.values()
    options = chain.from_iterable(fields.values() if each.name == "cell" else [each] for each in own)
    keywords = [each.replace(kind=each.KEYWORD_ONLY) for each in options]
    filled.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return filled


def fail(sentence: str, code: int) -> NoReturn:
    """Say it on standard error, and end with that exit code."""
    print(f"metabench: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)


def check_device(devices: set[str]) -> None:
    """Raise `UserError` for a device that is not there."""
    import torch

    if "cuda" in devices and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch finds no CUDA device: use --device cpu")
