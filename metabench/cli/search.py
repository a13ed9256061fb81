"""The command `search`: hyper-parameters that reach the best validation score in a given time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.options import AsJson, DataDir, fail, interrupted, out_option
from metabench.errors import UserError
from metabench.record.searching import Search
from metabench.text import printable, strict_json

LEFT_OUT = {"task": "omniglot"}


def search(
    algorithm: Annotated[str, typer.Argument(help="The algorithm, or the search.toml of an earlier search.")],
    task: Annotated[str | None, typer.Option(help="The task distribution; omniglot if left out.")] = None,
    ways: Annotated[int | None, typer.Option(help="Classes of a task; 5 if left out.")] = None,
    shots: Annotated[int | None, typer.Option(help="Support examples of each class; 1 if left out.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of one training; 300 if left out.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trainings; 20 if left out.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which none begins.")] = None,
    space: Annotated[Path | None, typer.Option(help="TOML file with axes: values, lists or ranges.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="axis=value, which is fixed, or axis=value,value to choose from.")
    ] = None,
    first: Annotated[
        list[str] | None, typer.Option("--first", help="axis=value of the first trial, in place of the preset's.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Engine; native if left out, or the fastest.")] = None,
    prune: Annotated[str | None, typer.Option(help="What ends trials early: median, or none.")] = None,
    validation_tasks: Annotated[
        int | None, typer.Option(help="Validation tasks at the end of a training; 400 if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what the search draws.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; cpu if left out.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a training; 1 if left out.")] = None,
    out: Annotated[Path | None, out_option("Folder; by default runs/search-ALGORITHM-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Search for the hyper-parameters that reach the best score on validation classes in a given time of training.

    Each trial is proved right, timed, trained for as many iterations as fit, and judged on validation tasks. Test
    classes are never drawn. The best of many trials is too good by chance: confirm it by the sweep that is written.
    """
    from metabench.api.searching import carry_out, new_folder
    from metabench.machine.devices import check_device
    from metabench.progress import ConsoleProgress
    from metabench.search.sampling import need_optuna
    from metabench.search.settings import again, settings_for
    from metabench.search.space import assigned

    need_optuna()
    if resume and out is None:
        raise UserError("--resume needs --out with the folder to go on with")
    shape = {"task": task, "ways": ways, "shots": shots, "device": device, "threads": threads}
    given = {axis: value for axis, value in shape.items() if value is not None}
    rest = {
        "seconds": seconds,
        "trials": trials,
        "minutes": minutes,
        "engine": engine,
        "prune": prune,
        "validation_tasks": validation_tasks,
        "seed": seed,
        "first": assigned(first, "--first") if first else None,
    }
    if algorithm.endswith(".toml"):
        if given or space or assign:
            raise UserError(f"'{algorithm}' says what each axis may be: edit it instead of giving other axes")
        settings = again(Path(algorithm), **rest)
    else:
        settings = settings_for(algorithm, LEFT_OUT | given, space, assigned(assign or [], "--set"), **rest)
    check_device({settings.start.device})
    folder = out or new_folder(settings)
    try:
        found, importance = carry_out(settings, folder, ConsoleProgress(), resume, data_dir)
    except KeyboardInterrupt:
        interrupted("all finished trials are", folder, out, resume)
    _print(found, importance, as_json)
    if not found.ranked:
        fail("no trial could be trained to its end", 1)


def show_search(folder: Path, as_json: bool) -> None:
    """Write the tables of a search anew, and print them."""
    from metabench.api.searching import summarised

    _print(*summarised(folder), as_json)


def _print(found: Search, importance: Mapping[str, float], as_json: bool) -> None:
    from metabench.report.searching import search_json, search_text

    text = search_text(found, importance)
    print(strict_json(search_json(found, importance)) if as_json else "\n".join(map(printable, text.splitlines())))
