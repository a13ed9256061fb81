"""The commands that look at implementations: `advise`, `profile` and `verify`."""

import os
import signal
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.options import AsJson, DataDir, check_device, fail
from metabench.errors import UserError
from metabench.record.measurement import Measurement
from metabench.text import printable, strict_json

TaskName = Annotated[str, typer.Option(help="Task distribution.")]
ModelName = Annotated[str | None, typer.Option(help="Model; this and sizes come from the preset if left out.")]
InnerSteps = Annotated[int | None, typer.Option(help="Inner steps.")]
MetaBatch = Annotated[int | None, typer.Option(help="Tasks in a meta-iteration.")]
Ways = Annotated[int | None, typer.Option(help="Classes in a task.")]
Shots = Annotated[int | None, typer.Option(help="Support examples of a class.")]
Query = Annotated[int | None, typer.Option(help="Query examples of a class.")]
Precision = Annotated[str, typer.Option(help="float32, float64, bfloat16 or tf32.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="Threads; by default one for each physical core.")]


def advise(
    algorithm: Annotated[str, typer.Option(help="Algorithm, such as maml.")],
    task: TaskName = "sinusoid",
    model: ModelName = None,
    inner_steps: InnerSteps = None,
    meta_batch: MetaBatch = None,
    ways: Ways = None,
    shots: Shots = None,
    query: Query = None,
    precision: Precision = "float32",
    device: Device = "cpu",
    threads: Threads = None,
    engines: Annotated[str, typer.Option(help="Engines, with commas between; all if left out.")] = "all",
    memory_limit: Annotated[str | None, typer.Option(help="Peak memory to stay within: 500MiB, 2GB, …")] = None,
    rounds: Annotated[int, typer.Option(help="Processes that time each engine; three tell close ones apart.")] = 1,
    time_limit: Annotated[float, typer.Option(help="Seconds after which an engine is given up.")] = 300.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure the engines briefly in one setting, and name the fastest, and the fastest within a memory limit."""
    from metabench.cli.progress import ConsoleProgress
    from metabench.machine.fingerprint import fingerprint, physical_cores, short_name
    from metabench.machine.limits import parse_size
    from metabench.report.advice import judge, sentences, table
    from metabench.report.render.tables import plain
    from metabench.sweep.brief import measure_briefly, sweep_of

    limit = parse_size(memory_limit) if memory_limit is not None else None
    axes = {"algorithm": algorithm, "task": task, "model": model, "inner_steps": inner_steps, "meta_batch": meta_batch}
    axes |= {"ways": ways, "shots": shots, "query": query, "precision": precision, "device": device, "threads": threads}
    given = {axis: value for axis, value in axes.items() if value is not None}
    sweep = sweep_of(given, engines, rounds, time_limit, physical_cores())
    check_device({device})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Measurement] = []
    interrupted = True
    with suppress(KeyboardInterrupt), ConsoleProgress() as progress:
        for row in measure_briefly(sweep, data_dir, progress):
            rows.append(row)
        interrupted = False
    advice = judge(rows, limit) if rows else None
    if advice and as_json:
        machine = short_name(fingerprint(sweep.cells[0].threads))
        found = {"machine": machine, **asdict(advice), "sentences": sentences(advice)}
        print(strict_json(found | {"interrupted": interrupted}))
    elif advice:
        print("\n".join([plain(table(advice)), "", *sentences(advice)]))
    if interrupted:
        fail(f"interrupted after {len(rows)} of {rounds * len(sweep.cells)} measurements", 130)
    if advice is None or advice.fastest is None:
        fail("no engine could be measured in this setting", 1)


def profile(
    implementation: Annotated[str, typer.Argument(help="ALGORITHM/ENGINE, such as maml/vmap.")],
    task: TaskName = "sinusoid",
    model: ModelName = None,
    inner_steps: InnerSteps = None,
    meta_batch: MetaBatch = None,
    ways: Ways = None,
    shots: Shots = None,
    query: Query = None,
    precision: Precision = "float32",
    device: Device = "cpu",
    threads: Threads = None,
    seconds: Annotated[float, typer.Option(help="For timing the phases, and as many again for recording.")] = 5.0,
    peaks: Annotated[bool, typer.Option(help="Measure the machine's peaks, which takes 5 s.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder; by default profiles/IMPLEMENTATION-TIME.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show where the time and the memory of a meta-iteration go: phases, operators, a trace, a flame graph."""
    # Before torch is loaded: of tensors older than the recording it would say that their release is not seen.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from metabench.machine.fingerprint import physical_cores
    from metabench.profile.measuring import Incorrect, cell_of, profiled
    from metabench.profile.tables import as_json as figures
    from metabench.profile.write import as_text, write_profile

    axes = {"task": task, "model": model, "inner_steps": inner_steps, "meta_batch": meta_batch, "ways": ways}
    axes |= {"shots": shots, "query": query, "precision": precision, "device": device, "threads": threads}
    given = {axis: value for axis, value in axes.items() if value is not None}
    cell = cell_of(implementation, given, physical_cores())
    check_device({device})
    if not 0 <= seconds <= 3600:
        raise UserError("--seconds takes a number from 0 to 3600")
    name = f"{cell.algorithm}-{cell.engine}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = out or Path("profiles") / name
    try:
        found = profiled(cell, data_dir, seconds, peaks)
    except Incorrect as error:
        fail(str(error), 1)
    write_profile(found, folder)
    if as_json:
        print(strict_json(figures(found)))
    else:
        print(f"{as_text(found)}\n\nprofile: {printable(str(folder))}")


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Algorithms; all if left out.")] = None,
    engines: Annotated[
        str, typer.Option(help="Engines, with commas between, or all; if left out, those that need no compiler.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Prove every implementation right: its direction, held against differences, and the contract of algorithms."""
    import torch

    from metabench.algorithms.base import ALGORITHMS
    from metabench.cli.progress import GrowingTable
    from metabench.correctness.verification import CONTRACT_SETTINGS, SETTINGS, comply, verify
    from metabench.engines.base import ENGINES, in_process
    from metabench.report.render.tables import Table, table_json

    torch.set_num_threads(1)  # all is so small here that threads would wait for each other

    algorithms = names or ALGORITHMS.names()
    chosen = {"": in_process(), "all": ENGINES.names()}.get(engines, engines.split(","))
    for name in algorithms:
        ALGORITHMS.get(name)
    for name in chosen:
        ENGINES.get(name)
    longest = max(len(f"{name}{what}") for name in algorithms for what in (": contract", *("/" + e for e in chosen)))
    headers = ("implementation", "setting", "against loop", "loop against differences", "seconds", "verdict")
    table = GrowingTable(headers, (longest, max(len(str(setting)) for setting in SETTINGS), 0, 0, 0), as_json)
    words: list[str] = []
    for name in algorithms:
        for setting, engine in product(SETTINGS, chosen):
            table.begin(f"{name}/{engine}", str(setting))
            (v,) = verify([name], [engine], [setting])
            errors = (f"{v.gate.engine_error:.1e}", f"{v.gate.definition_error:.1e}") if v.gate else ("", "")
            table.end(*errors, f"{table.seconds:.1f}", v.word if v.word == "ok" else f"{v.word}: {v.reason}")
            words.append(v.word)
        for setting in CONTRACT_SETTINGS:
            where = f"{setting.task}, {setting.model}"
            table.begin(f"{name}: contract", where)
            (c,) = comply([name], [setting])
            table.end("", "", f"{table.seconds:.1f}", c.summary)
            for f in c.findings:
                if f.word == "incorrect":
                    table.end(f"{name}: {f.clause}", where, "", "", "", f"incorrect: {f.reason}")
            words += [finding.word for finding in c.findings] or ["unsupported"]
    checks = sum(word != "unsupported" for word in words)
    if as_json:
        found = Table("Verification", "Relative errors, in float64.", headers, tuple(table.rows))
        counts = {"checks": checks, "incorrect": words.count("incorrect")}
        print(strict_json(table_json(found) | counts))
    if wrong := words.count("incorrect"):
        fail(f"{wrong} of {checks} checks failed", 1)
    if not as_json:
        print(f"\nall {checks} checks passed (relative errors in float64)")
