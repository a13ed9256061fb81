"""The commands that read run folders: `report`, `merge`, `compare`, `history`, `claims` and `forecast`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.options import AsJson, DataDir, interrupted, out_option
from metabench.cli.search import show_search
from metabench.errors import UserError
from metabench.record.searching import ASKED
from metabench.text import counted, printable, strict_json

Out = Annotated[Path | None, out_option("With --rev: folder of both runs; by default runs/compare-TIME.")]
Full = Annotated[bool, typer.Option("--full", help="Print every table, not the answer alone.")]
SMOKE = "smoke"
MOST_TASKS, MOST_DEVICES = 1_000_000, 65_536
LONGEST_COUNT = 10  # digits
Resume = Annotated[bool, typer.Option("--resume", help="With --rev: go on with what is in --out.")]


def compare(
    runs: Annotated[list[Path] | None, typer.Argument(help="Two run folders: the base, and the new one.")] = None,
    rev: Annotated[
        list[str] | None, typer.Option(help="Twice: revisions to check out and measure in turn, the base first.")
    ] = None,
    sweep: Annotated[str | None, typer.Option(help="With --rev: what to measure; smoke if left out.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="With --rev: repetitions, each a pair of processes that time a configuration.")
    ] = None,
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
    fail_above: Annotated[str, typer.Option(help="Threshold for a change for the worse: 5%.")] = "",
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
) -> None:
    """Compare two runs, or two git revisions: faster, slower, the same, or cannot tell, and by how much.

    Exit code 0: compared, and nothing is above --fail-above. 1: something is above it. 2: a mistake, no configuration
    in common, or, with --fail-above, a figure of the base that the new run has not. 130: interrupted.
    """
    from metabench.report import document
    from metabench.report.compare.runs import compare as compare_runs
    from metabench.report.compare.tables import cell_text, comparison_document, comparison_json
    from metabench.report.compare.thresholds import blind, failures, missing, parse_share
    from metabench.report.results import read_run

    share = parse_share(fail_above) if fail_above else None
    if bool(rev) == bool(runs):
        raise UserError("compare takes two run folders, or --rev twice: metabench compare --rev main --rev HEAD")
    if as_json and as_markdown:
        raise UserError("--json and --markdown are two forms of the same: choose one")
    of_revisions = {"--sweep": sweep, "--rounds": rounds, "--out": out, "--resume": resume or None}
    given = [option for option, value in of_revisions.items() if value is not None]
    if given and not rev:
        raise UserError(f"{given[0]} is for --rev, which measures: leave it out where two run folders are compared")
    if rev:
        base, new = _measured(rev, sweep or SMOKE, rounds, out, resume, data_dir)
    elif runs and len(runs) == 2:
        base, new = runs
    else:
        raise UserError(f"compare takes two run folders, not {len(runs or [])}")
    found = compare_runs(read_run(base), read_run(new))
    failed = [] if share is None else failures(found, share)
    lost = [] if share is None else missing(found)
    shown = comparison_document(found, failed)
    if as_json:
        print(strict_json(comparison_json(found, failed)))
    else:
        print(document.as_markdown(shown) if as_markdown else document.as_text(shown))
    for sentence in found.warnings if as_json else ():
        print(f"metabench: {printable(sentence)}", file=sys.stderr)
    if share is not None and not found.same_machine:
        print("metabench: times of different machines do not count for the threshold", file=sys.stderr)
    for failure in [*failed, *lost]:
        print(f"metabench: {printable(cell_text(failure.cell))}: {printable(failure.reason)}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)
    if lost:
        raise UserError(f"the threshold cannot vouch for {counted(len(lost), 'configuration')} of the base: see above")
    if share is not None and (why := blind(found)):
        raise UserError(f"the threshold can vouch for nothing: {why}")


def _measured(
    names: list[str], sweep: str, rounds: int | None, out: Path | None, resume: bool, data_dir: Path | None
) -> tuple[Path, Path]:
    """The folders of two revisions, measured as far as they were not."""
    from metabench.machine.cores import default_threads
    from metabench.progress import ConsoleProgress
    from metabench.report.bundles import time_key
    from metabench.report.compare.times import too_few_rounds
    from metabench.sweep.builtin import find_sweep
    from metabench.sweep.interruption import interruptible
    from metabench.sweep.revisions import ROUNDS, measure_revisions
    from metabench.sweep.spec import load_sweep

    if len(names) != 2:
        raise UserError(f"compare takes --rev twice, not {len(names)} times: metabench compare --rev main --rev HEAD")
    if rounds is not None and rounds < 1:
        raise UserError("--rounds takes whole numbers of 1 or more")
    if resume and out is None:
        raise UserError("--resume needs --out with the folder to go on with")
    loaded = load_sweep(find_sweep(sweep), {}, default_threads())
    folder = out or Path("runs") / f"compare-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    timed = {time_key(cell) for cell in loaded.cells if "time" in cell.measure}
    few = too_few_rounds(rounds or ROUNDS, len(timed), paired=True) if timed else ""
    try:
        with ConsoleProgress() as progress, interruptible(progress.interrupted) as stop:
            if few:
                progress.warn(few)
            return measure_revisions(
                (names[0], names[1]),
                loaded,
                rounds or ROUNDS,
                folder,
                resume=resume,
                data_dir=data_dir,
                progress=progress,
                stop=stop,
            )
    except KeyboardInterrupt:
        interrupted("what was measured is", folder, out, resume)


def history(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path | None, out_option("Folder for history.html, history.md and history.csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how the time of each configuration went from commit to commit, on each machine, and where it changed.

    Configurations that were measured at a single commit are counted, and not shown.
    """
    from metabench.report.compare.history import changes_table, find_runs, histories, history_table
    from metabench.report.compare.history_terminal import fitted
    from metabench.report.compare.history_write import write_history
    from metabench.report.merge import apart
    from metabench.report.provenance import revision_commit
    from metabench.report.render.fitting import width_of_output
    from metabench.report.render.tables import table_json
    from metabench.report.results import read_run
    from metabench.sweep.worktrees import commit_dates

    read = apart([read_run(folder) for folder in find_runs(runs)])
    found = histories(read, commit_dates(Path(), {commit for run in read if (commit := revision_commit(run))}))
    pages = write_history(found, out) if out else []
    if as_json:
        print(strict_json({"tables": [table_json(history_table(each)) for each in found]}))
        return
    print("\n\n".join(fitted(changes_table(each), width_of_output()) for each in found))
    if out:
        written = ", ".join(printable(str(file)) for file in [*pages, out / "history.md", out / "history.csv"])
        print(f"\nhistory: {written}")


def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, of one machine or of several.")],
    out: Annotated[Path, out_option("The run folder to write: a new one.")],
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Put runs of several machines into one report, in which no ratio mixes them."""
    from metabench.report.merge import merge as merge_runs

    merge_runs(runs, out)
    report(out, full, as_json)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, or the folder of a search.")],
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Write report.html, CSVs, tables.md, tables.tex and plots/ of a run anew, and print its answer.

    Of a search, write search.md and confirm.toml anew, and print its tables.
    """
    if (run / ASKED).exists():
        show_search(run, as_json)
        return
    from metabench.report import document
    from metabench.report.render.terminal import answer_text, terminal_width
    from metabench.report.write import write_report

    shown = write_report(run)
    if as_json:
        print(strict_json(document.as_json(shown) | {"folder": str(run)}))
    elif not full:
        print(answer_text(shown, run, terminal_width()))
    else:
        print(document.as_text(shown))
        print(f"\nrun folder: {printable(str(run))}")


def claims(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders: scores are held against all, other claims against the first that decides."),
    ],
    file: Annotated[Path | None, typer.Option("--claims", help="A TOML file of claims of your own.")] = None,
    out: Annotated[Path | None, out_option("Folder for claims.md and claims.csv.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print all claims, not the decided ones alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold published figures and folklore against runs: what holds, what is reached, what does not hold, and why."""
    from metabench.report.claims.judging import judge_claims
    from metabench.report.claims.reading import BUILTIN, read_claims
    from metabench.report.claims.tables import claims_json, write_claims
    from metabench.report.claims.terminal import claims_text
    from metabench.report.render.fitting import width_of_output
    from metabench.report.results import read_run

    claimed = read_claims(file or BUILTIN)
    found = judge_claims(claimed, [read_run(folder) for folder in runs])
    written = write_claims(found, out) if out else ()
    print(strict_json({"claims": claims_json(found)}) if as_json else claims_text(found, width_of_output(), full))
    if written:
        print(f"metabench: claims: {', '.join(printable(str(path)) for path in written)}", file=sys.stderr)


def forecast(
    run: Annotated[Path, typer.Argument(help="A run folder, of the sweep `processes` or one like it.")],
    hardware: Annotated[str, typer.Option(help="What to forecast for: a name, or a TOML file of your own.")] = "h200",
    devices: Annotated[str, typer.Option(help="Numbers of devices, with commas between.")] = "1,8,64",
    meta_batch: Annotated[int | None, typer.Option(help="Tasks; by default the most that were measured.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="A run that was measured on that hardware, to hold the forecast against.")
    ] = None,
    out: Annotated[Path | None, out_option("Folder for forecast.md.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict a meta-iteration on devices that are not at hand, and hold the model against what was measured."""
    from metabench.forecast.hardware import find_hardware
    from metabench.forecast.predicting import predict
    from metabench.forecast.tables import forecast_document, forecast_json, write_forecast
    from metabench.report import document
    from metabench.report.results import read_run

    if meta_batch is not None and not 1 <= meta_batch <= MOST_TASKS:
        raise UserError(f"--meta-batch takes a whole number from 1 to {MOST_TASKS:,}")
    held_against = [read_run(folder) for folder in against or []]
    found = predict(read_run(run), find_hardware(hardware), _device_counts(devices), meta_batch, held_against)
    written = write_forecast(found, out) if out else None
    print(strict_json(forecast_json(found)) if as_json else document.as_text(forecast_document(found)))
    if written:
        print(f"metabench: forecast: {printable(str(written))}", file=sys.stderr)


def _device_counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(
        count.strip().isdecimal() and len(count) < LONGEST_COUNT and 1 <= int(count) <= MOST_DEVICES for count in counts
    ):
        raise UserError(f"--devices takes whole numbers from 1 to {MOST_DEVICES:,}, with commas between: 1,8,64")
    return sorted({int(count) for count in counts})
