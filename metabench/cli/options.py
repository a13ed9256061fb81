"""What commands share: options, and how they end."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

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


def fail(sentence: str, code: int) -> NoReturn:
    """Say it on standard error, and end with that exit code."""
    print(f"metabench: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)


def check_device(devices: set[str]) -> None:
    """Raise `UserError` for a device that is not there."""
    import torch

    if "cuda" in devices and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch finds no CUDA device: use --device cpu")
