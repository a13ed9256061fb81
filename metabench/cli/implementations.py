"""The commands that look at implementations: `advise`, `profile` and `verify`."""

import os
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.options import (
    LEFT_OUT,
    AsJson,
    DataDir,
    DataPath,
    DataSplit,
    ImageSize,
    fail,
    out_option,
    with_cell_options,
)
from metabench.errors import UserError
from metabench.files import folder_for_results
from metabench.machine.devices import check_device
from metabench.record.cell import DISTRIBUTION
from metabench.text import file_name, strict_json


@with_cell_options
def advise(
    algorithm: Annotated[str, typer.Option(help="Algorithm, such as maml.")],
    cell: dict[str, Any],
    engines: Annotated[str, typer.Option(help="Engines, with commas between; all if left out.")] = "all",
    own: Annotated[
        list[str] | None, typer.Option("--with", help="An engine of yours, such as my.py:engine; may be repeated.")
    ] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Peak memory to stay within: 500MiB, 2GB, …")] = None,
    rounds: Annotated[int, typer.Option(help="Processes that time each engine; three tell close ones apart.")] = 1,
    time_limit: Annotated[float, typer.Option(help="Seconds after which an engine is given up.")] = 300.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure the engines briefly in one setting, and name the fastest, and the fastest within a memory limit.

    What is asked for holds in training and in testing. What is left out comes from MAML's preset, and what belongs to
    the method from the algorithm's own.
    """
    from metabench.api.advising import measure
    from metabench.machine.cores import default_threads
    from metabench.machine.fingerprint import fingerprint, short_name
    from metabench.machine.limits import parse_size
    from metabench.progress import ConsoleProgress
    from metabench.report.advice import sentences, table
    from metabench.report.render.tables import plain
    from metabench.sweep.brief import sweep_of

    limit = parse_size(memory_limit) if memory_limit is not None else None
    sweep = sweep_of({"algorithm": algorithm, **cell}, engines, rounds, time_limit, default_threads(), own or ())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    advice, done, interrupted = measure(sweep, limit, data_dir, ConsoleProgress(), own or ())
    if advice and as_json:
        machine = short_name(fingerprint(sweep.cells[0].threads))
        found = {"machine": machine, **asdict(advice), "sentences": sentences(advice)}
        print(strict_json(found | {"interrupted": interrupted}))
    elif advice:
        print("\n".join([plain(table(advice)), "", *sentences(advice)]))
    if interrupted:
        fail(f"interrupted after {done} of {rounds * len(sweep.cells)} measurements", 130)
    if advice is None or advice.fastest is None:
        fail("no engine could be measured in this setting", 1)
    if lost := [one.engine for one in advice.engines if one.engine in advice.own and one.status != "ok"]:
        fail(f"{', '.join(lost)} could not be measured", 1)


@with_cell_options
def profile(
    implementation: Annotated[str, typer.Argument(help="ALGORITHM/ENGINE, such as maml/vmap.")],
    cell: dict[str, Any],
    seconds: Annotated[float, typer.Option(help="For timing the phases, and as many again for recording.")] = 5.0,
    peaks: Annotated[bool, typer.Option(help="Measure the machine's peaks, which takes 5 s.")] = True,
    out: Annotated[Path | None, out_option("Folder; by default profiles/IMPLEMENTATION-TIME.")] = None,
    data_dir: DataDir = None,
    full: Annotated[bool, typer.Option("--full", help="Print all tables, not the summary alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where the time and the memory of a meta-iteration go: phases, operators, a trace, a flame graph.

    What is asked for holds in training and in testing. What is left out comes from MAML's preset, and what belongs to
    the method from the algorithm's own.
    """
    from metabench.machine.cores import bounded_spinning, default_threads

    # Before torch is loaded: of tensors older than the recording it would say that their release is not seen.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.update(bounded_spinning(os.environ))
    from metabench.errors import Diverged, Incorrect
    from metabench.profile.measuring import cell_of, profiled
    from metabench.profile.plain_data import as_json as figures
    from metabench.profile.terminal import as_text
    from metabench.profile.write import write_profile

    chosen = cell_of(implementation, cell, default_threads())
    check_device({chosen.device})
    if not 0 <= seconds <= 3600:
        raise UserError("--seconds takes a number from 0 to 3600")
    asked = {axis: value for axis, value in cell.items() if value != LEFT_OUT.get(axis)}
    name = file_name(f"{chosen.algorithm}-{chosen.engine}")
    folder = out or Path("profiles") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with folder_for_results(folder):
        try:
            found = profiled(chosen, data_dir, seconds, peaks, asked)
        except (Incorrect, Diverged) as error:
            fail(f"{chosen.implementation} is not profiled: {error}", 1)
        write_profile(found, folder)
    print(strict_json(figures(found)) if as_json else as_text(found, folder, full))


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Algorithms.")] = None,
    engines: Annotated[
        str, typer.Option(help="Engines, with commas between, or all; if left out, those that need no compiler.")
    ] = "",
    model: Annotated[str, typer.Option(help="Models to hold to their contract, with commas between, or all.")] = "",
    task: Annotated[str, typer.Option(help="Task distributions to hold to theirs, with commas between, or all.")] = "",
    path: DataPath = "",
    split: DataSplit = "",
    image_size: ImageSize = 0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove every implementation right: its direction against finite differences, and the contracts of plug-ins.

    All algorithms, models and task distributions are tried, unless some are named. A model is tried on inputs of the
    task distributions that are named with it, or of all.
    """
    from metabench.api.verifying import THREADS, chosen
    from metabench.cli.checks import WITH_SECONDS, show, widths
    from metabench.cli.growing_table import GrowingTable
    from metabench.machine.threads import torch_threads
    from metabench.report.render.tables import Table, table_json

    given = {axis: value for axis, value in zip(DISTRIBUTION[1:], (path, split, image_size), strict=True) if value}
    tried = chosen(names or (), engines, model, task, given, data_dir)
    table = GrowingTable(WITH_SECONDS, widths(tried), as_json)
    with torch_threads(THREADS):
        words = show(tried.checks(data_dir, table.begin), table)
    checks, wrong = words["ok"] + words["incorrect"], words["incorrect"]
    if as_json:
        found = Table("Verification", "Relative errors, in float64.", WITH_SECONDS, tuple(table.rows))
        print(strict_json(table_json(found) | {"checks": checks, "incorrect": wrong}))
    if wrong:
        fail(f"{wrong} of {checks} checks failed", 1)
    if not as_json:
        print(f"\nall {checks} checks passed (relative errors in float64)")
