"""The command `time`: how long a training step of a user's own takes, and what it needs."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.options import AsJson, fail, out_option
from metabench.text import printable, strict_json


def time(
    steps: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE.py:STEP…",
            help="Functions without arguments: each does one iteration, or returns a function that does.",
        ),
    ],
    device: Annotated[str, typer.Option(help="cpu or cuda: whose time and memory are taken.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Threads of torch; by default one for each core.")] = None,
    rounds: Annotated[int, typer.Option(help="Processes that time each step.")] = 3,
    seconds: Annotated[float, typer.Option(help="For samples of the time, in each process.")] = 2.0,
    time_limit: Annotated[float, typer.Option(help="Seconds after which a process is ended.")] = 300.0,
    out: Annotated[Path | None, out_option("Folder for report.html, timings.json and traces.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print all tables, not the summary alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Time training steps of your own: time, memory, parts and launches, each in processes of its own.

    Where several are named, each is compared with the first.
    """
    from metabench.machine.cores import default_threads
    from metabench.timing.collecting import collect
    from metabench.timing.plain_data import as_json as figures
    from metabench.timing.running import Plan, check_place, make_folder, turns
    from metabench.timing.terminal import as_text

    check_place(device)
    used = default_threads() if threads is None else threads
    plan = Plan(tuple(steps), device, used, rounds, seconds, time_limit)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if out:
        make_folder(out)
    found = collect(plan, out, lambda line: print(printable(line), file=sys.stderr, flush=True))
    timings = found.timings
    if timings:
        print(strict_json(figures(timings)) if as_json else as_text(timings, out, full), flush=True)
    if timings and out:
        from metabench.timing.write import write_timings

        write_timings(timings, out)
    if found.interrupted:
        fail(f"interrupted after {found.done} of {len(turns(plan))} processes", 130)
    if timings is None or any(step.failed for step in timings.steps):
        fail("not every step could be measured to the end", 1)
